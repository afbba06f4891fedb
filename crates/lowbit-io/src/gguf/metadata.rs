//! GGUF metadata, read where it lies: opening keeps the place of each value and copies none.

use super::value::{Array, Value, ValueType, read_array, read_text, read_value, skip_value};
use crate::{IoError, cursor::Cursor};
use lowbit_format::Storage;
use std::ops::{Range, RangeInclusive};

/// Most metadata pairs a file may have. Real files have under a hundred.
const MAX_PAIRS: u64 = 1 << 16;
/// Longest key in bytes.
const MAX_KEY: u64 = 256;
/// Fewest bytes of a pair: key length, one letter, type, one byte.
const MIN_PAIR: u64 = 8 + 1 + 4 + 1;

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

    /// A GGUF file of these pairs and no tensors. What tells shards of a set apart is left out.
    pub(crate) fn to_gguf(&self) -> Vec<u8> {
        let all = self.bytes.bytes();
        let kept = || self.pairs.iter().filter(|pair| !self.key(pair).starts_with("split."));
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend((kept().count() as u64).to_le_bytes());
        for pair in kept() {
            out.extend((pair.key.len() as u64).to_le_bytes());
            out.extend(&all[pair.key.clone()]);
            out.extend(pair.kind.number().to_le_bytes());
            out.extend(&all[pair.value.clone()]);
        }
        out
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
        let what = || format!("metadata field {:?}", self.key(pair));
        if pair.kind == ValueType::Array {
            return read_array(bytes, pair.value.clone(), what).map(Value::Array);
        }
        read_value(bytes, &mut Cursor::new(bytes, pair.value.start), pair.kind, what)
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
