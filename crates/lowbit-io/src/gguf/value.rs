//! GGUF metadata values: what types there are and how their bytes read.

use crate::{IoError, cursor::Cursor};
use std::ops::Range;

/// Type of a metadata value, as declared in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Str,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    pub(super) fn from_number(number: u32, what: impl Fn() -> String) -> Result<Self, IoError> {
        use ValueType::*;
        const ALL: [ValueType; 13] = [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64];
        ALL.get(number as usize)
            .copied()
            .ok_or_else(|| IoError::invalid(what(), format!("value type {number}"), "a type from 0 to 12"))
    }

    /// The number that stands for it in a file.
    pub(super) fn number(self) -> u32 {
        use ValueType::*;
        match self {
            U8 => 0,
            I8 => 1,
            U16 => 2,
            I16 => 3,
            U32 => 4,
            I32 => 5,
            F32 => 6,
            Bool => 7,
            Str => 8,
            Array => 9,
            U64 => 10,
            I64 => 11,
            F64 => 12,
        }
    }

    /// Bytes of a value, `None` where they vary.
    fn size(self) -> Option<usize> {
        use ValueType::*;
        match self {
            U8 | I8 | Bool => Some(1),
            U16 | I16 => Some(2),
            U32 | I32 | F32 => Some(4),
            U64 | I64 | F64 => Some(8),
            Str | Array => None,
        }
    }

    /// Name as in the GGUF specification.
    pub fn label(self) -> &'static str {
        use ValueType::*;
        match self {
            U8 => "uint8",
            I8 => "int8",
            U16 => "uint16",
            I16 => "int16",
            U32 => "uint32",
            I32 => "int32",
            F32 => "float32",
            Bool => "bool",
            Str => "string",
            Array => "array",
            U64 => "uint64",
            I64 => "int64",
            F64 => "float64",
        }
    }
}

/// A metadata value, borrowed from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value<'_> {
    /// The declared type.
    pub fn value_type(&self) -> ValueType {
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
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The value of any integer type; `None` for the others.
    pub fn integer(&self) -> Option<i128> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::U64(v) => Some(v.into()),
            Self::I64(v) => Some(v.into()),
            _ => None,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Array(a) => format!("an array of {}", a.element.label()),
            other => other.value_type().label().to_owned(),
        }
    }
}

/// An array of metadata, borrowed from the file. Its extent was checked when the file was opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    pub(super) element: ValueType,
    pub(super) len: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Declared type of the elements.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every element in order. Each is checked as it is read: text must be UTF-8, a bool 0 or 1.
    pub fn values(&self) -> impl Iterator<Item = Result<Value<'a>, IoError>> + use<'a> {
        let (element, mut cursor) = (self.element, Cursor::new(self.bytes, 0));
        let bytes = self.bytes;
        (0..self.len).map(move |i| read_value(bytes, &mut cursor, element, || format!("array element {i}")))
    }
}

/// Passes a value, checking that it lies inside the bytes.
pub(super) fn skip_value(
    cursor: &mut Cursor<'_>,
    kind: ValueType,
    what: impl Fn() -> String,
) -> Result<(), IoError> {
    match kind.size() {
        Some(size) => cursor.span(size as u64, &what).map(|_| ()),
        None if kind == ValueType::Str => skip_text(cursor, &what),
        None => {
            let element = ValueType::from_number(cursor.u32(&what)?, &what)?;
            let len = cursor.u64(&what)?;
            match element.size() {
                Some(size) => cursor.span(len.saturating_mul(size as u64), &what).map(|_| ()),
                None if element == ValueType::Str => {
                    // Each text takes at least its length field: a count beyond that is refused before the walk.
                    cursor.clone().span(len.saturating_mul(8), &what)?;
                    (0..len).try_for_each(|_| skip_text(cursor, &what))
                }
                None => Err(IoError::invalid(what(), "an array of arrays", "an array of plain values")),
            }
        }
    }
}

fn skip_text(cursor: &mut Cursor<'_>, what: impl Fn() -> String) -> Result<(), IoError> {
    let len = cursor.u64(&what)?;
    cursor.span(len, what).map(|_| ())
}

pub(super) fn read_text<'a>(
    bytes: &'a [u8],
    cursor: &mut Cursor<'_>,
    what: impl Fn() -> String,
) -> Result<&'a str, IoError> {
    let len = cursor.u64(&what)?;
    let span = cursor.span(len, &what)?;
    str::from_utf8(&bytes[span]).map_err(|_| IoError::NotUtf8 { what: what() })
}

pub(super) fn read_value<'a>(
    bytes: &'a [u8],
    cursor: &mut Cursor<'_>,
    kind: ValueType,
    what: impl Fn() -> String,
) -> Result<Value<'a>, IoError> {
    if kind == ValueType::Str {
        return read_text(bytes, cursor, what).map(Value::Str);
    }
    let Some(size) = kind.size() else {
        return Err(IoError::invalid(what(), "an array", "a plain value"));
    };
    let raw = &bytes[cursor.span(size as u64, &what)?];
    let mut word = [0u8; 8];
    word[..size].copy_from_slice(raw);
    let word = u64::from_le_bytes(word);
    Ok(match kind {
        ValueType::U8 => Value::U8(word as u8),
        ValueType::I8 => Value::I8(word as i8),
        ValueType::U16 => Value::U16(word as u16),
        ValueType::I16 => Value::I16(word as i16),
        ValueType::U32 => Value::U32(word as u32),
        ValueType::I32 => Value::I32(word as i32),
        ValueType::F32 => Value::F32(f32::from_bits(word as u32)),
        ValueType::U64 => Value::U64(word),
        ValueType::I64 => Value::I64(word as i64),
        ValueType::F64 => Value::F64(f64::from_bits(word)),
        ValueType::Bool if word <= 1 => Value::Bool(word == 1),
        ValueType::Bool => return Err(IoError::invalid(what(), format!("bool {word}"), "0 or 1")),
        ValueType::Str | ValueType::Array => unreachable!("they have no size of their own"),
    })
}

/// Reads an array that takes the bytes `range`, as [`skip_value`] has found it. The elements are checked when they
/// are read.
pub(super) fn read_array<'a>(
    bytes: &'a [u8],
    range: Range<usize>,
    what: impl Fn() -> String,
) -> Result<Array<'a>, IoError> {
    let mut cursor = Cursor::new(bytes, range.start);
    let element = ValueType::from_number(cursor.u32(&what)?, &what)?;
    let len = cursor.u64(&what)?;
    let values = bytes.get(cursor.position()..range.end).unwrap_or(&[]);
    // The file may have been written to since: no more elements than the bytes hold.
    let least = element.size().unwrap_or(8) as u64;
    if len > values.len() as u64 / least {
        return Err(IoError::invalid(what(), format!("{len} elements"), "as many as at the opening"));
    }
    Ok(Array { element, len: len as usize, bytes: values })
}
