//! HQQ, as the library and transformers save it: every layer's settings are tensors beside its codes.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `W_q` | u8 | N·G·b/8 × g | codes of all groups, one a row; the first rows in the highest bits |
//! | `scale`, `zero` | float | N·G × 1 | of every group, rows of the weight first; zero points are no integers |
//! | `shape` | i64 | 2 | N and K |
//! | `nbits`, `axis` | i32 | | b, and 1 for groups along the columns |
//! | `quant_scale`, `quant_zero`, `view_as_float` | u8 | | 0 |

use super::{
    Entry, Layer, Layout,
    parts::{self, FLOATS, Parts},
};
use crate::IoError;
use lowbit_format::{Bits, Codes, NK, OnlineOp, Packing, QuantTensor, WeightSpec, ZeroPoint};
use std::sync::Arc;

pub(super) const ENTRY: Entry = Entry { method: "hqq", open: |_| Ok(Arc::new(Hqq)) };

/// Nothing is said of all layers together.
#[derive(Debug)]
struct Hqq;

/// What the library keeps beside a layer that does not change its meaning, or that is checked.
const REST: [&str; 16] = [
    ".shape",
    ".nbits",
    ".axis",
    ".group_size",
    ".packing",
    ".unpack_view_dtype",
    ".view_as_float",
    ".quant_scale",
    ".quant_zero",
    ".compute_dtype",
    ".offload_meta",
    ".encoded_state_dict",
    ".stores_quant_config",
    ".channel_wise",
    ".optimize",
    ".round_zero",
];

/// A number that is a tensor of its own.
fn number(parts: &Parts<'_>, ending: &str, accepted: &[i64]) -> Result<i64, IoError> {
    let part = parts.get(ending, &["i32", "i64", "u8"], 0)?;
    let found = match part.dtype {
        "u8" => i64::from(part.bytes.bytes()[0]),
        _ => part.integers()?[0],
    };
    if accepted.contains(&found) {
        return Ok(found);
    }
    let expected: Vec<String> = accepted.iter().map(i64::to_string).collect();
    Err(IoError::invalid(format!("tensor {:?}", part.name), found, expected.join(" or ")))
}

fn bits(parts: &Parts<'_>) -> Result<Bits, IoError> {
    Ok(Bits::new(number(parts, ".nbits", &[1, 2, 4, 8])? as u8).expect("one of four numbers"))
}

impl Layout for Hqq {
    fn markers(&self) -> &'static [&'static str] {
        &[".W_q"]
    }

    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError> {
        let bits = bits(parts)?;
        number(parts, ".axis", &[1])?;
        for flag in [".quant_scale", ".quant_zero", ".view_as_float"] {
            if parts.find(flag).is_some() {
                number(parts, flag, &[0])?;
            }
        }
        let stored = parts.get(".shape", &["i32", "i64"], 1)?;
        let dims: Vec<usize> = stored.integers()?.iter().filter_map(|d| usize::try_from(*d).ok()).collect();
        let [n, k] = dims[..] else { return Err(stored.wrong("rows and columns")) };
        let codes = parts.get(".W_q", &["u8"], 2)?;
        let (rows, group) = (codes.dims[0], codes.dims[1]);
        let groups = Some(group).filter(|g| *g > 0 && n > 0 && k.is_multiple_of(*g)).map(|g| k / g);
        let all = groups
            .and_then(|groups| groups.checked_mul(n))
            .filter(|all| rows.checked_mul(8 / bits.get() as usize) == Some(*all));
        let (Some(groups), Some(all)) = (groups, all) else {
            return Err(codes.wrong(&format!("codes of {} bits in groups for [{n}, {k}]", bits.get())));
        };
        let scales = parts.get(".scale", FLOATS, 2)?;
        scales.expect(&[all, 1])?;
        parts.get(".zero", &[scales.dtype], 2)?.expect(&[all, 1])?;
        let shape = parts::group_shape(k, groups, Some(group));
        let shape = shape.ok_or_else(|| codes.wrong("equal groups"))?;
        let spec = parts::integers(bits, ZeroPoint::Float, shape, scales.param_format()?);
        let rest = REST.into_iter().filter(|ending| parts.find(ending).is_some());
        Ok(Layer {
            spec: WeightSpec::Grouped(spec.map_err(|e| parts.refused(e))?),
            shape: NK { n, k },
            endings: [".W_q", ".scale", ".zero"].into_iter().chain(rest).collect(),
        })
    }

    fn tensor(&self, parts: &Parts<'_>, layer: &Layer) -> Result<QuantTensor, IoError> {
        let WeightSpec::Grouped(spec) = &layer.spec else { unreachable!("layers of HQQ are grouped") };
        let bits = bits(parts)?;
        let packed = parts.get(".W_q", &["u8"], 2)?.bytes;
        let mask = (bits.levels() - 1) as u8;
        let mut codes = Vec::with_capacity(layer.shape.weights());
        // Each of the parts of a byte is a run of groups, the first in the highest bits.
        for place in (0..8 / bits.get()).rev() {
            codes.extend(packed.bytes().iter().map(|byte| byte >> (place * bits.get()) & mask));
        }
        let codes = Codes::pack(Packing::Bits(bits), layer.shape, &codes).bytes().clone();
        let scales = parts.get(".scale", FLOATS, 2)?.bytes;
        let zeros = parts.get(".zero", FLOATS, 2)?.bytes;
        parts::grouped(spec, layer.shape, codes, scales, Some(zeros)).map_err(|e| parts.refused(e))
    }

    fn input(&self, _: &Parts<'_>, _: &Layer) -> Result<Vec<OnlineOp>, IoError> {
        Ok(Vec::new())
    }
}
