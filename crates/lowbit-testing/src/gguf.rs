//! A writer of GGUF files for tests: any metadata type, raw tensor bytes, any type number, any version.
//!
//! It writes what it is told, so that readers can be shown files no converter would make. What has to be broken
//! further (cut short, big-endian, counts that lie) is broken by the test on the bytes.

use std::io;
use std::path::Path;

/// A file to be: header, metadata, tensors.
#[derive(Clone, Debug)]
pub struct GgufFile {
    /// The version in the header; 3 is current.
    pub version: u32,
    /// Keys and values, in file order.
    pub metadata: Vec<(String, GgufValue)>,
    /// Tensors, in file order; data is laid out in the same order, each at a multiple of the alignment.
    pub tensors: Vec<GgufTensor>,
}

/// A metadata value; the variants are the format's types.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the format's type of that name")]
pub enum GgufValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    /// The type number of the elements, and the elements, which must be of that type.
    Array(u32, Vec<GgufValue>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A tensor: name, dimensions with the fastest first, type number, and its bytes.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// The name.
    pub name: String,
    /// The dimensions, the fastest first: a matrix of N rows of K is `[K, N]`.
    pub dims: Vec<u64>,
    /// The type number (0 = F32, 1 = F16, 2 = Q4_0, …).
    pub kind: u32,
    /// The data, whatever its length.
    pub data: Vec<u8>,
}

impl GgufFile {
    /// An empty file of version 3 for this architecture.
    pub fn new(architecture: &str) -> Self {
        let metadata = vec![("general.architecture".to_owned(), GgufValue::from(architecture))];
        Self { version: 3, metadata, tensors: Vec::new() }
    }

    /// Adds a metadata entry.
    pub fn with(mut self, key: &str, value: impl Into<GgufValue>) -> Self {
        self.metadata.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a tensor.
    pub fn with_tensor(mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) -> Self {
        self.tensors.push(GgufTensor { name: name.to_owned(), dims: dims.to_vec(), kind, data });
        self
    }

    /// Adds an F32 tensor.
    ///
    /// # Panics
    /// If the number of values is not the product of the dimensions.
    pub fn with_f32(self, name: &str, dims: &[u64], values: &[f32]) -> Self {
        assert_eq!(dims.iter().product::<u64>(), values.len() as u64, "{name}: values for {dims:?}");
        self.with_tensor(name, dims, 0, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// The file, little-endian. Data is aligned to `general.alignment` if that is a u32 above 0, else to 32.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_string(&mut out, key);
            out.extend(value.type_number().to_le_bytes());
            value.put(&mut out);
        }
        let alignment = self.alignment();
        let mut offset = 0;
        for tensor in &self.tensors {
            put_string(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(alignment);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(alignment), 0);
            out.extend(&tensor.data);
        }
        out.resize(out.len().next_multiple_of(alignment), 0);
        out
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.to_bytes())
    }

    fn alignment(&self) -> usize {
        let found = self.metadata.iter().find(|(key, _)| key == "general.alignment");
        match found {
            Some((_, GgufValue::U32(alignment))) if *alignment > 0 => *alignment as usize,
            _ => 32,
        }
    }
}

impl GgufValue {
    /// The format's number of this value's type.
    pub fn type_number(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::Array(..) => 9,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(v) => out.push(*v),
            Self::I8(v) => out.extend(v.to_le_bytes()),
            Self::U16(v) => out.extend(v.to_le_bytes()),
            Self::I16(v) => out.extend(v.to_le_bytes()),
            Self::U32(v) => out.extend(v.to_le_bytes()),
            Self::I32(v) => out.extend(v.to_le_bytes()),
            Self::F32(v) => out.extend(v.to_le_bytes()),
            Self::Bool(v) => out.push(u8::from(*v)),
            Self::String(v) => put_string(out, v),
            Self::Array(element, values) => {
                out.extend(element.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                for value in values {
                    assert_eq!(value.type_number(), *element, "an array of one type");
                    value.put(out);
                }
            }
            Self::U64(v) => out.extend(v.to_le_bytes()),
            Self::I64(v) => out.extend(v.to_le_bytes()),
            Self::F64(v) => out.extend(v.to_le_bytes()),
        }
    }
}

impl From<&str> for GgufValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<u32> for GgufValue {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<f32> for GgufValue {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<bool> for GgufValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&[&str]> for GgufValue {
    fn from(values: &[&str]) -> Self {
        Self::Array(8, values.iter().map(|&v| v.into()).collect())
    }
}

impl From<&[f32]> for GgufValue {
    fn from(values: &[f32]) -> Self {
        Self::Array(6, values.iter().map(|&v| v.into()).collect())
    }
}

impl From<&[i32]> for GgufValue {
    fn from(values: &[i32]) -> Self {
        Self::Array(5, values.iter().map(|&v| Self::I32(v)).collect())
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_has_the_bytes_written_out_by_hand() {
        let file =
            GgufFile { version: 3, metadata: vec![("k".into(), GgufValue::U16(0x0102))], tensors: vec![] }
                .with("general.alignment", 8u32)
                .with_f32("t", &[1, 1], &[1.0])
                .with_tensor("u", &[2], 24, vec![7, 8]);
        let mut expected = Vec::new();
        expected.extend(b"GGUF\x03\0\0\0");
        expected.extend(b"\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0k\x02\0\0\0\x02\x01");
        expected.extend(b"\x11\0\0\0\0\0\0\0general.alignment\x04\0\0\0\x08\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0t\x02\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
        expected.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0u\x01\0\0\0\x02\0\0\0\0\0\0\0");
        expected.extend(b"\x18\0\0\0\x08\0\0\0\0\0\0\0");
        expected.resize(expected.len().next_multiple_of(8), 0);
        expected.extend(b"\0\0\x80\x3f\0\0\0\0\x07\x08\0\0\0\0\0\0");
        assert_eq!(file.to_bytes(), expected);
    }

    #[test]
    fn arrays_nest_and_carry_their_type_when_empty() {
        let mut out = Vec::new();
        GgufValue::Array(9, vec![GgufValue::from(&["a"][..]), GgufValue::Array(4, vec![])]).put(&mut out);
        let mut expected = b"\x09\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\x08\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a");
        expected.extend(b"\x04\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(out, expected);
    }

    #[test]
    #[should_panic(expected = "an array of one type")]
    fn an_array_of_mixed_types_is_refused() {
        let mixed = GgufValue::Array(4, vec![GgufValue::U32(1), GgufValue::Bool(true)]);
        GgufFile::new("llama").with("k", mixed).to_bytes();
    }
}
