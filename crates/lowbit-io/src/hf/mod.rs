//! Hugging Face folders: `config.json`, safetensors in one file or in shards, and the text files beside them.

mod contain;
mod index;
mod quant;
pub(crate) mod safetensors;
pub(crate) mod write;

pub use index::ShardIndex;
pub use write::{ElementType, FolderWriter};

pub(crate) use contain::{check_contained, roots_beside};

use crate::{
    Access, IoError, RawTensor, TensorInfo,
    bytes::{self, Opened},
    gguf::sort_names,
    problem,
    tensor::{quant_tensor, to_vector},
};
use lowbit_format::{OnlineOp, QuantTensor, Storage, WeightSpec};
use std::path::{Path, PathBuf};

/// Longest `config.json` in bytes: real ones have a few thousand, some with long label maps.
pub(crate) const MAX_CONFIG: u64 = 1 << 20;
/// Longest index in bytes.
const MAX_INDEX: u64 = 64 << 20;

/// An opened Hugging Face folder.
#[derive(Clone, Debug)]
pub struct HfFolder {
    folder: PathBuf,
    roots: Vec<PathBuf>,
    config: serde_json::Value,
    files: Vec<Storage>,
    opened: Vec<Opened>,
    /// What the files hold.
    stored: Vec<TensorInfo>,
    stored_sorted: Vec<u32>,
    /// What the model has: layers that a quantizer packed in place of their parts.
    tensors: Vec<TensorInfo>,
    sorted: Vec<u32>,
    packed: Option<quant::Packed>,
}

impl HfFolder {
    /// Opens a folder with a `config.json` and either `model.safetensors` or `model.safetensors.index.json`.
    ///
    /// # Errors
    /// What is wrong or missing.
    pub fn open(folder: &Path, access: Access) -> Result<Self, IoError> {
        let roots = contain::roots(folder)?;
        let config_path = folder.join("config.json");
        check_contained(&config_path, &roots)?;
        let config = parse_config(&bytes::read_small(&config_path, MAX_CONFIG)?)
            .map_err(|e| e.in_file(&config_path))?;
        let (names, index) = shard_names(folder, &roots)?;
        let mut this = Self {
            folder: folder.to_owned(),
            roots,
            config,
            files: Vec::new(),
            opened: Vec::new(),
            stored: Vec::new(),
            stored_sorted: Vec::new(),
            tensors: Vec::new(),
            sorted: Vec::new(),
            packed: None,
        };
        for name in &names {
            let path = folder.join(name);
            check_contained(&path, &this.roots)?;
            let (bytes, opened) = bytes::open(&path, access)?;
            if !problem::looks_like_safetensors(bytes.bytes()) {
                problem::check_not_something_else(bytes.bytes()).map_err(|e| e.in_file(&path))?;
            }
            let file = this.files.len();
            let tensors = safetensors::read(&bytes).map_err(|e| e.in_file(&path))?.tensors;
            this.stored.extend(tensors.into_iter().map(|t| TensorInfo { file, ..t }));
            this.files.push(bytes);
            this.opened.push(opened);
        }
        this.stored_sorted = sort_names(&this.stored).map_err(|e| e.in_file(folder))?;
        this.check_index(&index).map_err(|e| e.in_file(folder))?;
        this.packed = quant::Packed::find(&this.config, &this.kept()).map_err(|e| e.in_file(folder))?;
        this.tensors = match &this.packed {
            Some(packed) => quant::presented(&this.stored, packed),
            None => this.stored.clone(),
        };
        this.sorted = sort_names(&this.tensors).map_err(|e| e.in_file(folder))?;
        Ok(this)
    }

    /// The stored tensors.
    fn kept(&self) -> quant::Files<'_> {
        quant::Files { tensors: &self.stored, sorted: &self.stored_sorted, bytes: &self.files }
    }

    /// Every tensor that the index names must be in the file it names.
    fn check_index(&self, index: &ShardIndex) -> Result<(), IoError> {
        for (name, shard) in &index.tensors {
            let why = match self.kept().info(name) {
                None => format!("the index says it holds tensor {name:?}, which no shard does"),
                Some(info) if info.file != *shard => {
                    format!(
                        "the index says it holds tensor {name:?}, which is in {}",
                        index.shards[info.file]
                    )
                }
                Some(_) => continue,
            };
            return Err(IoError::Shard { shard: index.shards[*shard].clone(), why });
        }
        Ok(())
    }

    /// The content of `config.json`, an object.
    pub fn config(&self) -> &serde_json::Value {
        &self.config
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file beside the weights, such as `tokenizer.json`, `tokenizer_config.json`, `generation_config.json` or
    /// `chat_template.jinja`; `None` where there is none.
    ///
    /// # Errors
    /// Where the name has a path separator, or the file is a link out of the folder.
    pub fn file(&self, name: &str) -> Result<Option<PathBuf>, IoError> {
        contain::check_sibling(name, "a request for a file")?;
        let path = self.folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        check_contained(&path, &self.roots)?;
        Ok(Some(path))
    }

    /// The bytes of such a file, at most [`crate::MAX_TEXT_FILE`].
    ///
    /// # Errors
    /// As [`Self::file`], and where the file is longer or cannot be read.
    pub fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, IoError> {
        self.file(name)?.map(|path| bytes::read_small(&path, bytes::MAX_TEXT_FILE)).transpose()
    }

    /// Every tensor: shard after shard, in the order of their bytes. A layer that a quantizer packed is one, in place of
    /// its parts; it stands where its codes do and its bytes are those of all parts.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor's place and type.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        let found = self.sorted.binary_search_by(|i| self.tensors[*i as usize].name.as_str().cmp(name));
        found.ok().map(|i| &self.tensors[self.sorted[i] as usize])
    }

    /// The format of a layer that a quantizer packed, `None` for other tensors.
    pub fn packed_spec(&self, name: &str) -> Option<WeightSpec> {
        self.packed.as_ref()?.layer(name).map(|(_, layer)| layer.spec.clone())
    }

    /// What is done to the input of a layer before it meets this weight: a permutation, where a quantizer has stored its
    /// columns in an order of its own.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, IoError> {
        self.packed.as_ref().map_or(Ok(Vec::new()), |packed| packed.input(name, &self.kept()))
    }

    /// A tensor of floats as a matrix over the file's bytes, outer dimensions stacked; or a layer that a quantizer packed,
    /// its codes and scales laid out anew and nothing rounded.
    ///
    /// # Errors
    /// Where there is none of that name, or its elements are no floats.
    pub fn tensor(&self, name: &str) -> Result<QuantTensor, IoError> {
        if let Some(tensor) = self.packed.as_ref().and_then(|packed| packed.tensor(name, &self.kept())) {
            return tensor;
        }
        let raw = self.raw(name)?;
        let kept = self.kept();
        let info = kept.info(name).expect("raw has found it");
        match quant_tensor(info.encoding, info.matrix(), raw.bytes, 1.0) {
            Some(tensor) => tensor.map_err(|error| IoError::Tensor { name: name.to_owned(), error }),
            None => Err(IoError::NotWeights {
                name: name.to_owned(),
                dtype: raw.dtype.to_owned(),
                next: match raw.dtype {
                    "f8_e4m3" | "f8_e5m2" => "take the model's bf16 checkpoint",
                    _ => {
                        "a quantizer packed them, and only the reader of its own layout knows the scales; \
                          take the model's unquantized checkpoint or a GGUF file"
                    }
                },
            }),
        }
    }

    /// A small tensor of floats decoded to f32.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, IoError> {
        self.tensor(name).map(|t| to_vector(&t))
    }

    /// A stored tensor's bytes with no meaning attached; parts of packed layers among them.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn raw(&self, name: &str) -> Result<RawTensor, IoError> {
        let names = || self.tensors.iter().map(|t| t.name.as_str());
        let kept = self.kept();
        let info = kept.info(name).ok_or_else(|| problem::missing(name, names()))?;
        Ok(RawTensor { dtype: info.encoding.label(), dims: info.dims.clone(), bytes: kept.slice(info) })
    }

    /// Bytes of the safetensors files.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.len() as u64).sum()
    }

    pub(crate) fn opened(&self) -> &[Opened] {
        &self.opened
    }
}

/// Reads the header of one safetensors file from bytes.
///
/// # Errors
/// What is wrong with them.
pub fn parse_safetensors(bytes: &Storage) -> Result<Vec<TensorInfo>, IoError> {
    safetensors::read(bytes).map(|header| header.tensors)
}

/// The content of a `config.json`, which must be an object.
pub(crate) fn parse_config(json: &[u8]) -> Result<serde_json::Value, IoError> {
    // serde_json refuses more than 128 levels of nesting by itself.
    let config: serde_json::Value = serde_json::from_slice(json)
        .map_err(|e| IoError::Json { what: "the model's configuration", error: e.to_string() })?;
    if config.is_object() {
        return Ok(config);
    }
    Err(IoError::Json { what: "the model's configuration", error: "expected an object".into() })
}

/// The files that hold the weights, and which tensor is in which.
fn shard_names(folder: &Path, roots: &[PathBuf]) -> Result<(Vec<String>, ShardIndex), IoError> {
    const SINGLE: &str = "model.safetensors";
    const INDEX: &str = "model.safetensors.index.json";
    if folder.join(SINGLE).exists() {
        return Ok((vec![SINGLE.to_owned()], ShardIndex::default()));
    }
    let path = folder.join(INDEX);
    if path.exists() {
        check_contained(&path, roots)?;
        let json = bytes::read_small(&path, MAX_INDEX)?;
        let index = ShardIndex::parse(&json).map_err(|e| e.in_file(&path))?;
        return Ok((index.shards.clone(), index));
    }
    let entries = std::fs::read_dir(folder).map_err(|e| IoError::os("list", e).in_file(folder))?;
    let mut names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    if let Some(name) = names.find(|n| problem::is_pickle_name(n)) {
        return Err(problem::pickle(name).in_file(folder));
    }
    let found = format!("a folder with config.json but neither {SINGLE} nor {INDEX}");
    Err(IoError::NotACheckpoint { found }.in_file(folder))
}
