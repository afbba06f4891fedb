//! compressed-tensors, what llm-compressor writes: integers of 1 to 8 bits packed end to end, 8-bit ones a byte each, or
//! floats of 8 and 4 bits.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `weight_packed` | i32 | N × ⌈K·b/32⌉ | codes of a row, end to end, low bits first |
//! | `weight` | i8 | N × K | of `int-quantized` instead: signed numbers |
//! | `weight_shape` | integers | 2 | N and K, with `weight_packed` |
//! | `weight_scale` | float | N × G, or 1 | |
//! | `weight_zero_point` | i32 | ⌈N·b/32⌉ × G | zero points of a group over all rows, packed as codes are; or i8, N × G |
//! | `weight_g_idx` | i32 | K | the group of a column, with `actorder: group` |
//!
//! A `weight` of type f8_e4m3 (`float-quantized`, `mxfp8-quantized`) has the scales of `float8.rs`, blocks among them; a
//! `weight_packed` of type u8 is read by `float4.rs`.
//!
//! Numbers are signed and stored plus 2^(b−1), which is what lowbit's codes are: rows of whole words are read where they lie.
//! What the settings say of activations is not followed: they keep lowbit's own precision.

use super::{
    Entry, Layer, Layout, Settings,
    float4::Float4,
    float8::{self, Block, Float8},
    parts::{self, FLOATS, Part, Parts},
    words::transposed,
};
use crate::IoError;
use lowbit_format::{
    Bits, Codes, GroupShape, NK, OnlineOp, Packing, QuantTensor, Storage, WeightSpec, ZeroPoint,
};
use serde_json::Value;
use std::sync::Arc;

const FORMATS: &[&str] = &[
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "mxfp8-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "naive-quantized",
    "mixed-precision",
    "dense",
];

pub(super) const ENTRY: Entry = Entry {
    method: "compressed-tensors",
    open: |settings| {
        settings.one_of("format", FORMATS)?;
        settings.one_of("quantization_status", &["compressed", "frozen"])?;
        settings.absent("transform_config")?;
        if let Some(sparsity) = settings.get("sparsity_config").and_then(|s| s.get("format")?.as_str())
            && sparsity != "dense"
        {
            return Err(settings.refused("sparsity_config.format", sparsity, "dense"));
        }
        Ok(Arc::new(CompressedTensors { bits: bits(settings)?, blocks: blocks(settings)? }))
    },
};

/// What every group of settings says of weights, with its name.
fn of_weights<'a>(settings: &Settings<'a>) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let groups = settings.get("config_groups").and_then(Value::as_object);
    let weights = |(name, group): (&'a String, &'a Value)| {
        Some((name, group.get("weights").filter(|weights| !weights.is_null())?))
    };
    groups.into_iter().flatten().filter_map(weights)
}

/// The sizes of blocks that share a scale.
fn blocks(settings: &Settings<'_>) -> Result<Vec<Block>, IoError> {
    let mut all = Vec::new();
    for (name, weights) in of_weights(settings) {
        let Some(value) = weights.get("block_structure").filter(|value| !value.is_null()) else { continue };
        let key = format!("config_groups.{name}.weights.block_structure");
        let refused = || settings.refused(&key, &super::shown(value), "rows and columns");
        all.push(float8::block_size(value).ok_or_else(refused)?);
    }
    Ok(all)
}

/// The bits of every group of settings for integers.
fn bits(settings: &Settings<'_>) -> Result<Vec<usize>, IoError> {
    let mut all = Vec::new();
    let integers = |weights: &Value| weights.get("type").and_then(Value::as_str) != Some("float");
    for (name, weights) in of_weights(settings).filter(|(_, weights)| integers(weights)) {
        let count = weights.get("num_bits").and_then(Value::as_u64).and_then(|b| usize::try_from(b).ok());
        let key = format!("config_groups.{name}.weights.num_bits");
        match count.filter(|b| (1..=8).contains(b)) {
            Some(bits) => all.push(bits),
            None => {
                let found = super::shown(weights.get("num_bits").unwrap_or(&Value::Null));
                return Err(settings.refused(&key, &found, "1 to 8"));
            }
        }
    }
    Ok(all)
}

#[derive(Debug)]
struct CompressedTensors {
    /// Bits that the settings mention.
    bits: Vec<usize>,
    /// Sizes of blocks that they mention.
    blocks: Vec<Block>,
}

/// Which of its layouts a layer has.
enum Kind {
    Integers,
    Float8,
    Float4,
}

impl Kind {
    fn of(parts: &Parts<'_>) -> Self {
        match (parts.find(".weight_packed"), parts.find(".weight")) {
            (Some(packed), _) if packed.dtype == "u8" => Self::Float4,
            (None, Some(weight)) if weight.dtype == "f8_e4m3" => Self::Float8,
            _ => Self::Integers,
        }
    }
}

/// The parts of a layer that both kinds have.
struct Read {
    codes: Part,
    scales: Part,
    zeros: Option<Part>,
    bits: Bits,
    shape: NK,
    groups: GroupShape,
}

impl CompressedTensors {
    fn float8(&self, parts: &Parts<'_>) -> Result<Float8, IoError> {
        // Files of some years ago keep zero points that are all zero.
        let zeros = parts.find(".weight_zero_point");
        if let Some(zeros) = zeros.filter(|zeros| zeros.bytes.bytes().iter().any(|byte| *byte != 0)) {
            return Err(zeros.wrong("no zero points, or zeros"));
        }
        Float8::read(parts, ".weight_scale", &self.blocks)
    }

    fn read(&self, parts: &Parts<'_>) -> Result<Read, IoError> {
        let scale = parts.find(".weight_scale").map_or(2, |scale| scale.dims.len());
        let scales = parts.get(".weight_scale", FLOATS, if scale == 1 { 1 } else { 2 })?;
        let (codes, shape, bits) = match parts.find(".weight_packed") {
            Some(_) => {
                let codes = parts.get(".weight_packed", &["i32"], 2)?;
                let stored = parts.get(".weight_shape", &["i32", "i64"], 1)?;
                let dims: Vec<usize> =
                    stored.integers()?.iter().filter_map(|d| usize::try_from(*d).ok()).collect();
                let [n, k] = dims[..] else { return Err(stored.wrong("rows and columns")) };
                let fits = |bits: &usize| {
                    k.checked_mul(*bits).is_some_and(|all| codes.dims == [n, all.div_ceil(32)])
                };
                let Some(bits) = self.bits.iter().copied().find(fits) else {
                    let bits: Vec<String> = self.bits.iter().map(usize::to_string).collect();
                    return Err(codes.wrong(&format!("codes of {} bits for [{n}, {k}]", bits.join(" or "))));
                };
                (codes, NK { n, k }, bits)
            }
            None => {
                let codes = parts.get(".weight", &["i8"], 2)?;
                let shape = NK { n: codes.dims[0], k: codes.dims[1] };
                (codes, shape, 8)
            }
        };
        let bits = parts::bits(bits).ok_or_else(|| codes.wrong("1 to 8 bits"))?;
        let groups = match scales.dims[..] {
            [1] => Some(GroupShape::Tensor),
            [n, groups] if n == shape.n => parts::group_shape(shape.k, groups, None),
            _ => None,
        };
        let groups = groups.ok_or_else(|| scales.wrong(&format!("scales of a weight of {shape}")))?;
        let zeros = parts.find(".weight_zero_point");
        Ok(Read { codes, scales, zeros, bits, shape, groups })
    }

    fn order(&self, parts: &Parts<'_>, read: &Read) -> Result<Option<Vec<u32>>, IoError> {
        let Some(index) = parts.find(".weight_g_idx") else { return Ok(None) };
        let k = read.shape.k;
        index.expect(&[k])?;
        parts::order(&index, read.groups.per_row(k), read.groups.len_in_row(k))
    }
}

impl Read {
    /// Zero points as lowbit stores them: rows of one for each group.
    fn zeros(&self, part: &Part) -> Result<Storage, IoError> {
        let rows = self.groups.rows(self.shape.n);
        let groups = self.groups.per_row(self.shape.k);
        let middle = (self.bits.levels() / 2) as u8;
        if part.dtype == "i8" && part.dims.iter().product::<usize>() == rows * groups {
            let codes: Vec<u8> = part.bytes.bytes().iter().map(|z| z.wrapping_add(middle)).collect();
            if let Some(z) = codes.iter().find(|z| u32::from(**z) >= self.bits.levels()) {
                return Err(part.wrong(&format!("numbers of {} bits, not {z}", self.bits.get())));
            }
            let shape = NK { n: rows, k: groups };
            return Ok(Codes::pack(Packing::Bits(self.bits), shape, &codes).bytes().clone());
        }
        let words = (rows * self.bits.get() as usize).div_ceil(32);
        if part.dtype != "i32" || part.dims != [words, groups] {
            return Err(part.wrong(&format!("i32 [{words}, {groups}]")));
        }
        // A column of words holds the zero points of a group, row after row.
        let columns = transposed::<4>(part.bytes.bytes(), words, groups);
        let packing = Packing::Bits(self.bits);
        let mut codes = Vec::with_capacity(groups * rows);
        for column in columns.chunks_exact((words * 4).max(1)) {
            let row = column[..packing.row_bytes(rows)].to_vec();
            let row = Codes::new(packing, NK { n: 1, k: rows }, row.into());
            codes.extend(row.expect("a row of its own length").row(0));
        }
        Ok(parts::packed_columns(self.bits, &codes, groups, rows))
    }
}

/// What a layer may have beside its codes.
const REST: [&str; 8] = [
    ".weight_scale",
    ".weight_shape",
    ".weight_zero_point",
    ".weight_g_idx",
    ".weight_global_scale",
    ".input_scale",
    ".input_zero_point",
    ".input_global_scale",
];

impl Layout for CompressedTensors {
    fn markers(&self) -> &'static [&'static str] {
        &[".weight_packed", ".weight_scale"]
    }

    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError> {
        let first = if parts.find(".weight_packed").is_some() { ".weight_packed" } else { ".weight" };
        let rest = REST.into_iter().filter(|ending| parts.find(ending).is_some());
        let endings = std::iter::once(first).chain(rest).collect();
        match Kind::of(parts) {
            Kind::Integers => {}
            Kind::Float8 => {
                let read = self.float8(parts)?;
                return Ok(Layer { spec: WeightSpec::Grouped(read.spec), shape: read.shape, endings });
            }
            Kind::Float4 => {
                let read = Float4::read(parts)?;
                return Ok(Layer { spec: read.spec(), shape: read.shape, endings });
            }
        }
        let read = self.read(parts)?;
        let zero = if read.zeros.is_some() { ZeroPoint::Integer } else { ZeroPoint::Symmetric };
        let spec = parts::integers(read.bits, zero, read.groups, read.scales.param_format()?);
        if let Some(zeros) = &read.zeros {
            read.zeros(zeros)?;
        }
        self.order(parts, &read)?;
        let spec = WeightSpec::Grouped(spec.map_err(|e| parts.refused(e))?);
        Ok(Layer { spec, shape: read.shape, endings })
    }

    fn tensor(&self, parts: &Parts<'_>, layer: &Layer) -> Result<QuantTensor, IoError> {
        match Kind::of(parts) {
            Kind::Integers => {}
            Kind::Float8 => return self.float8(parts)?.tensor(parts),
            Kind::Float4 => return Float4::read(parts)?.tensor(parts),
        }
        let read = self.read(parts)?;
        let WeightSpec::Grouped(spec) = &layer.spec else { unreachable!("integers are grouped") };
        let packing = Packing::Bits(read.bits);
        let width = packing.row_bytes(read.shape.k);
        let stored = read.codes.bytes.len() / read.shape.n.max(1);
        let mut codes = match read.codes.dtype {
            "i8" => read.codes.bytes.bytes().iter().map(|q| q ^ 0x80).collect::<Vec<u8>>().into(),
            _ if stored == width => read.codes.bytes.clone(),
            // Rows are filled up to whole words.
            _ => {
                let rows = read.codes.bytes.bytes().chunks_exact(stored.max(1));
                rows.flat_map(|row| &row[..width]).copied().collect::<Vec<u8>>().into()
            }
        };
        if let Some(order) = self.order(parts, &read)? {
            let stored = Codes::new(packing, read.shape, codes).map_err(|e| parts.refused(e))?;
            codes = parts::reordered(&stored, &order);
        }
        let zeros = read.zeros.as_ref().map(|zeros| read.zeros(zeros)).transpose()?;
        parts::grouped(spec, read.shape, codes, read.scales.bytes.clone(), zeros)
            .map_err(|e| parts.refused(e))
    }

    fn input(&self, parts: &Parts<'_>, _: &Layer) -> Result<Vec<OnlineOp>, IoError> {
        let order = match Kind::of(parts) {
            Kind::Integers => self.order(parts, &self.read(parts)?)?,
            Kind::Float8 | Kind::Float4 => None,
        };
        Ok(order.map(OnlineOp::Permute).into_iter().collect())
    }
}
