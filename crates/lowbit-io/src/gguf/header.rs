//! The head of one GGUF file: magic, version, metadata, the list of tensors.
//!
//! ```text
//! "GGUF"  version: u32  tensors: u64  pairs: u64
//! pairs × { key: text, type: u32, value }
//! tensors × { name: text, rank: u32, rank × dimension: u64, type: u32, offset: u64 }
//! padding to general.alignment, then the data, to which the offsets are relative
//! ```

use super::metadata::Metadata;
use crate::{IoError, cursor::Cursor};
use lowbit_format::Storage;

/// Most tensors a file may list. Mixtures of experts stack theirs: real files stay under ten thousand.
const MAX_TENSORS: u64 = 1 << 16;
/// Longest tensor name in bytes.
const MAX_NAME: u64 = 256;
/// Fewest bytes of a listed tensor: name length, one letter, rank, one dimension, type, offset.
const MIN_TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;
const MAX_RANK: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A tensor as the file lists it; its size is not known yet.
pub(super) struct Listed {
    pub(super) name: String,
    /// Outermost first.
    pub(super) dims: Vec<usize>,
    pub(super) number: u32,
    /// In the data region.
    pub(super) offset: u64,
}

/// What stands before the data.
pub(super) struct Head {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<Listed>,
    pub(super) alignment: u64,
    /// First byte of the data region; may lie at the end of a file without tensors.
    pub(super) data: u64,
}

pub(super) fn read(bytes: &Storage) -> Result<Head, IoError> {
    let all = bytes.bytes();
    let mut cursor = Cursor::new(all, 0);
    let version = read_version(&mut cursor)?;
    let tensor_count = cursor.u64(|| "the tensor count".into())?;
    let pair_count = cursor.u64(|| "the metadata pair count".into())?;
    // The tensor count is compared with all that is left: the metadata between them is not known yet.
    let most = MAX_TENSORS.min(cursor.left() as u64 / MIN_TENSOR);
    if tensor_count > most {
        return Err(IoError::TooLarge { what: "a tensor count".into(), found: tensor_count, most });
    }
    let metadata = Metadata::read(bytes, &mut cursor, pair_count)?;
    let alignment = read_alignment(&metadata)?;
    let mut tensors = Vec::with_capacity(tensor_count.min(cursor.left() as u64 / MIN_TENSOR) as usize);
    for i in 0..tensor_count {
        tensors.push(read_listed(all, &mut cursor, i)?);
    }
    let data = (cursor.position() as u64).next_multiple_of(alignment);
    Ok(Head { version, metadata, tensors, alignment, data })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, IoError> {
    let magic = cursor.u32(|| "the magic number".into())?;
    if magic != u32::from_le_bytes(*b"GGUF") {
        let found = String::from_utf8_lossy(&magic.to_le_bytes()).into_owned();
        return Err(IoError::invalid("the magic number", format!("{found:?}"), "\"GGUF\""));
    }
    let version = cursor.u32(|| "the version".into())?;
    let next = match version {
        2 | 3 => return Ok(version),
        1 => "written in August 2023 and read by nothing current, expected 2 or 3: convert the model again",
        // A version of a big-endian file has its low byte on top.
        v if v.swap_bytes() < 1 << 16 && v >= 1 << 16 => {
            return Err(IoError::Version {
                format: "big-endian GGUF",
                found: v.swap_bytes(),
                next: "only little-endian files are read: convert it with gguf-py's gguf_convert_endian.py",
            });
        }
        _ => "expected 2 or 3: the file is damaged or newer than this program",
    };
    Err(IoError::Version { format: "GGUF", found: version, next })
}

fn read_alignment(metadata: &Metadata) -> Result<u64, IoError> {
    const KEY: &str = "general.alignment";
    let alignment = match metadata.get(KEY)? {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(super::value::Value::U32(a)) => u64::from(a),
        Some(other) => {
            return Err(IoError::KeyType {
                key: KEY.into(),
                found: other.value_type().label().into(),
                expected: "uint32",
            });
        }
    };
    if alignment.is_power_of_two() && (8..=1 << 20).contains(&alignment) {
        return Ok(alignment);
    }
    Err(IoError::invalid(format!("metadata field {KEY:?}"), alignment, "a power of two from 8 to 1048576"))
}

fn read_listed(all: &[u8], cursor: &mut Cursor<'_>, i: u64) -> Result<Listed, IoError> {
    let what = || format!("the name of tensor {i}");
    let len = cursor.u64(what)?;
    if len == 0 || len > MAX_NAME {
        return Err(IoError::invalid(what(), format!("{len} bytes"), format!("1 to {MAX_NAME} bytes")));
    }
    let span = cursor.span(len, what)?;
    let name = str::from_utf8(&all[span]).map_err(|_| IoError::NotUtf8 { what: what() })?.to_owned();
    let what = || format!("the entry of tensor {name:?}");
    let rank = cursor.u32(what)?;
    if rank == 0 || rank > MAX_RANK {
        return Err(IoError::invalid(
            format!("tensor {name:?}"),
            format!("rank {rank}"),
            format!("rank 1 to {MAX_RANK}"),
        ));
    }
    let mut file_dims = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        file_dims.push(cursor.u64(what)?);
    }
    let number = cursor.u32(what)?;
    let offset = cursor.u64(what)?;
    let refused =
        |why: &str| IoError::Dimensions { name: name.clone(), dims: file_dims.clone(), why: why.into() };
    if file_dims.contains(&0) {
        return Err(refused("each must be at least 1"));
    }
    let product = file_dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    // As signed numbers too, so that no later difference of two of them wraps; f32 takes 4 bytes an element.
    if product.is_none_or(|n| n > (isize::MAX as u64) / 8) {
        return Err(refused("their product overflows"));
    }
    let dims = file_dims.iter().rev().map(|d| *d as usize).collect();
    Ok(Listed { name, dims, number, offset })
}
