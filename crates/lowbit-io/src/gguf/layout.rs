//! Where each tensor lies and what its type number means.
//!
//! Some type numbers were given to different formats by different programs. The files tell them apart by spacing:
//! tensors follow each other with nothing but padding between, so the distance from one offset to the next is the
//! tensor's size rounded up to the alignment. A meaning is taken only where it is the one that fits every tensor of
//! that number in the whole set of files.

use super::{
    header::Listed,
    types::{Meaning, meanings, unknown_origin},
};
use crate::{IoError, TensorInfo};
use std::collections::BTreeMap;

/// One file's list of tensors and its data region.
pub(super) struct Part<'a> {
    pub(super) tensors: &'a [Listed],
    pub(super) alignment: u64,
    /// First byte of the data region.
    pub(super) data: u64,
    /// Length of the file.
    pub(super) len: u64,
}

/// A tensor in its place, and the name of its type.
pub(super) struct Placed {
    pub(super) info: TensorInfo,
    pub(super) type_name: &'static str,
    /// Bytes after the last block that carry a scale of the tensor.
    pub(super) tail: usize,
}

/// Places the tensors of every part.
pub(super) fn place(parts: &[Part<'_>]) -> Result<Vec<Placed>, IoError> {
    let spans: Vec<Vec<Option<u64>>> = parts.iter().map(spans).collect::<Result<_, _>>()?;
    let chosen = choose(parts, &spans)?;
    let mut placed = Vec::new();
    for (file, part) in parts.iter().enumerate() {
        let sizes: Vec<u64> = part
            .tensors
            .iter()
            .map(|t| size(&chosen[&t.number], t).map(|n| n as u64))
            .collect::<Result<_, _>>()?;
        check_spans(part, &sizes)?;
        for (tensor, bytes) in part.tensors.iter().zip(sizes) {
            let meaning = &chosen[&tensor.number];
            placed.push(Placed {
                info: TensorInfo {
                    name: tensor.name.clone(),
                    encoding: meaning.encoding,
                    dims: tensor.dims.clone(),
                    file,
                    offset: part.data + tensor.offset,
                    bytes: bytes as usize,
                },
                type_name: meaning.name,
                tail: meaning.tail,
            });
        }
    }
    Ok(placed)
}

fn by_offset(part: &Part<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..part.tensors.len()).collect();
    order.sort_unstable_by_key(|i| part.tensors[*i].offset);
    order
}

/// Distance from each tensor to the next, `None` for the last one. Checks offsets by themselves.
fn spans(part: &Part<'_>) -> Result<Vec<Option<u64>>, IoError> {
    for tensor in part.tensors {
        let (name, offset) = (tensor.name.clone(), tensor.offset);
        if !offset.is_multiple_of(part.alignment) {
            return Err(IoError::Unaligned { name, offset, alignment: part.alignment });
        }
        // One byte at least: an offset at or beyond the end is a cut file even before the size is known.
        let start = part.data.checked_add(offset);
        if start.is_none_or(|start| start >= part.len) {
            return Err(IoError::Ends {
                what: format!("tensor {name:?}"),
                needs: part.data.saturating_add(offset).saturating_add(1),
                found: part.len,
            });
        }
    }
    let order = by_offset(part);
    let mut spans = vec![None; part.tensors.len()];
    for pair in order.windows(2) {
        spans[pair[0]] = Some(part.tensors[pair[1]].offset - part.tensors[pair[0]].offset);
    }
    Ok(spans)
}

/// The meaning of each type number that occurs.
fn choose(parts: &[Part<'_>], spans: &[Vec<Option<u64>>]) -> Result<BTreeMap<u32, Meaning>, IoError> {
    let mut chosen = BTreeMap::new();
    for tensor in parts.iter().flat_map(|p| p.tensors) {
        if chosen.contains_key(&tensor.number) {
            continue;
        }
        let known = meanings(tensor.number);
        let meaning = match known[..] {
            [] => {
                return Err(IoError::UnknownType {
                    name: tensor.name.clone(),
                    number: tensor.number,
                    origin: unknown_origin(tensor.number),
                });
            }
            [one] => one,
            _ => tell_apart(tensor.number, &known, parts, spans)?,
        };
        chosen.insert(tensor.number, meaning);
    }
    Ok(chosen)
}

fn tell_apart(
    number: u32,
    known: &[Meaning],
    parts: &[Part<'_>],
    spans: &[Vec<Option<u64>>],
) -> Result<Meaning, IoError> {
    let fits = |meaning: &Meaning| {
        parts.iter().zip(spans).all(|(part, spans)| {
            part.tensors.iter().zip(spans).filter(|(t, _)| t.number == number).all(|(tensor, span)| {
                let Some(size) = meaning.size(&tensor.dims).map(|n| n as u64) else { return false };
                match span {
                    Some(span) => size.next_multiple_of(part.alignment) == *span,
                    // The last tensor ends with the file, padded or not.
                    None => {
                        let rest = part.len - part.data - tensor.offset;
                        rest == size || rest == size.next_multiple_of(part.alignment)
                    }
                }
            })
        })
    };
    let fitting: Vec<&Meaning> = known.iter().filter(|m| fits(m)).collect();
    match fitting[..] {
        [one] => Ok(*one),
        _ => Err(IoError::AmbiguousType {
            number,
            meanings: known.iter().map(|m| format!("{} ({})", m.encoding.label(), m.origin)).collect(),
            fitting: fitting.len(),
            next: if fitting.is_empty() {
                "the file is cut, damaged, or from yet another program: take one made by current llama.cpp"
            } else {
                "take a file whose maker gives the formats numbers of their own"
            },
        }),
    }
}

fn size(meaning: &Meaning, tensor: &Listed) -> Result<usize, IoError> {
    meaning.size(&tensor.dims).ok_or_else(|| {
        let dims = tensor.dims.iter().rev().map(|d| *d as u64).collect();
        let k = tensor.dims.last().copied().unwrap_or(0);
        let why = if k.is_multiple_of(meaning.weights) {
            "their bytes overflow".to_owned()
        } else {
            format!("rows of {k} are no whole number of {} blocks of {}", meaning.name, meaning.weights)
        };
        IoError::Dimensions { name: tensor.name.clone(), dims, why }
    })
}

/// Checks that tensors lie inside the file and beside each other with nothing but padding between.
fn check_spans(part: &Part<'_>, sizes: &[u64]) -> Result<(), IoError> {
    let mut end = 0u64;
    let mut before: Option<usize> = None;
    for i in by_offset(part) {
        let tensor = &part.tensors[i];
        let expected = end.next_multiple_of(part.alignment);
        if tensor.offset < end {
            let first = before.expect("only a tensor before this one moves the end");
            return Err(IoError::Overlap {
                first: part.tensors[first].name.clone(),
                second: tensor.name.clone(),
                at: tensor.offset,
            });
        }
        if tensor.offset > expected {
            return Err(IoError::Gap { name: tensor.name.clone(), bytes: tensor.offset - expected });
        }
        // Offsets lie inside the file and sizes are below isize::MAX: no sum of the two wraps.
        end = tensor.offset + sizes[i];
        if part.data + end > part.len {
            return Err(IoError::Ends {
                what: format!("tensor {:?}", tensor.name),
                needs: part.data + end,
                found: part.len,
            });
        }
        before = Some(i);
    }
    Ok(())
}
