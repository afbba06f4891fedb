//! One safetensors file: a length, a JSON header of names, types, shapes and offsets, then the tensors' bytes.
//!
//! The header is read as a stream, so that memory stays proportional to the entries that are kept, and is strict:
//! unknown fields, names that occur twice and more than [`MAX_TENSORS`] entries are refused. That the offsets are
//! contiguous and lengths follow from type and shape is then the `safetensors` crate's check. Of the metadata only
//! what is lowbit's own is kept, for [`crate::container`].

use crate::{Encoding, IoError, TensorInfo};
use lowbit_format::{FloatFormat, Storage};
use safetensors::{Dtype, SafeTensorError, tensor};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{collections::HashSet, fmt};

/// Longest header in bytes, as the format's own library has it.
pub(crate) const MAX_HEADER: u64 = 100_000_000;
/// Most tensors in one file. A legal header could hold millions and take minutes to read.
pub(crate) const MAX_TENSORS: usize = 100_000;
/// Longest tensor name in bytes.
pub(crate) const MAX_NAME: usize = 512;
/// Most dimensions.
pub(crate) const MAX_RANK: usize = 8;
/// Most metadata entries of lowbit's own; there are a handful.
const MAX_OWN: usize = 64;
/// What their keys begin with.
pub(crate) const OWN: &str = "lowbit.";
/// What the keys of those begin with that may be skipped.
pub(crate) const SKIPPED: &str = "lowbit.x-";

/// What the header of a file says.
pub(crate) struct Header {
    /// The tensors in the order of their bytes; `file` of each is 0.
    pub(crate) tensors: Vec<TensorInfo>,
    /// Metadata whose keys begin with [`OWN`] and not with [`SKIPPED`], in the file's order.
    pub(crate) own: Vec<(String, String)>,
}

/// Reads the header of a file.
pub(crate) fn read(bytes: &Storage) -> Result<Header, IoError> {
    let all = bytes.bytes();
    let Some(len) = all.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)) else {
        let what = "the header length".to_owned();
        return Err(IoError::Ends { what, needs: 8, found: all.len() as u64 });
    };
    if len > MAX_HEADER {
        let what = "a safetensors header (is this a safetensors file?)".to_owned();
        return Err(IoError::TooLarge { what, found: len, most: MAX_HEADER });
    }
    let data = 8 + len as usize;
    let Some(header) = all.get(8..data) else {
        let what = "the safetensors header".to_owned();
        return Err(IoError::Ends { what, needs: data as u64, found: all.len() as u64 });
    };
    let Entries { tensors: mut entries, own } = parse_header(header)?;
    entries.sort_by_key(|(_, e)| e.data_offsets);
    for (name, entry) in &entries {
        check_entry(name, entry)?;
    }
    let data_bytes = entries.last().map_or(0, |(_, e)| e.data_offsets.1);
    if let Some((name, entry)) = entries.iter().find(|(_, e)| e.data_offsets.1 > all.len() - data) {
        let needs = (data as u64).saturating_add(entry.data_offsets.1 as u64);
        return Err(IoError::Ends { what: format!("tensor {name:?}"), needs, found: all.len() as u64 });
    }
    let checked = tensor::Metadata::new(None, entries).map_err(refusal)?;
    if data_bytes != all.len() - data {
        let found = format!("{} bytes after the last tensor", all.len() - data - data_bytes);
        return Err(IoError::invalid("the end of the file", found, "the end of the last tensor"));
    }
    let names = checked.offset_keys();
    let tensors = names.into_iter().map(|name| {
        let info = checked.info(&name).expect("the name comes from the same list");
        TensorInfo {
            encoding: encoding(info.dtype),
            dims: info.shape.clone(),
            file: 0,
            offset: (data + info.data_offsets.0) as u64,
            bytes: info.data_offsets.1 - info.data_offsets.0,
            name,
        }
    });
    Ok(Header { tensors: tensors.collect(), own })
}

fn check_entry(name: &str, entry: &tensor::TensorInfo) -> Result<(), IoError> {
    let (start, end) = entry.data_offsets;
    let bits = entry.shape.iter().try_fold(entry.dtype.bitsize(), |n, d| n.checked_mul(*d));
    let Some(bits) = bits.filter(|b| *b <= isize::MAX as usize) else {
        let dims = entry.shape.iter().map(|d| *d as u64).collect();
        return Err(IoError::Dimensions {
            name: name.to_owned(),
            dims,
            why: "their product overflows".into(),
        });
    };
    if end.checked_sub(start).is_some_and(|len| len.checked_mul(8) == Some(bits)) {
        return Ok(());
    }
    Err(IoError::invalid(
        format!("tensor {name:?} {:?} of type {:?}", entry.shape, entry.dtype),
        format!("offsets {start} to {end}"),
        format!("{} bytes", bits.div_ceil(8)),
    ))
}

fn refusal(error: SafeTensorError) -> IoError {
    match error {
        SafeTensorError::InvalidOffset(name) => IoError::invalid(
            format!("the offset of tensor {name:?}"),
            "a gap or an overlap",
            "the end of the tensor before it",
        ),
        other => IoError::invalid("the safetensors header", other, "a valid layout"),
    }
}

/// What elements of a type mean to a reader that knows nothing else of the tensor.
pub(crate) fn encoding(dtype: Dtype) -> Encoding {
    let label = match dtype {
        Dtype::F32 => return Encoding::Float(FloatFormat::F32),
        Dtype::F16 => return Encoding::Float(FloatFormat::F16),
        Dtype::BF16 => return Encoding::Float(FloatFormat::Bf16),
        Dtype::BOOL => "bool",
        Dtype::U8 => "u8",
        Dtype::I8 => "i8",
        Dtype::I16 => "i16",
        Dtype::U16 => "u16",
        Dtype::I32 => "i32",
        Dtype::U32 => "u32",
        Dtype::I64 => "i64",
        Dtype::U64 => "u64",
        Dtype::F64 => "f64",
        Dtype::C64 => "c64",
        Dtype::F8_E4M3 => "f8_e4m3",
        Dtype::F8_E5M2 => "f8_e5m2",
        Dtype::F8_E8M0 => "f8_e8m0",
        Dtype::F8_E4M3FNUZ => "f8_e4m3fnuz",
        Dtype::F8_E5M2FNUZ => "f8_e5m2fnuz",
        Dtype::F6_E2M3 => "f6_e2m3",
        Dtype::F6_E3M2 => "f6_e3m2",
        Dtype::F4 => "f4",
        // The crate's list may grow.
        _ => "an unknown type",
    };
    Encoding::Other { label }
}

#[derive(Default)]
struct Entries {
    tensors: Vec<(String, tensor::TensorInfo)>,
    own: Vec<(String, String)>,
}

fn parse_header(header: &[u8]) -> Result<Entries, IoError> {
    let mut json = serde_json::Deserializer::from_slice(header);
    let entries = json.deserialize_map(HeaderVisitor).and_then(|entries| json.end().map(|()| entries));
    entries.map_err(|e| IoError::Json { what: "the safetensors header", error: e.to_string() })
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Entries::default();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.len() > MAX_NAME {
                return Err(de::Error::custom(format_args!(
                    "a tensor name of {} bytes, at most {MAX_NAME} are accepted",
                    name.len()
                )));
            }
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format_args!("tensor {name:?} occurs twice")));
            }
            if name == "__metadata__" {
                entries.own = map.next_value::<OwnMetadata>()?.0;
                continue;
            }
            if entries.tensors.len() == MAX_TENSORS {
                return Err(de::Error::custom(format_args!("more than {MAX_TENSORS} tensors in one file")));
            }
            let entry: Entry = map.next_value()?;
            let info = tensor::TensorInfo {
                dtype: entry.dtype,
                shape: entry.shape.0,
                data_offsets: entry.data_offsets,
            };
            entries.tensors.push((name, info));
        }
        Ok(entries)
    }
}

/// The entries of `__metadata__` that are lowbit's, but for those that may be skipped.
struct OwnMetadata(Vec<(String, String)>);

impl<'de> de::Deserialize<'de> for OwnMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OwnMetadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_unit<E: de::Error>(self) -> Result<OwnMetadata, E> {
                Ok(OwnMetadata(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OwnMetadata, A::Error> {
                let mut own: Vec<(String, String)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !key.starts_with(OWN) || key.starts_with(SKIPPED) {
                        map.next_value::<IgnoredAny>()?;
                    } else if own.iter().any(|(k, _)| *k == key) {
                        return Err(de::Error::custom(format_args!("metadata {key:?} occurs twice")));
                    } else if own.len() == MAX_OWN {
                        return Err(de::Error::custom(format_args!("more than {MAX_OWN} lowbit keys")));
                    } else {
                        own.push((key, map.next_value()?));
                    }
                }
                Ok(OwnMetadata(own))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

/// Dimensions, at most [`MAX_RANK`].
pub(crate) struct Shape(pub(crate) Vec<usize>);

impl<'de> de::Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dims;
        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_RANK} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(d) = seq.next_element()? {
                    if dims.len() == MAX_RANK {
                        return Err(de::Error::invalid_length(MAX_RANK + 1, &self));
                    }
                    dims.push(d);
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(Dims)
    }
}
