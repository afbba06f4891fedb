//! The one product: stored weights times activations.

use crate::{Act, ActRounding, Ctx, FloatRows, MatMut, dense::dot_rows_into, expand};
use lowbit_format::{QuantTensor, TensorData, WeightSpec};

/// In which numbers a product multiplies activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActPrecision {
    /// As they are.
    Float,
    /// Rounded to 8 bits; unquantized weights, and groups of fewer than 16 weights, are multiplied as floats all the
    /// same.
    Int8(ActRounding),
    /// Rounded to 8 bits in groups that depend on the weights' format, as llama.cpp does: what makes figures
    /// comparable with its.
    Gguf,
}

impl ActPrecision {
    /// How activations are rounded for weights of a format; `None` where they are left as they are.
    pub fn rounding(self, weights: &WeightSpec) -> Option<ActRounding> {
        match (self, weights) {
            (Self::Float, _) => None,
            (Self::Int8(rounding), _) => Some(rounding),
            (Self::Gguf, WeightSpec::Block(format)) if format.layout().weights == 256 => {
                Some(ActRounding::Gguf256)
            }
            (Self::Gguf, _) => Some(ActRounding::Gguf32),
        }
    }
}

/// Rounds activations as [`mpgemm`] of the same arguments does, where that is not done yet: it finds them done.
pub fn prepare(ctx: &Ctx, w: &QuantTensor, x: &Act<'_>, precision: ActPrecision) {
    if let (Some(rounding), Some(_)) = (precision.rounding(&w.spec()), expand::Rows::of(w)) {
        x.int8(ctx, rounding);
    }
}

/// Rows of dense weights that one task multiplies.
const DENSE_ROWS: usize = 32;

/// `out[M, N] = x[M, K] · W[N, K]ᵀ` on the workers of `ctx`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn mpgemm(ctx: &Ctx, w: &QuantTensor, x: &Act<'_>, precision: ActPrecision, mut out: MatMut<'_>) {
    let shape = w.shape();
    assert_eq!(
        (x.x().cols(), out.rows(), out.cols()),
        (shape.k, x.x().rows(), shape.n),
        "shapes of a product"
    );
    match (w.data(), precision.rounding(&w.spec()), expand::Rows::of(w)) {
        (_, Some(rounding), Some(rows)) => {
            expand::multiply(ctx, rows, x.int8(ctx, rounding), out);
        }
        (TensorData::Float { format, bytes }, ..) => {
            let row_bytes = shape.k * format.bytes();
            let out = out.shared();
            ctx.run(shape.n.div_ceil(DENSE_ROWS), |task, _| {
                let first = task * DENSE_ROWS;
                let rows = (shape.n - first).min(DENSE_ROWS);
                let bytes = &bytes.bytes()[first * row_bytes..][..rows * row_bytes];
                let rows = FloatRows::new(*format, bytes, rows, shape.k);
                // SAFETY: each task writes the columns of its own rows.
                unsafe { dot_rows_into(ctx.isa(), rows, x.x(), out, first) }
            });
        }
        _ => {
            let out = out.shared();
            ctx.run(shape.n.div_ceil(DENSE_ROWS), |task, scratch| {
                let first = task * DENSE_ROWS;
                let rows = (shape.n - first).min(DENSE_ROWS);
                let decoded = scratch.floats(rows * shape.k);
                for (r, row) in decoded.chunks_exact_mut(shape.k).enumerate() {
                    w.decode_row(first + r, row);
                }
                let bytes = bytemuck::cast_slice(decoded);
                let rows = FloatRows::new(lowbit_format::FloatFormat::F32, bytes, rows, shape.k);
                // SAFETY: each task writes the columns of its own rows.
                unsafe { dot_rows_into(ctx.isa(), rows, x.x(), out, first) }
            });
        }
    }
}
