//! Writing a container: header and tensors, to a file that appears whole or not at all.

use super::{
    ContainerText, GGUF_TENSOR, Part,
    manifest::{self, ACTIVATIONS_KEY, CONFIG_KEY, MAX_INPUT, TENSORS_KEY, VERSION, VERSION_KEY},
    parts,
};
use crate::{
    IoError, Payload,
    gguf::Metadata,
    hf::{
        parse_config,
        safetensors::SKIPPED,
        write::{SafetensorsWriter, list, quoted, wrong_dims},
    },
    payload::write_new,
};
use lowbit_format::{ActSpec, NK, OnlineOp, QuantTensor, WeightSpec};
use safetensors::Dtype;
use std::{collections::BTreeMap, io::Write, path::Path};

/// Collects a container. Equal calls give equal bytes.
#[derive(Debug)]
pub struct ContainerWriter {
    /// `__metadata__` but for the list of tensors.
    metadata: BTreeMap<String, String>,
    /// The entries of `lowbit.tensors`.
    declared: Vec<Declared>,
    file: SafetensorsWriter,
}

#[derive(Debug)]
struct Declared {
    name: String,
    k: usize,
    /// The entry without its closing brace.
    entry: String,
}

impl ContainerWriter {
    /// A model without tensors; `config` is the text of its `config.json`.
    ///
    /// # Errors
    /// Where the text is no JSON object, or too long.
    pub fn new(config: &str) -> Result<Self, IoError> {
        manifest::check_size(CONFIG_KEY, config.len())?;
        parse_config(config.as_bytes())?;
        let metadata = [(VERSION_KEY, VERSION.to_string()), (CONFIG_KEY, config.to_owned())];
        Ok(Self {
            metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            declared: Vec::new(),
            file: SafetensorsWriter::default(),
        })
    }

    /// A model without tensors whose hyper-parameters and vocabulary are those of a GGUF file; its tensors are named as
    /// there.
    ///
    /// # Errors
    /// Where the metadata are more than a header may hold.
    pub fn with_gguf(metadata: &Metadata) -> Result<Self, IoError> {
        let mut writer = Self {
            metadata: BTreeMap::from([(VERSION_KEY.to_owned(), VERSION.to_string())]),
            declared: Vec::new(),
            file: SafetensorsWriter::default(),
        };
        let head = metadata.to_gguf();
        writer.file.store(GGUF_TENSOR, Dtype::U8, &[head.len()], head.into())?;
        Ok(writer)
    }

    /// Adds a text of the model's folder, in place of the one that was there.
    pub fn text(&mut self, text: ContainerText, content: &str) -> &mut Self {
        self.metadata.insert(text.key().to_owned(), content.to_owned());
        self
    }

    /// Says in which numbers the activations of the linear layers of blocks are multiplied.
    pub fn activations(&mut self, spec: ActSpec) -> &mut Self {
        self.metadata.insert(ACTIVATIONS_KEY.to_owned(), spec.label().to_owned());
        self
    }

    /// Adds metadata `lowbit.x-KEY`, which readers skip: where a model comes from, how it was made.
    pub fn note(&mut self, key: &str, content: &str) -> &mut Self {
        self.metadata.insert(format!("{SKIPPED}{key}"), content.to_owned());
        self
    }

    /// Adds a tensor of any format, `dims` outermost first. Its bytes are shared, not copied.
    ///
    /// # Errors
    /// Where the name is taken, empty or too long, or `dims` are not those of the matrix.
    pub fn tensor(&mut self, name: &str, dims: &[usize], tensor: &QuantTensor) -> Result<&mut Self, IoError> {
        let spec = tensor.spec();
        if matrix(dims) != Some(tensor.shape()) {
            let found = format!("dimensions {dims:?}");
            return Err(IoError::invalid(format!("tensor {name:?}"), found, tensor.shape().to_string()));
        }
        let mut parts = tensor.parts().into_iter();
        self.payloads(name, &spec, dims, |_| parts.next().expect("a piece for every part").into())
    }

    /// Adds a tensor whose bytes come when the file is written: `make` is called for each of its parts, and the payload
    /// must have the part's bytes. Floats are one part.
    ///
    /// # Errors
    /// Where the name is taken, empty or too long, or the dimensions are none of the format.
    pub fn payloads(
        &mut self,
        name: &str,
        spec: &WeightSpec,
        dims: &[usize],
        mut make: impl FnMut(&Part) -> Payload,
    ) -> Result<&mut Self, IoError> {
        let plain = matches!(spec, WeightSpec::Float(_));
        let shape = matrix(dims).filter(|shape| plain || dims.len() > 1 && shape.n > 0 && shape.k > 0);
        let shape = shape.ok_or_else(|| wrong_dims(name, dims))?;
        let refused = |error| IoError::Tensor { name: name.to_owned(), error };
        let parts = parts::parts(spec, shape).map_err(refused)?;
        if !plain {
            self.file.take(name)?;
            let entry = format!("{{\"spec\":{},\"shape\":{}", quoted(&spec.label()), list(dims));
            self.declared.push(Declared { name: name.to_owned(), k: shape.k, entry });
        }
        for part in parts {
            let matrix = [part.rows, part.columns];
            let dims = if plain { dims } else { &matrix };
            self.file.store(&format!("{name}{}", part.ending()), part.dtype(), dims, make(&part))?;
        }
        Ok(self)
    }

    /// Says what is done to the input of the layer whose quantized weight was added last, the first operation first.
    ///
    /// # Errors
    /// Where another tensor was added last, it has operations already, there are more than a reader takes, or one is none
    /// on as many columns.
    pub fn input(&mut self, name: &str, ops: &[OnlineOp]) -> Result<&mut Self, IoError> {
        let what = || format!("operations on the input of tensor {name:?}");
        if ops.len() > MAX_INPUT {
            return Err(IoError::invalid(what(), ops.len(), format!("at most {MAX_INPUT}")));
        }
        let k = match self.declared.last() {
            _ if ops.is_empty() => return Ok(self),
            Some(last) if last.name == name => last.k,
            _ => return Err(IoError::invalid(what(), "another tensor", "the quantized one added last")),
        };
        for (i, op) in ops.iter().enumerate() {
            op.check(k).map_err(|error| IoError::Tensor { name: name.to_owned(), error })?;
            let part = format!("{name}{}", parts::input_ending(i));
            let (dtype, rows) = parts::input_numbers(op.kind());
            self.file.store(&part, dtype, &[rows, k], parts::input_bytes(op).into())?;
        }
        let labels: Vec<String> = ops.iter().map(|op| quoted(&op.kind().label())).collect();
        if let Some(last) = self.declared.last_mut() {
            last.entry += &format!(",\"input\":[{}]", labels.join(","));
        }
        Ok(self)
    }

    /// Number of bytes that [`Self::write`] will write.
    pub fn bytes(&self) -> u64 {
        self.file.bytes(&self.texts(&self.tensor_list()))
    }

    /// The file's bytes.
    ///
    /// # Panics
    /// Where a payload gives more or fewer bytes than its part has.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out).expect("payloads have the lengths of their parts");
        out
    }

    /// Writes the file: to a temporary one beside it, synced, then renamed.
    ///
    /// # Errors
    /// Where a payload gives more or fewer bytes than its part has, or the operating system refuses.
    pub fn write(&self, path: &Path) -> Result<(), IoError> {
        write_new(path, |out| self.put(out))
    }

    fn put(&self, out: &mut dyn Write) -> Result<(), IoError> {
        self.file.put(&self.texts(&self.tensor_list()), out)
    }

    /// `lowbit.tensors`.
    fn tensor_list(&self) -> String {
        let entries = self.declared.iter().map(|d| format!("{}:{}}}", quoted(&d.name), d.entry));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }

    /// `__metadata__`.
    fn texts<'a>(&'a self, tensors: &'a str) -> Vec<(&'a str, &'a str)> {
        let texts = self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        texts.chain([(TENSORS_KEY, tensors)]).collect()
    }
}

/// Dimensions as rows of the last, `None` where there are none or their product overflows.
fn matrix(dims: &[usize]) -> Option<NK> {
    let (k, rows) = dims.split_last()?;
    let n = rows.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    n.checked_mul(*k).map(|_| NK { n, k: *k })
}
