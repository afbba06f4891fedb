//! Writing safetensors files, and folders of them: each appears whole or not at all.

use super::safetensors::{MAX_HEADER, MAX_NAME, MAX_RANK, MAX_TENSORS};
use crate::{
    IoError, Payload,
    payload::{NewFolder, write_new},
};
use lowbit_format::FloatFormat;
use safetensors::Dtype;
use std::{cmp::Reverse, collections::HashSet, io::Write, path::Path};

/// Bytes of tensors in one file of a folder, unless a single tensor has more.
const SHARD_BYTES: u64 = 4 << 30;

/// Type of the elements of a tensor to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ElementType {
    Float(FloatFormat),
    I8,
    I32,
    I64,
}

impl ElementType {
    fn dtype(self) -> Dtype {
        match self {
            Self::Float(FloatFormat::F32) => Dtype::F32,
            Self::Float(FloatFormat::F16) => Dtype::F16,
            Self::Float(FloatFormat::Bf16) => Dtype::BF16,
            Self::I8 => Dtype::I8,
            Self::I32 => Dtype::I32,
            Self::I64 => Dtype::I64,
        }
    }
}

/// The tensors of one safetensors file.
#[derive(Debug, Default)]
pub(crate) struct SafetensorsWriter {
    names: HashSet<String>,
    stored: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    name: String,
    dtype: Dtype,
    dims: Vec<usize>,
    bytes: usize,
    payload: Payload,
}

impl SafetensorsWriter {
    /// Takes a name, of a tensor or of one of its parts: no two may be the same.
    pub(crate) fn take(&mut self, name: &str) -> Result<(), IoError> {
        if name.is_empty() || name.len() > MAX_NAME || name == "__metadata__" {
            let expected = format!("1 to {MAX_NAME} bytes other than __metadata__");
            return Err(IoError::invalid("a tensor name", format!("{name:?}"), expected));
        }
        if self.names.insert(name.to_owned()) {
            return Ok(());
        }
        Err(IoError::Duplicate { what: "tensor", name: name.to_owned() })
    }

    pub(crate) fn store(
        &mut self,
        name: &str,
        dtype: Dtype,
        dims: &[usize],
        payload: Payload,
    ) -> Result<(), IoError> {
        self.take(name)?;
        if self.stored.len() == MAX_TENSORS {
            let (found, most) = (self.stored.len() as u64 + 1, MAX_TENSORS as u64);
            return Err(IoError::TooLarge { what: "number of stored tensors".into(), found, most });
        }
        let bits = dims.iter().try_fold(dtype.bitsize(), |n, d| n.checked_mul(*d));
        let bits = bits.filter(|b| dims.len() <= MAX_RANK && *b <= isize::MAX as usize);
        let bytes = bits.ok_or_else(|| wrong_dims(name, dims))? / 8;
        let (name, dims) = (name.to_owned(), dims.to_vec());
        self.stored.push(Stored { name, dtype, dims, bytes, payload });
        Ok(())
    }

    /// Number of bytes of a file with these metadata.
    pub(crate) fn bytes(&self, metadata: &[(&str, &str)]) -> u64 {
        self.head(metadata, &self.order()).len() as u64 + self.tensor_bytes()
    }

    fn tensor_bytes(&self) -> u64 {
        self.stored.iter().map(|s| s.bytes as u64).sum()
    }

    pub(crate) fn put(&self, metadata: &[(&str, &str)], out: &mut dyn Write) -> Result<(), IoError> {
        let order = self.order();
        let head = self.head(metadata, &order);
        if head.len() as u64 - 8 > MAX_HEADER {
            let (what, found) = ("header with its texts".to_owned(), head.len() as u64 - 8);
            return Err(IoError::TooLarge { what, found, most: MAX_HEADER });
        }
        out.write_all(&head).map_err(|e| IoError::os("write", e))?;
        order.iter().try_for_each(|s| s.payload.put(&s.name, s.bytes, out))
    }

    /// Wide elements first, so that each lies at a multiple of its size.
    fn order(&self) -> Vec<&Stored> {
        let mut order: Vec<&Stored> = self.stored.iter().collect();
        order.sort_by_key(|s| Reverse(s.dtype.bitsize()));
        order
    }

    fn head(&self, metadata: &[(&str, &str)], order: &[&Stored]) -> Vec<u8> {
        let texts: Vec<String> =
            metadata.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        let mut json = format!("{{\"__metadata__\":{{{}}}", texts.join(","));
        let mut offset = 0;
        for s in order {
            let end = offset + s.bytes;
            let (name, dtype, dims) = (quoted(&s.name), s.dtype, list(&s.dims));
            json += &format!(
                ",{name}:{{\"dtype\":\"{dtype}\",\"shape\":{dims},\"data_offsets\":[{offset},{end}]}}"
            );
            offset = end;
        }
        json.push('}');
        // The data begin at a multiple of eight bytes.
        let padding = json.len().next_multiple_of(8) - json.len();
        json += &" ".repeat(padding);
        [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
    }
}

/// Collects a Hugging Face folder: texts, and tensors in one file or in shards of 4 GiB with an index.
#[derive(Debug, Default)]
pub struct FolderWriter {
    texts: Vec<(String, String)>,
    names: HashSet<String>,
    shards: Vec<SafetensorsWriter>,
}

impl FolderWriter {
    /// A folder with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text file.
    pub fn text(&mut self, name: &str, content: String) -> &mut Self {
        self.texts.push((name.to_owned(), content));
        self
    }

    /// Adds a tensor, `dims` outermost first, whose bytes come when the folder is written.
    ///
    /// # Errors
    /// Where the name is taken, empty or too long, or the dimensions overflow.
    pub fn tensor(
        &mut self,
        name: &str,
        element: ElementType,
        dims: &[usize],
        payload: Payload,
    ) -> Result<&mut Self, IoError> {
        if !self.names.insert(name.to_owned()) {
            return Err(IoError::Duplicate { what: "tensor", name: name.to_owned() });
        }
        let dtype = element.dtype();
        let bytes = dims.iter().fold(dtype.bitsize() as u64 / 8, |n, d| n.saturating_mul(*d as u64));
        let fits = |shard: &SafetensorsWriter| shard.tensor_bytes().saturating_add(bytes) <= SHARD_BYTES;
        if !self.shards.last().is_some_and(fits) {
            self.shards.push(SafetensorsWriter::default());
        }
        let last = self.shards.last_mut().expect("one was pushed");
        last.store(name, dtype, dims, payload)?;
        Ok(self)
    }

    /// Writes the folder: to a temporary one beside it, then renamed. Returns the number of bytes written.
    ///
    /// # Errors
    /// Where there is something of that name already, a payload gives more or fewer bytes than its tensor has, or the
    /// operating system refuses.
    pub fn write(&self, out: &Path) -> Result<u64, IoError> {
        // What the libraries ask for: tensors are laid out as PyTorch has them.
        let metadata = [("format", "pt")];
        let folder = NewFolder::beside(out)?;
        let mut bytes = 0;
        let put = |name: &str, content: &[u8]| crate::write_file(&folder.path().join(name), content);
        for (name, content) in &self.texts {
            put(name, content.as_bytes())?;
            bytes += content.len() as u64;
        }
        let count = self.shards.len();
        let name = |i: usize| match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
        };
        for (i, shard) in self.shards.iter().enumerate() {
            write_new(&folder.path().join(name(i)), |out| shard.put(&metadata, out))?;
            bytes += shard.bytes(&metadata);
        }
        if count != 1 {
            let index = self.index(name);
            put("model.safetensors.index.json", index.as_bytes())?;
            bytes += index.len() as u64;
        }
        folder.finish(out)?;
        Ok(bytes)
    }

    /// Which file holds which tensor.
    fn index(&self, name: impl Fn(usize) -> String) -> String {
        let total: u64 = self.shards.iter().map(SafetensorsWriter::tensor_bytes).sum();
        let shards = self.shards.iter().enumerate();
        let places = shards.flat_map(|(i, shard)| {
            let file = name(i);
            shard.stored.iter().map(move |s| (s.name.clone(), serde_json::Value::from(file.as_str())))
        });
        let map: serde_json::Map<String, serde_json::Value> = places.collect();
        serde_json::json!({"metadata": {"total_size": total}, "weight_map": map}).to_string()
    }
}

pub(crate) fn wrong_dims(name: &str, dims: &[usize]) -> IoError {
    let dims = dims.iter().map(|d| *d as u64).collect();
    IoError::Dimensions { name: name.to_owned(), dims, why: "no matrix that can be stored".into() }
}

/// A JSON array.
pub(crate) fn list(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("[{}]", dims.join(","))
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
