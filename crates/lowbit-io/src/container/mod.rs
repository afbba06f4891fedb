//! lowbit's own model container: one safetensors file that holds weights in any format, the model's configuration and
//! its tokenizer. `docs/container.md` is its specification.
//!
//! A quantized tensor is several stored ones, its codes and their parameters, which `lowbit.tensors` in the metadata
//! puts together. Everything is checked at opening but the values of codes; a tensor then comes back over the mapped
//! file, nothing copied.

mod annotate;
mod manifest;
mod parts;
mod write;

pub use annotate::annotate;
pub use manifest::ContainerText;
pub use parts::{Part, PartKind};
pub use write::ContainerWriter;

use crate::{
    Access, Config, Encoding, IoError, RawTensor, TensorInfo,
    bytes::{self, Opened},
    gguf::{Gguf, Metadata, sort_names},
    hf::safetensors::{self, Header},
    problem,
    tensor::{quant_tensor, to_vector},
};
use lowbit_format::{ActSpec, FormatError, OnlineKind, OnlineOp, QuantTensor, Storage, WeightSpec};
use manifest::{Declared, Manifest};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
};

/// Stored tensors whose names begin with this and that are no floats may be skipped.
const SKIPPED_TENSOR: &str = "x-";
/// The stored tensor whose bytes are a GGUF file without tensors: its metadata are those of the model.
const GGUF_TENSOR: &str = "lowbit.gguf";

/// An opened container.
#[derive(Clone, Debug)]
pub struct Container {
    bytes: Storage,
    opened: Vec<Opened>,
    config: Settings,
    texts: BTreeMap<ContainerText, String>,
    activations: Option<ActSpec>,
    tensors: Vec<TensorInfo>,
    /// For each tensor what it is made of; `None` for floats, which are one run of bytes.
    stored: Vec<Option<Stored>>,
    sorted: Vec<u32>,
}

/// The model's hyper-parameters; they also say by which scheme its tensors are named.
#[derive(Clone, Debug)]
enum Settings {
    Json(serde_json::Value),
    Gguf(Metadata),
}

/// What a quantized tensor is made of.
#[derive(Clone, Debug)]
struct Stored {
    spec: WeightSpec,
    /// Bytes of the file that each part takes, in the order of [`parts::parts`].
    spans: Vec<Range<usize>>,
    /// Operations on the layer's input, and the bytes of the file that their numbers take.
    input: Vec<(OnlineKind, Range<usize>)>,
}

impl Container {
    /// Opens a container.
    ///
    /// # Errors
    /// What is wrong with the file, and for a file of another kind what it looks like.
    pub fn open(path: &Path, access: Access) -> Result<Self, IoError> {
        let (bytes, opened) = bytes::open(path, access)?;
        let inner = || {
            problem::check_not_something_else(bytes.bytes())?;
            let header = safetensors::read(&bytes)?;
            Self::assemble(bytes, vec![opened], header)
        };
        inner().map_err(|e| e.in_file(path))
    }

    /// Reads a container from bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: Storage) -> Result<Self, IoError> {
        let header = safetensors::read(&bytes)?;
        Self::assemble(bytes, Vec::new(), header)
    }

    /// What an opened safetensors file is; `None` where it does not say that it is a container.
    pub(crate) fn from_opened(bytes: &Storage, opened: &Opened) -> Result<Option<Self>, IoError> {
        let header = safetensors::read(bytes)?;
        if !header.own.iter().any(|(key, _)| key == manifest::VERSION_KEY) {
            return Ok(None);
        }
        Self::assemble(bytes.clone(), vec![opened.clone()], header).map(Some)
    }

    fn assemble(bytes: Storage, opened: Vec<Opened>, header: Header) -> Result<Self, IoError> {
        let Header { tensors: mut files, own } = header;
        let Manifest { config, texts, tensors: declared, activations } = Manifest::parse(own)?;
        let config = settings(&bytes, config, &mut files)?;
        let (tensors, stored) = put_together(&files, &declared)?;
        let sorted = sort_names(&tensors)?;
        Ok(Self { bytes, opened, config, texts, activations, tensors, stored, sorted })
    }

    /// The model's hyper-parameters: an object as in a `config.json`, or the metadata of a GGUF file.
    pub fn config(&self) -> Config<'_> {
        match &self.config {
            Settings::Json(json) => Config::Json(json),
            Settings::Gguf(metadata) => Config::Gguf(metadata),
        }
    }

    /// In which numbers the activations of the linear layers of blocks are multiplied, `None` where the model does not
    /// prescribe it.
    pub fn activations(&self) -> Option<ActSpec> {
        self.activations
    }

    /// A text that the container brings, `None` where it does not.
    pub fn text(&self, text: ContainerText) -> Option<&str> {
        self.texts.get(&text).map(String::as_str)
    }

    /// Every tensor in the order of codes, blocks and floats in the file. The bytes of a quantized one are those of all
    /// its parts; it starts where its codes do.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor's place and type.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).map(|i| &self.tensors[i])
    }

    /// The tensor's format, `None` where there is none of that name.
    pub fn spec(&self, name: &str) -> Option<WeightSpec> {
        let i = self.find(name)?;
        match (&self.stored[i], self.tensors[i].encoding) {
            (Some(stored), _) => Some(stored.spec.clone()),
            (None, Encoding::Float(format)) => Some(WeightSpec::Float(format)),
            (None, _) => None,
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        let found = self.sorted.binary_search_by(|i| self.tensors[*i as usize].name.as_str().cmp(name));
        found.ok().map(|i| self.sorted[i] as usize)
    }

    fn must_find(&self, name: &str) -> Result<usize, IoError> {
        let names = || self.tensors.iter().map(|t| t.name.as_str());
        self.find(name).ok_or_else(|| problem::missing(name, names()))
    }

    /// A tensor as a matrix over the file's bytes; outer dimensions are stacked.
    ///
    /// # Errors
    /// Where there is none of that name, or bytes of ternary codes are none.
    pub fn tensor(&self, name: &str) -> Result<QuantTensor, IoError> {
        let i = self.must_find(name)?;
        self.build(i).map_err(|error| IoError::Tensor { name: name.to_owned(), error })
    }

    fn build(&self, i: usize) -> Result<QuantTensor, FormatError> {
        let shape = self.tensors[i].matrix();
        let Some(Stored { spec, spans, .. }) = &self.stored[i] else {
            let tensor = quant_tensor(self.tensors[i].encoding, shape, self.slice(self.span(i)), 1.0);
            return tensor.expect("tensors that are no floats were refused at opening");
        };
        QuantTensor::from_parts(spec, shape, spans.iter().map(|span| self.slice(span.clone())))
    }

    /// What is done to the input of a layer before it meets this weight, the first operation first; mostly nothing.
    ///
    /// # Errors
    /// Where there is no tensor of that name, or an operation is none on as many columns.
    pub fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, IoError> {
        let i = self.must_find(name)?;
        let Some(stored) = &self.stored[i] else { return Ok(Vec::new()) };
        let k = self.tensors[i].matrix().k;
        let op = |(kind, span): &(OnlineKind, Range<usize>)| {
            parts::input_op(*kind, self.slice(span.clone()).bytes(), k)
        };
        let ops: Result<_, FormatError> = stored.input.iter().map(op).collect();
        ops.map_err(|error| IoError::Tensor { name: name.to_owned(), error })
    }

    /// A small tensor decoded to f32.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, IoError> {
        self.tensor(name).map(|t| to_vector(&t))
    }

    /// A tensor's bytes with no meaning attached: of blocks without the scale that they may share.
    ///
    /// # Errors
    /// Where there is none of that name, or it is stored as codes and scales apart.
    pub fn raw(&self, name: &str) -> Result<RawTensor, IoError> {
        let i = self.must_find(name)?;
        let info = &self.tensors[i];
        if info.encoding == Encoding::Grouped {
            let (what, found) = (format!("the raw bytes of tensor {name:?}"), "codes and scales apart");
            return Err(IoError::invalid(what, found, "a tensor in one piece"));
        }
        Ok(RawTensor {
            dtype: info.encoding.label(),
            dims: info.dims.clone(),
            bytes: self.slice(match &self.stored[i] {
                Some(stored) => stored.spans[0].clone(),
                None => self.span(i),
            }),
        })
    }

    /// Bytes of a tensor in one piece.
    fn span(&self, i: usize) -> Range<usize> {
        let start = self.tensors[i].offset as usize;
        start..start + self.tensors[i].bytes
    }

    fn slice(&self, span: Range<usize>) -> Storage {
        self.bytes.slice(span).expect("spans were checked at opening")
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn opened(&self) -> &[Opened] {
        &self.opened
    }
}

/// Takes the GGUF metadata out of the stored tensors; a container has these or a `config.json`.
fn settings(
    bytes: &Storage,
    config: Option<serde_json::Value>,
    files: &mut Vec<TensorInfo>,
) -> Result<Settings, IoError> {
    let Some(i) = files.iter().position(|file| file.name == GGUF_TENSOR) else {
        let missing = || IoError::MissingKey { key: manifest::CONFIG_KEY.into() };
        return config.map(Settings::Json).ok_or_else(missing);
    };
    let file = files.remove(i);
    let what = || format!("tensor {GGUF_TENSOR:?}");
    if config.is_some() {
        let found = format!("it and {}", manifest::CONFIG_KEY);
        return Err(IoError::invalid(what(), found, "one of the two"));
    }
    let expected = safetensors::encoding(::safetensors::Dtype::U8);
    if file.encoding != expected || file.dims.len() != 1 {
        let found = format!("{} {:?}", file.encoding.label(), file.dims);
        return Err(IoError::invalid(what(), found, "a vector of bytes"));
    }
    let start = file.offset as usize;
    let head = bytes.slice(start..start + file.bytes).expect("spans were checked at opening");
    let gguf = Gguf::parse(head)?;
    if !gguf.tensors().is_empty() {
        let found = format!("a GGUF file with {} tensors", gguf.tensors().len());
        return Err(IoError::invalid(what(), found, "one with metadata only"));
    }
    Ok(Settings::Gguf(gguf.metadata().clone()))
}

/// The tensors of a model from those of the file.
type Together = (Vec<TensorInfo>, Vec<Option<Stored>>);

fn put_together(files: &[TensorInfo], declared: &BTreeMap<String, Declared>) -> Result<Together, IoError> {
    let by_name: HashMap<&str, usize> =
        files.iter().enumerate().map(|(i, file)| (file.name.as_str(), i)).collect();
    // For each tensor of the file the quantized one that it is a part of.
    let mut part_of: Vec<Option<&str>> = vec![None; files.len()];
    let mut quantized = HashMap::new();
    for (name, tensor) in declared {
        if by_name.contains_key(name.as_str()) {
            return Err(IoError::Duplicate { what: "tensor", name: name.clone() });
        }
        let (info, stored, found) = collect(name, tensor, files, &by_name)?;
        found.iter().for_each(|i| part_of[*i] = Some(name));
        quantized.insert(found[0], (info, stored));
    }
    let (mut tensors, mut all) = (Vec::new(), Vec::new());
    for (i, file) in files.iter().enumerate() {
        if part_of[i].is_some() {
            // The whole tensor stands where its first part does.
            if let Some((info, stored)) = quantized.remove(&i) {
                tensors.push(info);
                all.push(Some(stored));
            }
            continue;
        }
        let stray = file.name.match_indices('.').any(|(dot, _)| {
            let (name, ending) = file.name.split_at(dot);
            declared.contains_key(name) && parts::is_ending(ending)
        });
        match file.encoding {
            Encoding::Float(_) if !stray => {
                tensors.push(file.clone());
                all.push(None);
            }
            _ if !stray && file.name.starts_with(SKIPPED_TENSOR) => {}
            encoding => {
                return Err(IoError::invalid(
                    format!("tensor {:?} of type {}", file.name, encoding.label()),
                    "a part that no tensor of lowbit.tensors has",
                    "floats, or a part of a quantized tensor; the file is damaged or newer than this program",
                ));
            }
        }
    }
    Ok((tensors, all))
}

/// Finds the parts of one quantized tensor, and which tensors of the file they are.
fn collect(
    name: &str,
    tensor: &Declared,
    files: &[TensorInfo],
    by_name: &HashMap<&str, usize>,
) -> Result<(TensorInfo, Stored, Vec<usize>), IoError> {
    let refused = |error| IoError::Tensor { name: name.to_owned(), error };
    let mut found = Vec::new();
    let mut part = |ending: &str, dtype, rows: usize, columns: usize| {
        let part_name = format!("{name}{ending}");
        let i = *by_name
            .get(part_name.as_str())
            .ok_or_else(|| problem::missing(&part_name, files.iter().map(|f| f.name.as_str())))?;
        let file = &files[i];
        let encoding = safetensors::encoding(dtype);
        if file.encoding != encoding || file.dims != [rows, columns] {
            return Err(IoError::invalid(
                format!("tensor {part_name:?} of {} {}", tensor.spec, tensor.matrix),
                format!("{} {:?}", file.encoding.label(), file.dims),
                format!("{} [{rows}, {columns}]", encoding.label()),
            ));
        }
        let start = file.offset as usize;
        found.push(i);
        Ok(start..start + file.bytes)
    };
    let parts = parts::parts(&tensor.spec, tensor.matrix).map_err(refused)?.into_iter();
    let spans = parts.map(|p| part(&p.ending(), p.dtype(), p.rows, p.columns));
    let spans = spans.collect::<Result<Vec<Range<usize>>, IoError>>()?;
    let input = tensor.input.iter().enumerate().map(|(i, kind)| {
        let (dtype, rows) = parts::input_numbers(*kind);
        let span = part(&parts::input_ending(i), dtype, rows, tensor.matrix.k)?;
        Ok((*kind, span))
    });
    let input = input.collect::<Result<Vec<_>, IoError>>()?;
    let info = TensorInfo {
        name: name.to_owned(),
        encoding: match tensor.spec {
            WeightSpec::Block(format) => Encoding::Blocks(format),
            _ => Encoding::Grouped,
        },
        dims: tensor.dims.clone(),
        file: 0,
        offset: spans[0].start as u64,
        bytes: spans.iter().chain(input.iter().map(|(_, span)| span)).map(Range::len).sum(),
    };
    Ok((info, Stored { spec: tensor.spec.clone(), spans, input }, found))
}
