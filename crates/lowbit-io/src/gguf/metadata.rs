//! GGUF metadata, read where it lies: opening keeps the place of each value and copies none.

use crate::{IoError, cursor::Cursor};
use lowbit_format::Storage;
use std::ops::{Range, RangeInclusive};

/// Most metadata pairs a file may have. Real files have under a hundred.
const MAX_PAIRS: u64 = 1 << 16;
/// Longest key in bytes.
const MAX_KEY: u64 = 256;
/// Fewest bytes of a pair: key length, one letter, type, one byte.
const MIN_PAIR: u64 = 8 + 1 + 4 + 1;

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
    fn from_number(number: u32, what: impl Fn() -> String) -> Result<Self, IoError> {
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

    fn describe(&self) -> String {
        match self {
            Self::Array(a) => format!("an array of {}", a.element.label()),
            other => other.value_type().label().to_owned(),
        }
    }
}

/// An array of metadata, borrowed from the file. Its extent was checked when the file was opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    element: ValueType,
    len: usize,
    bytes: &'a [u8],
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

#[derive(Clone, Debug)]
struct Pair {
    key: Range<usize>,
    kind: ValueType,
    value: Range<usize>,
}

/// The metadata of a GGUF file: typed values under text keys.
///
/// Getters return `Ok(None)` where the key is absent and an error where it has another type than asked for: a value
/// is never read as anything but what the file declares.
#[derive(Clone, Debug)]
pub struct Metadata {
    bytes: Storage,
    pairs: Vec<Pair>,
    /// Indices of `pairs` by key.
    sorted: Vec<u32>,
}

impl Metadata {
    /// Reads `count` pairs from `cursor`, which walks over `bytes`.
    pub(super) fn read(bytes: &Storage, cursor: &mut Cursor<'_>, count: u64) -> Result<Self, IoError> {
        let most = MAX_PAIRS.min(cursor.left() as u64 / MIN_PAIR);
        if count > most {
            return Err(IoError::TooLarge { what: "a metadata pair count".into(), found: count, most });
        }
        let all = bytes.bytes();
        let mut pairs = Vec::with_capacity(count as usize);
        for i in 0..count {
            pairs.push(read_pair(all, cursor, i)?);
        }
        let key = |i: &u32| &all[pairs[*i as usize].key.clone()];
        let mut sorted: Vec<u32> = (0..count as u32).collect();
        sorted.sort_unstable_by_key(key);
        if let Some(twice) = sorted.windows(2).find(|w| key(&w[0]) == key(&w[1])) {
            let name = String::from_utf8_lossy(key(&twice[0])).into_owned();
            return Err(IoError::Duplicate { what: "metadata key", name });
        }
        Ok(Self { bytes: bytes.clone(), pairs, sorted })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Every pair in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<Value<'_>, IoError>)> {
        self.pairs.iter().map(|p| (self.key(p), self.read_pair(p)))
    }

    /// The value of a key, whatever its type.
    ///
    /// # Errors
    /// Text that is not UTF-8, a bool that is neither 0 nor 1.
    pub fn get(&self, key: &str) -> Result<Option<Value<'_>>, IoError> {
        let found = self.sorted.binary_search_by(|i| self.key(&self.pairs[*i as usize]).cmp(key));
        found.ok().map(|i| self.read_pair(&self.pairs[self.sorted[i] as usize])).transpose()
    }

    /// Text.
    ///
    /// # Errors
    /// Where the key is there with another type.
    pub fn get_str(&self, key: &str) -> Result<Option<&str>, IoError> {
        self.typed(key, "string", |v| if let Value::Str(s) = v { Some(s) } else { None })
    }

    /// A truth value.
    ///
    /// # Errors
    /// Where the key is there with another type.
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>, IoError> {
        self.typed(key, "bool", |v| if let Value::Bool(b) = v { Some(b) } else { None })
    }

    /// A finite number declared as float32 or float64 (rounded to f32).
    ///
    /// # Errors
    /// Where the key is there with another type, or is NaN or infinite.
    pub fn get_f32(&self, key: &str) -> Result<Option<f32>, IoError> {
        let value = self.typed(key, "float32 or float64", |v| match v {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => None,
        })?;
        match value {
            Some(x) if !x.is_finite() => {
                Err(IoError::invalid(format!("metadata field {key:?}"), x, "a finite number"))
            }
            value => Ok(value),
        }
    }

    /// An unsigned number of any declared integer type that is not negative.
    ///
    /// # Errors
    /// Where the key is there with another type, or out of range.
    pub fn get_u64(&self, key: &str) -> Result<Option<u64>, IoError> {
        self.get_integer(key, 0..=u64::MAX.into()).map(|v| v.map(|v| v as u64))
    }

    /// As [`Self::get_u64`], up to `u32::MAX`.
    ///
    /// # Errors
    /// Where the key is there with another type, or out of range.
    pub fn get_u32(&self, key: &str) -> Result<Option<u32>, IoError> {
        self.get_integer(key, 0..=u32::MAX.into()).map(|v| v.map(|v| v as u32))
    }

    /// An integer of any declared integer type inside `range`: for hyper-parameters that size something.
    ///
    /// # Errors
    /// Where the key is there with another type, or out of range.
    pub fn get_integer(&self, key: &str, range: RangeInclusive<i128>) -> Result<Option<i128>, IoError> {
        let Some(v) = self.typed(key, "an integer type", |v| v.integer())? else { return Ok(None) };
        if range.contains(&v) {
            return Ok(Some(v));
        }
        Err(IoError::Range {
            key: format!("metadata field {key:?}"),
            found: v.to_string(),
            least: range.start().to_string(),
            most: range.end().to_string(),
        })
    }

    /// A finite float inside `range`, as [`Self::get_f32`].
    ///
    /// # Errors
    /// Where the key is there with another type, or out of range.
    pub fn get_f32_in(&self, key: &str, range: RangeInclusive<f32>) -> Result<Option<f32>, IoError> {
        let Some(v) = self.get_f32(key)? else { return Ok(None) };
        if range.contains(&v) {
            return Ok(Some(v));
        }
        Err(IoError::Range {
            key: format!("metadata field {key:?}"),
            found: v.to_string(),
            least: range.start().to_string(),
            most: range.end().to_string(),
        })
    }

    /// An array of any element type.
    ///
    /// # Errors
    /// Where the key is there with another type.
    pub fn get_array(&self, key: &str) -> Result<Option<Array<'_>>, IoError> {
        self.typed(key, "array", |v| if let Value::Array(a) = v { Some(a) } else { None })
    }

    /// Texts of an array, borrowed from the file and checked one by one as they are read.
    ///
    /// # Errors
    /// Where the key is there with another type or elements of another type.
    pub fn get_strings(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = Result<&str, IoError>>>, IoError> {
        let strings = self.typed(key, "an array of string", |v| match v {
            Value::Array(a) if a.element == ValueType::Str => Some(a),
            _ => None,
        })?;
        Ok(strings.map(|a| {
            let mut cursor = Cursor::new(a.bytes, 0);
            (0..a.len).map(move |i| read_text(a.bytes, &mut cursor, || format!("array element {i}")))
        }))
    }

    /// Bytes of an array of uint8 or int8, borrowed from the file.
    ///
    /// # Errors
    /// Where the key is there with another type or elements of another type.
    pub fn get_bytes(&self, key: &str) -> Result<Option<&[u8]>, IoError> {
        self.typed(key, "an array of uint8 or int8", |v| match v {
            Value::Array(a) if matches!(a.element, ValueType::U8 | ValueType::I8) => Some(a.bytes),
            _ => None,
        })
    }

    /// Numbers of an array of float32.
    ///
    /// # Errors
    /// Where the key is there with another type or elements of another type.
    pub fn get_f32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = f32>>, IoError> {
        let array = self.typed(key, "an array of float32", |v| match v {
            Value::Array(a) if a.element == ValueType::F32 => Some(a),
            _ => None,
        })?;
        Ok(array.map(|a| a.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))))
    }

    /// Numbers of an array of 32-bit integers, signed or not, as they are declared.
    ///
    /// # Errors
    /// Where the key is there with another type or elements of another type.
    pub fn get_i64s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = i64>>, IoError> {
        let array = self.typed(key, "an array of int32 or uint32", |v| match v {
            Value::Array(a) if matches!(a.element, ValueType::I32 | ValueType::U32) => Some(a),
            _ => None,
        })?;
        Ok(array.map(|a| {
            let signed = a.element == ValueType::I32;
            a.bytes.as_chunks::<4>().0.iter().map(move |b| {
                if signed { i64::from(i32::from_le_bytes(*b)) } else { i64::from(u32::from_le_bytes(*b)) }
            })
        }))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        pick: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, IoError> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        match pick(value) {
            Some(v) => Ok(Some(v)),
            None => Err(IoError::KeyType { key: key.to_owned(), found: value.describe(), expected }),
        }
    }

    fn key(&self, pair: &Pair) -> &str {
        // Checked when the file was opened; a file that was written to meanwhile must not panic.
        self.bytes.bytes().get(pair.key.clone()).and_then(|k| str::from_utf8(k).ok()).unwrap_or("")
    }

    fn read_pair(&self, pair: &Pair) -> Result<Value<'_>, IoError> {
        let bytes = self.bytes.bytes();
        let mut cursor = Cursor::new(bytes, pair.value.start);
        read_value(bytes, &mut cursor, pair.kind, || format!("metadata field {:?}", self.key(pair)))
    }
}

fn read_pair(all: &[u8], cursor: &mut Cursor<'_>, i: u64) -> Result<Pair, IoError> {
    let what = || format!("the key of metadata pair {i}");
    let len = cursor.u64(what)?;
    if len == 0 || len > MAX_KEY {
        return Err(IoError::invalid(what(), format!("{len} bytes"), format!("1 to {MAX_KEY} bytes")));
    }
    let key = cursor.span(len, what)?;
    let Ok(name) = str::from_utf8(&all[key.clone()]) else {
        return Err(IoError::NotUtf8 { what: what() });
    };
    let what = || format!("metadata field {name:?}");
    let kind = ValueType::from_number(cursor.u32(what)?, what)?;
    let start = cursor.position();
    skip_value(cursor, kind, what)?;
    Ok(Pair { key, kind, value: start..cursor.position() })
}

/// Passes a value, checking that it lies inside the bytes.
fn skip_value(cursor: &mut Cursor<'_>, kind: ValueType, what: impl Fn() -> String) -> Result<(), IoError> {
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

fn read_text<'a>(
    bytes: &'a [u8],
    cursor: &mut Cursor<'_>,
    what: impl Fn() -> String,
) -> Result<&'a str, IoError> {
    let len = cursor.u64(&what)?;
    let span = cursor.span(len, &what)?;
    str::from_utf8(&bytes[span]).map_err(|_| IoError::NotUtf8 { what: what() })
}

fn read_value<'a>(
    bytes: &'a [u8],
    cursor: &mut Cursor<'_>,
    kind: ValueType,
    what: impl Fn() -> String,
) -> Result<Value<'a>, IoError> {
    if kind == ValueType::Str {
        return read_text(bytes, cursor, what).map(Value::Str);
    }
    if kind == ValueType::Array {
        let element = ValueType::from_number(cursor.u32(&what)?, &what)?;
        let len = cursor.u64(&what)?;
        let start = cursor.position();
        let mut end = Cursor::new(bytes, start);
        match element.size() {
            Some(size) => end.span(len.saturating_mul(size as u64), &what).map(|_| ())?,
            None => (0..len).try_for_each(|_| skip_text(&mut end, &what))?,
        }
        let span = cursor.span((end.position() - start) as u64, &what)?;
        return Ok(Value::Array(Array { element, len: len as usize, bytes: &bytes[span] }));
    }
    let size = kind.size().expect("texts and arrays are handled above");
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
        ValueType::Str | ValueType::Array => unreachable!("handled above"),
    })
}
