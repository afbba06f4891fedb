//! bitsandbytes in 8 bits (LLM.int8()): signed numbers with a scale for every row.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `weight` | i8 | N × K | numbers from −127 to 127 |
//! | `SCB` | f32 | N | 127 times the scale of a row |
//! | `weight_format` | u8 | | 0: rows as they are |
//!
//! Columns that the library would take out and multiply in half precision, because an activation is large, are multiplied as
//! all others here. With `load_in_4bit` the layout is another one.

use super::{
    Entry, Layer, Layout, bitsandbytes_4bit,
    parts::{self, Parts},
};
use crate::IoError;
use lowbit_format::{Bits, GroupShape, NK, OnlineOp, ParamFormat, QuantTensor, WeightSpec, ZeroPoint};
use std::sync::Arc;

pub(super) const ENTRY: Entry = Entry {
    method: "bitsandbytes",
    open: |settings| {
        let set = |key| Ok::<bool, IoError>(settings.flag(key)? == Some(true));
        if set("load_in_4bit")? || set("_load_in_4bit")? {
            return bitsandbytes_4bit::open(settings);
        }
        if !set("load_in_8bit")? && !set("_load_in_8bit")? {
            return Err(settings.refused("load_in_8bit", "not true", "true, or load_in_4bit"));
        }
        Ok(Arc::new(Int8))
    },
};

#[derive(Debug)]
struct Int8;

impl Layout for Int8 {
    fn markers(&self) -> &'static [&'static str] {
        &[".SCB"]
    }

    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError> {
        let codes = parts.get(".weight", &["i8"], 2)?;
        let shape = NK { n: codes.dims[0], k: codes.dims[1] };
        parts.get(".SCB", &["f32"], 1)?.expect(&[shape.n])?;
        let mut endings = vec![".weight", ".SCB"];
        if let Some(format) = parts.find(".weight_format") {
            if format.bytes.bytes() != [0] {
                return Err(format.wrong("one byte, 0: rows in order"));
            }
            endings.push(".weight_format");
        }
        let bits = Bits::new(8).expect("8 bits");
        let spec = parts::integers(bits, ZeroPoint::Symmetric, GroupShape::Row, ParamFormat::F32);
        Ok(Layer { spec: WeightSpec::Grouped(spec.map_err(|e| parts.refused(e))?), shape, endings })
    }

    fn tensor(&self, parts: &Parts<'_>, layer: &Layer) -> Result<QuantTensor, IoError> {
        let WeightSpec::Grouped(spec) = &layer.spec else { unreachable!("layers are grouped") };
        let codes = parts.get(".weight", &["i8"], 2)?.bytes;
        let codes: Vec<u8> = codes.bytes().iter().map(|q| q ^ 0x80).collect();
        let scales = parts.get(".SCB", &["f32"], 1)?.bytes;
        let scales = scales.bytes().as_chunks::<4>().0.iter();
        let scales: Vec<u8> = scales.flat_map(|s| (f32::from_le_bytes(*s) / 127.0).to_le_bytes()).collect();
        parts::grouped(spec, layer.shape, codes.into(), scales.into(), None).map_err(|e| parts.refused(e))
    }

    fn input(&self, _: &Parts<'_>, _: &Layer) -> Result<Vec<OnlineOp>, IoError> {
        Ok(Vec::new())
    }
}
