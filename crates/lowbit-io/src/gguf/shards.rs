//! Split GGUF files: `NAME-00001-of-00003.gguf`, with `split.no`, `split.count` and `split.tensors.count` inside.

use super::{header::Head, metadata::Metadata};
use crate::{
    Access, IoError,
    bytes::{self, Opened},
    hf,
};
use lowbit_format::Storage;
use std::path::Path;

/// Most files of a set.
const MAX_SHARDS: i128 = 4096;

/// A shard's place in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// From 0.
    pub(super) index: u32,
    pub(super) count: u32,
    /// Tensors of the whole set, where the file says so.
    tensors: Option<u64>,
}

/// The file's place in a set, `None` for a whole file.
pub(super) fn split(metadata: &Metadata) -> Result<Option<Split>, IoError> {
    let Some(count) = metadata.get_integer("split.count", 0..=MAX_SHARDS)? else { return Ok(None) };
    // gguf-split writes a count of 1 or 0 into files it has merged.
    if count <= 1 {
        return Ok(None);
    }
    let Some(index) = metadata.get_integer("split.no", 0..=count - 1)? else {
        return Err(IoError::MissingKey { key: "split.no".into() });
    };
    let tensors = metadata.get_u64("split.tensors.count")?;
    Ok(Some(Split { index: index as u32, count: count as u32, tensors }))
}

/// The files of a set in order, and what they were when they were opened.
pub(super) struct ShardSet {
    pub(super) parts: Vec<(Storage, Head)>,
    pub(super) opened: Vec<Opened>,
}

/// Opens every file of the set that `path` belongs to.
pub(super) fn open_set(path: &Path, access: Access, split: Split) -> Result<ShardSet, IoError> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(prefix) = prefix(name, split) else {
        return Err(IoError::Shard {
            shard: (split.index + 1).to_string(),
            why: format!(
                "file {} of {} must be named NAME-{:05}-of-{:05}.gguf to find the others",
                split.index + 1,
                split.count,
                split.index + 1,
                split.count
            ),
        }
        .in_file(path));
    };
    let roots = hf::roots_beside(path)?;
    let mut set = ShardSet { parts: Vec::new(), opened: Vec::new() };
    for no in 1..=split.count {
        let sibling = path.with_file_name(format!("{prefix}-{no:05}-of-{:05}.gguf", split.count));
        if no != split.index + 1 {
            hf::check_contained(&sibling, &roots)?;
        }
        let (bytes, opened) = bytes::open(&sibling, access)?;
        let head = super::header::read(&bytes).map_err(|e| e.in_file(&sibling))?;
        set.parts.push((bytes, head));
        set.opened.push(opened);
    }
    let heads: Vec<&Head> = set.parts.iter().map(|(_, head)| head).collect();
    check_set(&heads).map_err(|e| e.in_file(path))?;
    Ok(set)
}

/// The part of a shard's name before its number.
fn prefix(name: &str, split: Split) -> Option<&str> {
    name.strip_suffix(&format!("-{:05}-of-{:05}.gguf", split.index + 1, split.count))
}

/// Whether a file name is that of a shard other than the first: `NAME-00002-of-00003.gguf`.
pub(crate) fn is_later_shard(name: &str) -> bool {
    let Some((rest, count)) = name.strip_suffix(".gguf").and_then(|n| n.rsplit_once("-of-")) else {
        return false;
    };
    let Some((_, number)) = rest.rsplit_once('-') else { return false };
    let is_number = |n: &str| n.len() == 5 && n.bytes().all(|b| b.is_ascii_digit());
    is_number(count) && is_number(number) && number != "00001"
}

/// Checks that the shards are those of one set, in order.
pub(super) fn check_set(heads: &[&Head]) -> Result<(), IoError> {
    let refuse = |no: usize, why: String| Err(IoError::Shard { shard: (no + 1).to_string(), why });
    let mut listed = 0u64;
    let mut first: Option<Split> = None;
    for (no, head) in heads.iter().enumerate() {
        let Some(split) = split(&head.metadata)? else {
            return refuse(no, "says nothing of being part of a set (split.count is missing)".into());
        };
        if split.index as usize != no || split.count as usize != heads.len() {
            return refuse(
                no,
                format!(
                    "calls itself file {} of {}, expected {} of {}",
                    split.index + 1,
                    split.count,
                    no + 1,
                    heads.len()
                ),
            );
        }
        let before = *first.get_or_insert(split);
        if split.tensors != before.tensors {
            return refuse(
                no,
                "comes from another set: split.tensors.count differs from the first file's".into(),
            );
        }
        // Later shards repeat little of the metadata; what they repeat must agree.
        for key in ["general.architecture", "general.name"] {
            let here = head.metadata.get_str(key)?;
            if here.is_some() && here != heads[0].metadata.get_str(key)? {
                return refuse(no, format!("comes from another set: {key} differs from the first file's"));
            }
        }
        listed += head.tensors.len() as u64;
    }
    match first.and_then(|s| s.tensors) {
        Some(expected) if expected != listed => {
            refuse(0, format!("announces {expected} tensors for the set, its files list {listed}"))
        }
        _ => Ok(()),
    }
}
