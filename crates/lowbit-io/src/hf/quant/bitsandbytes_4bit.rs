//! bitsandbytes in 4 bits (NF4 of QLoRA, FP4): numbers of a table, scaled by the largest magnitude of their block.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `weight` | u8 | N·K/2 × 1 | codes row after row, the first of two in the high bits |
//! | `weight.absmax` | f32 | blocks | scales, of blocks that run through the rows |
//! | `weight.quant_map` | f32 | 16 | the table |
//! | `weight.quant_state.bitsandbytes__nf4`, `…__fp4` | u8 | | JSON: shape, `blocksize` and what the scales need |
//!
//! With double quantization `weight.absmax` is u8, a code of the table `weight.nested_quant_map` (f32, 256); its number times
//! `weight.nested_absmax` (f32, for every `nested_blocksize` scales) plus `nested_offset` is the scale, which is computed once,
//! as the library does.

use super::{
    Layer, Layout, Settings,
    parts::{self, Part, Parts},
    shown,
};
use crate::IoError;
use lowbit_format::{
    Codebook, ElementFormat, GroupedSpec, NK, OnlineOp, ParamFormat, QuantTensor, ScaleLevel, Storage,
    WeightSpec,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Longest JSON of a layer, which has some hundred bytes.
const MAX_STATE: usize = 1 << 14;

/// Each table with its part of settings.
const TABLES: [(Codebook, &str); 2] = [
    (Codebook::Nf4, ".weight.quant_state.bitsandbytes__nf4"),
    (Codebook::Fp4, ".weight.quant_state.bitsandbytes__fp4"),
];
const NESTED: [&str; 2] = [".weight.nested_absmax", ".weight.nested_quant_map"];

pub(super) fn open(settings: &Settings<'_>) -> Result<Arc<dyn Layout>, IoError> {
    settings.one_of("bnb_4bit_quant_type", &["nf4", "fp4"])?;
    settings.one_of("bnb_4bit_quant_storage", &["uint8"])?;
    Ok(Arc::new(FourBit))
}

/// Everything is said of each layer.
#[derive(Debug)]
struct FourBit;

/// The settings of a layer.
struct State {
    book: Codebook,
    ending: &'static str,
    part: Part,
    map: Map<String, Value>,
}

impl State {
    fn read(parts: &Parts<'_>) -> Result<Self, IoError> {
        let found = TABLES.into_iter().find(|(_, ending)| parts.find(ending).is_some());
        let (book, ending) = found.unwrap_or(TABLES[0]);
        let part = parts.get(ending, &["u8"], 1)?;
        let bytes = Some(part.bytes.bytes()).filter(|bytes| bytes.len() <= MAX_STATE);
        match bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()) {
            Some(Value::Object(map)) => Ok(Self { book, ending, part, map }),
            _ => Err(part.wrong(&format!("a JSON object of at most {MAX_STATE} bytes"))),
        }
    }

    fn refused(&self, key: &str, expected: &str) -> IoError {
        let what = format!("{key:?} in tensor {:?}", self.part.name);
        IoError::invalid(what, shown(self.map.get(key).unwrap_or(&Value::Null)), expected)
    }

    fn count(&self, key: &str) -> Result<usize, IoError> {
        let count = self.map.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        count.filter(|n| *n > 0).ok_or_else(|| self.refused(key, "a positive integer"))
    }

    fn shape(&self) -> Result<NK, IoError> {
        let dims = self.map.get("shape").and_then(Value::as_array);
        let dims = dims.map(|dims| dims.iter().map(|d| d.as_u64().and_then(|d| usize::try_from(d).ok())));
        match dims.and_then(|dims| dims.collect::<Option<Vec<_>>>()).as_deref() {
            Some([n, k]) if n.checked_mul(*k).is_some() => Ok(NK { n: *n, k: *k }),
            _ => Err(self.refused("shape", "rows and columns")),
        }
    }
}

/// A layer's scales as the library stores them.
struct Scales {
    absmax: Part,
    nested: Option<Nested>,
}

/// Scales of scales.
struct Nested {
    absmax: Vec<f32>,
    table: Vec<f32>,
    block: usize,
    offset: f32,
}

fn floats(part: &Part) -> Vec<f32> {
    part.bytes.bytes().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

impl Scales {
    /// The scales of so many blocks.
    fn read(parts: &Parts<'_>, state: &State, blocks: usize) -> Result<Self, IoError> {
        let absmax = parts.get(".weight.absmax", &["f32", "u8"], 1)?;
        absmax.expect(&[blocks])?;
        if absmax.dtype == "f32" {
            return Ok(Self { absmax, nested: None });
        }
        let block = state.count("nested_blocksize")?;
        let [outer, table] = NESTED.map(|ending| parts.get(ending, &["f32"], 1));
        let (outer, table) = (outer?, table?);
        outer.expect(&[blocks.div_ceil(block)])?;
        table.expect(&[256])?;
        let offset = state.map.get("nested_offset").and_then(Value::as_f64).map(|offset| offset as f32);
        let offset = offset.filter(|offset| offset.is_finite());
        let offset = offset.ok_or_else(|| state.refused("nested_offset", "a number"))?;
        let nested = Nested { absmax: floats(&outer), table: floats(&table), block, offset };
        Ok(Self { absmax, nested: Some(nested) })
    }

    fn decoded(self) -> Storage {
        let Some(Nested { absmax, table, block, offset }) = self.nested else { return self.absmax.bytes };
        let codes = self.absmax.bytes.bytes().iter().enumerate();
        let scale = |(i, code): (usize, &u8)| table[usize::from(*code)] * absmax[i / block] + offset;
        codes.flat_map(|coded| scale(coded).to_le_bytes()).collect::<Vec<u8>>().into()
    }
}

/// What a layer is.
fn read(parts: &Parts<'_>) -> Result<(GroupedSpec, NK, State, Scales), IoError> {
    let state = State::read(parts)?;
    let (shape, block) = (state.shape()?, state.count("blocksize")?);
    if !shape.k.is_multiple_of(block) {
        let expected =
            format!("a number that divides the {} columns: blocks may not go over ends of rows", shape.k);
        return Err(state.refused("blocksize", &expected));
    }
    let groups = shape.k / block;
    let codes = parts.get(".weight", &["u8"], 2)?;
    if !block.is_multiple_of(2) || codes.bytes.len() != shape.weights() / 2 {
        return Err(codes.wrong(&format!("4-bit codes of {shape}")));
    }
    let table = parts.get(".weight.quant_map", &["f32"], 1)?;
    if floats(&table) != state.book.values() {
        let expected = format!("the 16 numbers of {}", state.book.label());
        let what = format!("tensor {:?}", table.name);
        return Err(IoError::invalid(what, "another table", expected));
    }
    let level = parts::group_shape(shape.k, groups, Some(block))
        .ok_or_else(|| state.refused("blocksize", "a block that lowbit has groups for"))?;
    let level = ScaleLevel { shape: level, format: ParamFormat::F32 };
    let spec = GroupedSpec::new(ElementFormat::Codebook(state.book), vec![level]);
    let scales = Scales::read(parts, &state, shape.n * groups)?;
    Ok((spec.map_err(|e| parts.refused(e))?, shape, state, scales))
}

impl Layout for FourBit {
    fn markers(&self) -> &'static [&'static str] {
        &[".weight.absmax"]
    }

    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError> {
        let (spec, shape, state, scales) = read(parts)?;
        let nested = NESTED.into_iter().filter(|_| scales.nested.is_some());
        let endings = [".weight", ".weight.absmax", ".weight.quant_map", state.ending];
        Ok(Layer {
            spec: WeightSpec::Grouped(spec),
            shape,
            endings: endings.into_iter().chain(nested).collect(),
        })
    }

    fn tensor(&self, parts: &Parts<'_>, _: &Layer) -> Result<QuantTensor, IoError> {
        let (spec, shape, _, scales) = read(parts)?;
        let pairs = parts.get(".weight", &["u8"], 2)?.bytes;
        let codes: Vec<u8> = pairs.bytes().iter().map(|pair| pair.rotate_left(4)).collect();
        parts::grouped(&spec, shape, codes.into(), scales.decoded(), None).map_err(|e| parts.refused(e))
    }

    fn input(&self, _: &Parts<'_>, _: &Layer) -> Result<Vec<OnlineOp>, IoError> {
        Ok(Vec::new())
    }
}
