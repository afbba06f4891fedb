//! The one product: stored weights times activations.

use crate::{
    Act, ActRounding, Ctx, FloatRows, MatMut, dense::dot_rows_into, expand, isa::multiversion, terms::Terms,
};
use lowbit_format::{FloatFormat, GroupedTensor, QuantTensor, TensorData, WeightSpec};

/// In which numbers a product multiplies activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActPrecision {
    /// As they are.
    Float,
    /// Rounded to 8 bits; unquantized weights, groups of fewer than 16 weights, and codes that stand for numbers of a table
    /// are multiplied as floats all the same.
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
    let w = w.plain()[0];
    if let (Some(rounding), Some(_)) = (precision.rounding(&w.spec()), expand::Rows::of(w)) {
        x.int8(ctx, rounding);
    }
}

/// Rows of dense weights that one task multiplies.
const DENSE_ROWS: usize = 32;

/// Where codes are turned into integers. Products have the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codes {
    /// In registers, for a few rows of activations, where the level has instructions for it.
    InRegisters,
    /// In memory, a panel at a time, for every token.
    Expanded,
}

/// How integer products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Integers {
    /// How activations are rounded.
    pub rounding: ActRounding,
    /// Where codes are turned into integers.
    pub codes: Codes,
}

/// `out[M, N] = x[M, K] · W[N, K]ᵀ` on the workers of `ctx`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn mpgemm(ctx: &Ctx, w: &QuantTensor, x: &Act<'_>, precision: ActPrecision, mut out: MatMut<'_>) {
    if let TensorData::Sum(sum) = w.data() {
        mpgemm(ctx, sum.base(), x, precision, out.reborrow());
        let terms = Terms::new(ctx, sum.terms(), w.shape().k, QuantTensor::clone);
        return terms.add(ctx, x, out, &|w, x, out| mpgemm(ctx, w, x, precision, out));
    }
    match (precision.rounding(&w.spec()), expand::Rows::of(w)) {
        (Some(rounding), Some(_)) => {
            let codes = if x.x().rows() == 1 { Codes::InRegisters } else { Codes::Expanded };
            integers(ctx, w, x, Integers { rounding, codes }, out);
        }
        _ => floats(ctx, w, x, out),
    }
}

/// The product of weights as they are stored with activations rounded to integers.
///
/// # Panics
/// Where the shapes do not fit, or the weights are none that integer kernels multiply.
pub(crate) fn integers(ctx: &Ctx, w: &QuantTensor, x: &Act<'_>, how: Integers, out: MatMut<'_>) {
    check(w, x, &out);
    let rows = expand::Rows::of(w).expect("weights with integers");
    expand::multiply(ctx, rows, x.int8(ctx, how.rounding), how.codes, out);
}

/// The product of weights with activations as floats.
///
/// # Panics
/// Where the shapes do not fit.
pub(crate) fn floats(ctx: &Ctx, w: &QuantTensor, x: &Act<'_>, mut out: MatMut<'_>) {
    check(w, x, &out);
    let shape = w.shape();
    let out = out.shared();
    ctx.run(shape.n.div_ceil(DENSE_ROWS), |task, scratch| {
        let first = task * DENSE_ROWS;
        let rows = (shape.n - first).min(DENSE_ROWS);
        let rows = match w.data() {
            TensorData::Float { format, bytes } => {
                let row_bytes = shape.k * format.bytes();
                let bytes = &bytes.bytes()[first * row_bytes..][..rows * row_bytes];
                FloatRows::new(*format, bytes, rows, shape.k)
            }
            data => {
                let decoded = scratch.floats(rows * shape.k);
                if let TensorData::Grouped(grouped) = data {
                    decode_grouped(ctx.isa(), grouped, first, decoded);
                } else {
                    for (r, row) in decoded.chunks_exact_mut(shape.k).enumerate() {
                        w.decode_row(first + r, row);
                    }
                }
                FloatRows::new(FloatFormat::F32, bytemuck::cast_slice(decoded), rows, shape.k)
            }
        };
        // SAFETY: each task writes the columns of its own rows.
        unsafe { dot_rows_into(ctx.isa(), rows, x.x(), out, first) }
    });
}

multiversion! {
    fn decode_grouped(w: &GroupedTensor, first: usize, out: &mut [f32]) = decode_grouped_rows;
}

/// Decodes rows from `first` on.
#[inline(always)]
fn decode_grouped_rows(w: &GroupedTensor, first: usize, out: &mut [f32]) {
    for (r, row) in out.chunks_exact_mut(w.shape().k).enumerate() {
        w.decode_row(first + r, row);
    }
}

fn check(w: &QuantTensor, x: &Act<'_>, out: &MatMut<'_>) {
    let (x, shape) = (x.x(), w.shape());
    assert_eq!((x.cols(), out.rows(), out.cols()), (shape.k, x.rows(), shape.n), "shapes of a product");
}
