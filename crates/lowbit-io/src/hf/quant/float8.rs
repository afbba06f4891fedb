//! Weights in 8-bit floats, a byte each, with scales for the whole tensor, rows, groups or blocks of rows and columns: what
//! FineGrainedFP8 of transformers and DeepSeek's and Qwen's own folders have (`fp8`), and compressed-tensors under another name
//! for the scales.
//!
//! | Part of `fp8` | Type | Shape | Content |
//! |---|---|---|---|
//! | `weight` | f8_e4m3 | N × K | |
//! | `weight_scale_inv` | float, f8_e8m0 or u8 | ⌈N/r⌉ × ⌈K/c⌉ | what weights are multiplied with, in spite of its name; bytes are exponents of two plus 127 |
//! | `activation_scale` | float | | not used: activations keep lowbit's own precision |
//!
//! `weight_block_size` is r and c. Without it there is one scale, a number or a tensor of one. The scale of a block is stored
//! for each of its rows in memory.

use super::{
    Entry, Layer, Layout,
    parts::{self, FLOATS, Part, Parts},
    shown,
};
use crate::IoError;
use lowbit_format::{
    Codebook, ElementFormat, GroupShape, GroupedSpec, NK, OnlineOp, ParamFormat, QuantTensor, ScaleLevel,
    Storage, WeightSpec,
};
use serde_json::Value;
use std::sync::Arc;

pub(super) const ENTRY: Entry = Entry {
    method: "fp8",
    open: |settings| {
        settings.one_of("fmt", &["e4m3"])?;
        let key = "weight_block_size";
        let block = settings.get(key).map(|value| {
            block_size(value).ok_or_else(|| settings.refused(key, &shown(value), "rows and columns"))
        });
        Ok(Arc::new(FineGrained { block: block.transpose()? }))
    },
};

/// Types of scales that are powers of two.
const POWERS: [&str; 2] = ["f8_e8m0", "u8"];

/// Rows and columns that share a scale.
pub(super) fn block_size(value: &Value) -> Option<Block> {
    let sides = value.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok().filter(|n| *n > 0));
    match sides.collect::<Option<Vec<_>>>()?[..] {
        [rows, columns] => Some(Block { rows, columns }),
        _ => None,
    }
}

/// Neighbours in rows and columns that share a scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// The parts of a layer.
pub(super) struct Float8 {
    codes: Part,
    scales: Part,
    pub(super) shape: NK,
    pub(super) spec: GroupedSpec,
    /// Rows that share a stored scale.
    together: usize,
}

impl Float8 {
    /// A weight whose scales end so; `blocks` are sizes that the settings mention.
    pub(super) fn read(parts: &Parts<'_>, ending: &str, blocks: &[Block]) -> Result<Self, IoError> {
        let codes = parts.get(".weight", &["f8_e4m3"], 2)?;
        let shape = NK { n: codes.dims[0], k: codes.dims[1] };
        let rank = parts.find(ending).map_or(2, |scales| scales.dims.len().min(2));
        let types: Vec<&str> = FLOATS.iter().copied().chain(POWERS).collect();
        let scales = parts.get(ending, &types, rank)?;
        let found = match scales.dims[..] {
            [] | [1] => Some((GroupShape::Tensor, shape.n)),
            [rows, groups] => Self::by_block(shape, [rows, groups], blocks).or_else(|| {
                let by_row = Some(groups).filter(|_| rows == shape.n)?;
                Some((parts::group_shape(shape.k, by_row, None)?, 1))
            }),
            _ => None,
        };
        let (level, together) =
            found.ok_or_else(|| scales.wrong(&format!("scales of a weight of {shape}")))?;
        let format = match scales.dtype {
            power if POWERS.contains(&power) => ParamFormat::E8M0,
            _ => scales.param_format()?,
        };
        let level = ScaleLevel { shape: level, format };
        let spec = GroupedSpec::new(ElementFormat::Codebook(Codebook::E4M3), vec![level]);
        Ok(Self { codes, scales, shape, spec: spec.map_err(|e| parts.refused(e))?, together })
    }

    fn by_block(shape: NK, stored: [usize; 2], blocks: &[Block]) -> Option<(GroupShape, usize)> {
        let fits = |b: &&Block| stored == [shape.n.div_ceil(b.rows), shape.k.div_ceil(b.columns)];
        let block = blocks.iter().find(fits)?;
        Some((parts::group_shape(shape.k, stored[1], Some(block.columns))?, block.rows))
    }

    /// Scales as lowbit stores them: of every row, or one.
    fn scales(&self) -> Storage {
        if self.spec.levels()[0].shape == GroupShape::Tensor || self.together == 1 {
            return self.scales.bytes.clone();
        }
        let bytes = self.scales.bytes.bytes();
        let row = bytes.len() / self.scales.dims[0].max(1);
        let rows = (0..self.shape.n).flat_map(|n| &bytes[n / self.together * row..][..row]);
        rows.copied().collect::<Vec<u8>>().into()
    }

    pub(super) fn tensor(&self, parts: &Parts<'_>) -> Result<QuantTensor, IoError> {
        parts::grouped(&self.spec, self.shape, self.codes.bytes.clone(), self.scales(), None)
            .map_err(|e| parts.refused(e))
    }
}

/// What the settings say of all layers.
#[derive(Debug)]
struct FineGrained {
    block: Option<Block>,
}

const SCALES: &str = ".weight_scale_inv";

impl FineGrained {
    fn read(&self, parts: &Parts<'_>) -> Result<Float8, IoError> {
        Float8::read(parts, SCALES, self.block.as_slice())
    }
}

impl Layout for FineGrained {
    fn markers(&self) -> &'static [&'static str] {
        &[SCALES]
    }

    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError> {
        let read = self.read(parts)?;
        let rest = [".activation_scale", ".input_scale"].into_iter().filter(|e| parts.find(e).is_some());
        Ok(Layer {
            spec: WeightSpec::Grouped(read.spec),
            shape: read.shape,
            endings: [".weight", SCALES].into_iter().chain(rest).collect(),
        })
    }

    fn tensor(&self, parts: &Parts<'_>, _: &Layer) -> Result<QuantTensor, IoError> {
        self.read(parts)?.tensor(parts)
    }

    fn input(&self, _: &Parts<'_>, _: &Layer) -> Result<Vec<OnlineOp>, IoError> {
        Ok(Vec::new())
    }
}
