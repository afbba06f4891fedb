//! BitNet's two Hugging Face layouts turned into ternary matrices.
//!
//! Rows of a multiple of 128 weights become `I2_S` blocks, which integer kernels multiply; others, which only tiny
//! models have, become floats of the same values.

use crate::{ModelError, build::PackedBytes, spec::PackedScale};
use lowbit_format::{BlockFormat, FloatFormat, NK, QuantTensor, Storage};

/// Rounds master weights: `s = 1 / mean|W|`, weights are `clamp(round(W · s), −1, 1) / s`.
pub(crate) fn from_master(name: &str, master: &QuantTensor) -> Result<QuantTensor, ModelError> {
    let shape = master.shape();
    let mut row = vec![0f32; shape.k];
    let mut sum = 0f64;
    for n in 0..shape.n {
        master.decode_row(n, &mut row);
        sum += row.iter().map(|w| f64::from(w.abs())).sum::<f64>();
    }
    if !sum.is_finite() {
        let (found, expected) = ("a value that is not finite".into(), "finite weights".into());
        return Err(ModelError::TensorValue { tensor: name.to_owned(), found, expected });
    }
    let mean = (sum / shape.weights() as f64) as f32;
    let s = 1.0 / mean.max(1e-5);
    pack(name, shape, 1.0 / s, |n, codes| {
        master.decode_row(n, &mut row);
        for (code, w) in codes.iter_mut().zip(&row) {
            *code = (w * s).round_ties_even().clamp(-1.0, 1.0) as i8;
        }
        Ok(())
    })
}

/// Unpacks bytes `[N/4, K]` whose bits `2j` and `2j + 1` hold the code of row `r + j · N/4`, one more than the weight.
pub(crate) fn from_packed(
    name: &str,
    packed: &PackedBytes,
    shape: NK,
    stored: f32,
    scale: PackedScale,
) -> Result<QuantTensor, ModelError> {
    let found = NK { n: packed.rows.saturating_mul(4), k: packed.cols };
    let bytes = packed.bytes.bytes();
    if found != shape || packed.rows.checked_mul(packed.cols) != Some(bytes.len()) {
        return Err(ModelError::MatrixShape { tensor: name.to_owned(), found, expected: shape });
    }
    let factor = match scale {
        PackedScale::Multiplies => stored,
        PackedScale::Divides => 1.0 / stored,
    };
    pack(name, shape, factor, |n, codes| {
        let (quarter, at) = (n / packed.rows, n % packed.rows);
        let mut seen = 0;
        for (code, byte) in codes.iter_mut().zip(&bytes[at * packed.cols..]) {
            let bits = byte >> (2 * quarter) & 3;
            seen |= bits & bits >> 1;
            *code = bits as i8 - 1;
        }
        if seen == 0 {
            return Ok(());
        }
        let found = format!("code 3 in row {n}");
        Err(ModelError::TensorValue { tensor: name.to_owned(), found, expected: "codes 0, 1 and 2".into() })
    })
}

/// A matrix of codes −1, 0 and 1 times `scale`; `row` fills in the codes of a row.
fn pack(
    name: &str,
    shape: NK,
    scale: f32,
    mut row: impl FnMut(usize, &mut [i8]) -> Result<(), ModelError>,
) -> Result<QuantTensor, ModelError> {
    let blocks = shape.k.is_multiple_of(BlockFormat::I2_S.layout().weights);
    let mut codes = vec![0i8; shape.k];
    let mut bytes = Vec::with_capacity(if blocks { shape.weights() / 4 } else { shape.weights() * 4 });
    for n in 0..shape.n {
        row(n, &mut codes)?;
        if blocks {
            for run in codes.as_chunks::<128>().0 {
                // Byte j holds weights j, j + 32, j + 64 and j + 96, the first in its top bits.
                let bits = |i: usize| (run[i] + 1) as u8;
                bytes.extend(
                    (0..32).map(|j| bits(j) << 6 | bits(j + 32) << 4 | bits(j + 64) << 2 | bits(j + 96)),
                );
            }
        } else {
            codes.iter().for_each(|code| bytes.extend((f32::from(*code) * scale).to_le_bytes()));
        }
    }
    let storage = Storage::from(bytes);
    let tensor = if blocks {
        QuantTensor::from_scaled_blocks(BlockFormat::I2_S, shape, storage, scale)
    } else {
        QuantTensor::from_floats(FloatFormat::F32, shape, storage)
    };
    tensor.map_err(|source| ModelError::Tensor { tensor: name.to_owned(), source: source.into() })
}
