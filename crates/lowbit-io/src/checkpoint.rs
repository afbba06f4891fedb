//! One type for every kind of checkpoint, so that nothing above knows file formats.

use crate::{
    Access, IoError, RawTensor, TensorInfo,
    bytes::{self, Opened},
    container::Container,
    digest,
    gguf::{self, Gguf, Metadata},
    hf::HfFolder,
    llama2c::{Llama2c, Llama2cHeader},
    problem,
};
use lowbit_format::{ActSpec, OnlineOp, QuantTensor};
use std::path::{Path, PathBuf};

/// An opened checkpoint.
#[derive(Clone, Debug)]
pub enum Checkpoint {
    /// A GGUF file, or all shards of one.
    Gguf(Gguf),
    /// A Hugging Face folder of safetensors.
    HuggingFace(HfFolder),
    /// A llama2.c `.bin`.
    Llama2c(Llama2c),
    /// lowbit's own container.
    Container(Container),
}

/// Where a checkpoint's hyper-parameters stand.
#[derive(Clone, Copy, Debug)]
pub enum Config<'a> {
    /// GGUF metadata: `llama.block_count`.
    Gguf(&'a Metadata),
    /// `config.json`, or the same in a container: `num_hidden_layers`.
    Json(&'a serde_json::Value),
    /// The numbers of a llama2.c header.
    Llama2c(&'a Llama2cHeader),
}

impl Checkpoint {
    /// Opens a file or folder. What it is shows in its content, not in its name; a folder is a Hugging Face folder
    /// if it has a `config.json`, else it must hold one GGUF model.
    ///
    /// # Errors
    /// What is wrong with it, or what it looks like instead.
    pub fn open(path: &Path, access: Access) -> Result<Self, IoError> {
        if path.is_dir() {
            if path.join("config.json").exists() {
                return HfFolder::open(path, access).map(Self::HuggingFace);
            }
            return Gguf::open(&only_gguf(path)?, access).map(Self::Gguf);
        }
        let head = bytes::read_head(path)?;
        if head.starts_with(b"GGUF") {
            return Gguf::open(path, access).map(Self::Gguf);
        }
        let (storage, opened) = bytes::open(path, access)?;
        problem::check_not_something_else(storage.bytes()).map_err(|e| e.in_file(path))?;
        if problem::looks_like_safetensors(storage.bytes())
            && let Some(container) = Container::from_opened(&storage, &opened).map_err(|e| e.in_file(path))?
        {
            return Ok(Self::Container(container));
        }
        if Llama2c::looks_like(storage.bytes()) {
            return Llama2c::from_opened(path, storage, opened).map(Self::Llama2c);
        }
        Err(IoError::NotACheckpoint { found: problem::describe(storage.bytes()) }.in_file(path))
    }

    /// The hyper-parameters.
    pub fn config(&self) -> Config<'_> {
        match self {
            Self::Gguf(c) => Config::Gguf(c.metadata()),
            Self::HuggingFace(c) => Config::Json(c.config()),
            Self::Llama2c(c) => Config::Llama2c(c.header()),
            Self::Container(c) => c.config(),
        }
    }

    /// In which numbers activations are multiplied, `None` where the checkpoint does not prescribe it in so many words
    /// (architectures such as BitNet do).
    pub fn activations(&self) -> Option<ActSpec> {
        match self {
            Self::Container(c) => c.activations(),
            _ => None,
        }
    }

    /// What kind of checkpoint it is, for reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gguf(_) => "gguf",
            Self::HuggingFace(_) => "safetensors",
            Self::Llama2c(_) => "llama2.c",
            Self::Container(_) => "lowbit",
        }
    }

    /// Every tensor, in the files' order.
    pub fn tensors(&self) -> &[TensorInfo] {
        match self {
            Self::Gguf(c) => c.tensors(),
            Self::HuggingFace(c) => c.tensors(),
            Self::Llama2c(c) => c.tensors(),
            Self::Container(c) => c.tensors(),
        }
    }

    /// The tensor's place and type; `None` where there is none of that name.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        match self {
            Self::Gguf(c) => c.info(name),
            Self::HuggingFace(c) => c.info(name),
            Self::Llama2c(c) => c.info(name),
            Self::Container(c) => c.info(name),
        }
    }

    /// Label of a tensor's format, without reading the tensor.
    pub fn format_label(&self, info: &TensorInfo) -> String {
        match self {
            Self::Container(c) => c.spec(&info.name).map(|spec| spec.label()),
            Self::HuggingFace(c) => c.packed_spec(&info.name).map(|spec| spec.label()),
            _ => None,
        }
        .unwrap_or_else(|| info.encoding.label().to_owned())
    }

    /// A tensor as a matrix over the file's bytes; outer dimensions are stacked ([`TensorInfo::matrix`]).
    ///
    /// # Errors
    /// Where there is none of that name (with the nearest), or it holds no weights.
    pub fn tensor(&self, name: &str) -> Result<QuantTensor, IoError> {
        match self {
            Self::Gguf(c) => c.tensor(name),
            Self::HuggingFace(c) => c.tensor(name),
            Self::Llama2c(c) => c.tensor(name),
            Self::Container(c) => c.tensor(name),
        }
    }

    /// What is done to the input of a layer before it meets this weight, the first operation first; mostly nothing.
    ///
    /// # Errors
    /// As [`Self::tensor`], and where an operation is none on as many columns.
    pub fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, IoError> {
        match self {
            Self::Container(c) => c.input_ops(name),
            Self::HuggingFace(c) => c.input_ops(name),
            Self::Gguf(_) | Self::Llama2c(_) => Ok(Vec::new()),
        }
    }

    /// A small tensor decoded to f32: norms, biases, rope factors.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, IoError> {
        match self {
            Self::Gguf(c) => c.vector(name),
            Self::HuggingFace(c) => c.vector(name),
            Self::Llama2c(c) => c.vector(name),
            Self::Container(c) => c.vector(name),
        }
    }

    /// A tensor's bytes with no meaning attached.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn raw(&self, name: &str) -> Result<RawTensor, IoError> {
        match self {
            Self::Gguf(c) => c.raw(name),
            Self::HuggingFace(c) => c.raw(name),
            Self::Llama2c(c) => c.raw(name),
            Self::Container(c) => c.raw(name),
        }
    }

    /// Bytes of all files that hold tensors.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Self::Gguf(c) => c.file_bytes(),
            Self::HuggingFace(c) => c.file_bytes(),
            Self::Llama2c(c) => c.file_bytes(),
            Self::Container(c) => c.file_bytes(),
        }
    }

    /// The files that hold tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.opened().iter().map(|o| o.path.as_path())
    }

    /// SHA-256 of the files that hold tensors, one after the other, in hexadecimal.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn sha256(&self) -> Result<String, IoError> {
        digest::sha256(self.files())
    }

    /// Checks that no file has changed since it was opened: call it when loading is done, before what was read is
    /// trusted.
    ///
    /// # Errors
    /// Which file changed.
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        self.opened().iter().try_for_each(Opened::check_unchanged)
    }

    fn opened(&self) -> &[Opened] {
        match self {
            Self::Gguf(c) => c.opened(),
            Self::HuggingFace(c) => c.opened(),
            Self::Llama2c(c) => c.opened(),
            Self::Container(c) => c.opened(),
        }
    }
}

/// The one GGUF model of a folder: a single file, or the first shard of a single set.
fn only_gguf(folder: &Path) -> Result<PathBuf, IoError> {
    let entries = std::fs::read_dir(folder).map_err(|e| IoError::os("list", e).in_file(folder))?;
    let mut models = Vec::new();
    let mut pickle = None;
    for entry in entries {
        let path = entry.map_err(|e| IoError::os("list", e).in_file(folder))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if name.ends_with(".gguf") && !gguf::is_later_shard(name) {
            models.push(path);
        } else if problem::is_pickle_name(name) {
            pickle = Some(name.to_owned());
        }
    }
    models.sort();
    match (&models[..], pickle) {
        ([one], _) => Ok(one.clone()),
        ([], Some(name)) => Err(problem::pickle(name).in_file(folder)),
        ([], None) => {
            let found = "a folder with neither config.json nor a .gguf file".to_owned();
            Err(IoError::NotACheckpoint { found }.in_file(folder))
        }
        (several, _) => {
            let names: Vec<_> = several.iter().filter_map(|p| p.file_name()?.to_str()).collect();
            let found = format!("a folder with several GGUF models, name one of {}", names.join(", "));
            Err(IoError::NotACheckpoint { found }.in_file(folder))
        }
    }
}
