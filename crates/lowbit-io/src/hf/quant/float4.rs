//! 4-bit floats of compressed-tensors (`nvfp4-pack-quantized`, `mxfp4-pack-quantized`), which become the blocks that GGUF has
//! for the same numbers: codes change their places and nothing else.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `weight_packed` | u8 | N × K/2 | two codes of neighbours, the first in the low bits |
//! | `weight_scale` | f8_e4m3 | N × K/16 | NVFP4 |
//! | `weight_global_scale` | f32 | 1 | NVFP4: what its scales are divided by |
//! | `weight_scale` | u8 or f8_e8m0 | N × K/32 | MXFP4: powers of two as exponents plus 127 |

use super::parts::{Part, Parts};
use crate::IoError;
use lowbit_format::{BlockFormat, FormatError, NK, QuantTensor, Storage, WeightSpec};

/// The parts of a layer.
pub(super) struct Float4 {
    codes: Part,
    scales: Part,
    pub(super) shape: NK,
    format: BlockFormat,
    /// What all scales are multiplied with.
    tensor_scale: f32,
}

/// Weights that share a scale.
fn group(format: BlockFormat) -> usize {
    if format == BlockFormat::NVFP4 { 16 } else { 32 }
}

impl Float4 {
    pub(super) fn read(parts: &Parts<'_>) -> Result<Self, IoError> {
        let codes = parts.get(".weight_packed", &["u8"], 2)?;
        let (n, bytes) = (codes.dims[0], codes.dims[1]);
        let k = bytes.checked_mul(2).ok_or_else(|| codes.wrong("two codes a byte"))?;
        let scales = parts.get(".weight_scale", &["f8_e4m3", "u8", "f8_e8m0"], 2)?;
        let format = if scales.dtype == "f8_e4m3" { BlockFormat::NVFP4 } else { BlockFormat::MXFP4 };
        let (label, block) = (format.label(), format.layout().weights);
        if !k.is_multiple_of(block) {
            return Err(parts.refused(FormatError::RowNotBlocks { format: label, k, block }));
        }
        scales.expect(&[n, k / group(format)])?;
        if let Some(zeros) = parts.find(".weight_zero_point") {
            return Err(zeros.wrong("none: 4-bit floats have no zero points"));
        }
        let tensor_scale = match format {
            BlockFormat::NVFP4 => global_scale(parts)?,
            _ => 1.0,
        };
        Ok(Self { codes, scales, shape: NK { n, k }, format, tensor_scale })
    }

    pub(super) fn spec(&self) -> WeightSpec {
        WeightSpec::Block(self.format)
    }

    pub(super) fn tensor(&self, parts: &Parts<'_>) -> Result<QuantTensor, IoError> {
        let layout = self.format.layout();
        let group = group(self.format);
        let of_block = layout.weights / group;
        let blocks = self.shape.weights() / layout.weights;
        let mut out = vec![0; blocks * layout.bytes];
        let codes = self.codes.bytes.bytes().chunks_exact(layout.weights / 2);
        let scales = self.scales.bytes.bytes().chunks_exact(of_block);
        for ((block, codes), scales) in out.chunks_exact_mut(layout.bytes).zip(codes).zip(scales) {
            let (head, body) = block.split_at_mut(of_block);
            head.copy_from_slice(scales);
            for (to, from) in body.chunks_exact_mut(group / 2).zip(codes.chunks_exact(group / 2)) {
                halves(from, to);
            }
        }
        QuantTensor::from_scaled_blocks(self.format, self.shape, Storage::from(out), self.tensor_scale)
            .map_err(|e| parts.refused(e))
    }
}

/// From pairs of neighbours to the first half of the codes in low bits and the second in high ones.
fn halves(pairs: &[u8], out: &mut [u8]) {
    let code = |i: usize| pairs[i / 2] >> (4 * (i % 2)) & 15;
    let half = out.len();
    for (j, byte) in out.iter_mut().enumerate() {
        *byte = code(j) | code(j + half) << 4;
    }
}

/// The factor of all scales of NVFP4, which are stored divided by it.
fn global_scale(parts: &Parts<'_>) -> Result<f32, IoError> {
    let part = parts.get(".weight_global_scale", &["f32"], 1)?;
    part.expect(&[1])?;
    let stored = part.bytes.bytes().first_chunk().map_or(0.0, |b| f32::from_le_bytes(*b));
    let factor = 1.0 / stored;
    if stored > 0.0 && factor.is_finite() {
        return Ok(factor);
    }
    Err(IoError::invalid(format!("tensor {:?}", part.name), stored, "a positive number"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn neighbours_become_halves() {
        let mut out = [0; 4];
        super::halves(&[0x10, 0x32, 0x54, 0x76], &mut out);
        assert_eq!(out, [0x40, 0x51, 0x62, 0x73]);
    }
}
