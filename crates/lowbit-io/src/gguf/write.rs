//! Writing GGUF version 3: metadata, then tensors, to a file that appears whole or not at all.

use super::value::{Value, ValueType};
use crate::{Encoding, IoError, Payload, payload::write_new};
use std::{io::Write, path::Path};

/// A metadata value to be written.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum OwnedValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    U64(u64),
    I64(i64),
    F64(f64),
    /// Elements of one type, which is given for the empty array; not arrays themselves.
    Array(ValueType, Vec<OwnedValue>),
}

impl OwnedValue {
    fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) => ValueType::Str,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
            Self::Array(..) => ValueType::Array,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(v) => out.push(*v),
            Self::I8(v) => out.extend(v.to_le_bytes()),
            Self::U16(v) => out.extend(v.to_le_bytes()),
            Self::I16(v) => out.extend(v.to_le_bytes()),
            Self::U32(v) => out.extend(v.to_le_bytes()),
            Self::I32(v) => out.extend(v.to_le_bytes()),
            Self::F32(v) => out.extend(v.to_le_bytes()),
            Self::Bool(v) => out.push(u8::from(*v)),
            Self::Str(v) => write_text(v, out),
            Self::U64(v) => out.extend(v.to_le_bytes()),
            Self::I64(v) => out.extend(v.to_le_bytes()),
            Self::F64(v) => out.extend(v.to_le_bytes()),
            Self::Array(element, values) => {
                out.extend(element.number().to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                for value in values {
                    value.write(out);
                }
            }
        }
    }
}

/// A value read from one file, to be written to another.
impl TryFrom<Value<'_>> for OwnedValue {
    type Error = IoError;

    fn try_from(value: Value<'_>) -> Result<Self, IoError> {
        Ok(match value {
            Value::U8(v) => Self::U8(v),
            Value::I8(v) => Self::I8(v),
            Value::U16(v) => Self::U16(v),
            Value::I16(v) => Self::I16(v),
            Value::U32(v) => Self::U32(v),
            Value::I32(v) => Self::I32(v),
            Value::F32(v) => Self::F32(v),
            Value::Bool(v) => Self::Bool(v),
            Value::Str(v) => Self::Str(v.to_owned()),
            Value::U64(v) => Self::U64(v),
            Value::I64(v) => Self::I64(v),
            Value::F64(v) => Self::F64(v),
            Value::Array(array) => {
                let values: Result<Vec<_>, _> = array.values().map(|v| Self::try_from(v?)).collect();
                Self::Array(array.element(), values?)
            }
        })
    }
}

impl From<u32> for OwnedValue {
    fn from(v: u32) -> Self {
        Self::U32(v)
    }
}

impl From<f32> for OwnedValue {
    fn from(v: f32) -> Self {
        Self::F32(v)
    }
}

impl From<bool> for OwnedValue {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<&str> for OwnedValue {
    fn from(v: &str) -> Self {
        Self::Str(v.to_owned())
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

struct Tensor {
    name: String,
    number: u32,
    /// Outermost first.
    dims: Vec<usize>,
    len: usize,
    payload: Payload,
}

/// Collects a GGUF file. Tensors are aligned to 32 bytes, or to `general.alignment` where that is set (as u32).
#[derive(Default)]
pub struct GgufWriter {
    pairs: Vec<(String, OwnedValue)>,
    tensors: Vec<Tensor>,
    alignment: Option<u32>,
}

impl GgufWriter {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata pair.
    ///
    /// # Errors
    /// Where the key is empty, too long or there already, or an array's elements are not all of its type.
    pub fn metadata(&mut self, key: &str, value: impl Into<OwnedValue>) -> Result<&mut Self, IoError> {
        let value = value.into();
        if key.is_empty() || key.len() > 256 {
            return Err(IoError::invalid("a metadata key", format!("{} bytes", key.len()), "1 to 256 bytes"));
        }
        if self.pairs.iter().any(|(k, _)| k == key) {
            return Err(IoError::Duplicate { what: "metadata key", name: key.to_owned() });
        }
        if let OwnedValue::Array(element, values) = &value
            && (*element == ValueType::Array || values.iter().any(|v| v.value_type() != *element))
        {
            let expected = format!("elements of type {}", element.label());
            return Err(IoError::invalid(
                format!("metadata field {key:?}"),
                "a mixed or nested array",
                expected,
            ));
        }
        if key == "general.alignment" {
            match value {
                OwnedValue::U32(a) if a.is_power_of_two() && (8..=1 << 20).contains(&a) => {
                    self.alignment = Some(a)
                }
                _ => {
                    let expected = "a uint32 power of two from 8 to 1048576";
                    return Err(IoError::invalid(
                        format!("metadata field {key:?}"),
                        format!("{value:?}"),
                        expected,
                    ));
                }
            }
        }
        self.pairs.push((key.to_owned(), value));
        Ok(self)
    }

    /// Adds a tensor, `dims` outermost first. The name, the dimensions and the number of bytes are what the reader
    /// will accept or refuse.
    ///
    /// # Errors
    /// Where GGUF has no number for the encoding, the rank is not 1 to 4, or the bytes are not those of the shape.
    pub fn tensor(
        &mut self,
        name: &str,
        encoding: Encoding,
        dims: &[usize],
        bytes: Vec<u8>,
    ) -> Result<&mut Self, IoError> {
        let found = bytes.len();
        self.add(name, encoding, dims, (Some(found), bytes.into()))
    }

    /// Adds a tensor whose bytes come when the file is written: as many as `encoding` and `dims` say, or writing fails.
    ///
    /// # Errors
    /// As [`Self::tensor`], but for the number of bytes.
    pub fn payload(
        &mut self,
        name: &str,
        encoding: Encoding,
        dims: &[usize],
        payload: Payload,
    ) -> Result<&mut Self, IoError> {
        self.add(name, encoding, dims, (None, payload))
    }

    fn add(
        &mut self,
        name: &str,
        encoding: Encoding,
        dims: &[usize],
        (found, payload): (Option<usize>, Payload),
    ) -> Result<&mut Self, IoError> {
        let Some(number) = super::type_number(encoding) else {
            return Err(IoError::invalid(
                format!("the type of tensor {name:?}"),
                encoding.label(),
                "a type with a GGUF number of its own",
            ));
        };
        let expected = super::types::meanings(number)[0].size(dims);
        let len = expected.filter(|len| found.is_none_or(|found| found == *len));
        let Some(len) = len.filter(|_| (1..=4).contains(&dims.len()) && (1..=256).contains(&name.len()))
        else {
            return Err(IoError::invalid(
                format!("tensor {name:?} {dims:?} of type {}", encoding.label()),
                found.map_or("a payload".to_owned(), |n| format!("{n} bytes")),
                expected.map_or("dimensions of whole blocks".to_owned(), |n| format!("{n} bytes")),
            ));
        };
        let dims = dims.to_vec();
        self.tensors.push(Tensor { name: name.to_owned(), number, dims, len, payload });
        Ok(self)
    }

    /// Adds a tensor under any type number and checks nothing: for dialects, and for tests of the reader.
    pub fn numbered(&mut self, name: &str, number: u32, dims: &[usize], bytes: Vec<u8>) -> &mut Self {
        let (name, dims, len) = (name.to_owned(), dims.to_vec(), bytes.len());
        self.tensors.push(Tensor { name, number, dims, len, payload: bytes.into() });
        self
    }

    /// The file's bytes.
    ///
    /// # Panics
    /// Where a payload gives more or fewer bytes than its tensor has.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out).expect("payloads have the lengths of their tensors");
        out
    }

    fn put(&self, out: &mut dyn Write) -> Result<(), IoError> {
        let alignment = self.alignment.unwrap_or(32) as usize;
        let padding = vec![0u8; alignment];
        let pad = |out: &mut dyn Write, len: usize| {
            out.write_all(&padding[..len.next_multiple_of(alignment) - len])
                .map_err(|e| IoError::os("write", e))
        };
        let head = self.head();
        out.write_all(&head).map_err(|e| IoError::os("write", e))?;
        pad(out, head.len())?;
        for tensor in &self.tensors {
            tensor.payload.put(&tensor.name, tensor.len, out)?;
            pad(out, tensor.len)?;
        }
        Ok(())
    }

    fn head(&self) -> Vec<u8> {
        let alignment = u64::from(self.alignment.unwrap_or(32));
        let mut out = Vec::new();
        out.extend(b"GGUF");
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            write_text(key, &mut out);
            out.extend(value.value_type().number().to_le_bytes());
            value.write(&mut out);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            write_text(&tensor.name, &mut out);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            for d in tensor.dims.iter().rev() {
                out.extend((*d as u64).to_le_bytes());
            }
            out.extend(tensor.number.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + tensor.len as u64).next_multiple_of(alignment);
        }
        out
    }

    /// Writes the file: to a temporary one beside it, synced, then renamed.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn write(&self, path: &Path) -> Result<(), IoError> {
        write_new(path, |out| self.put(out))
    }
}
