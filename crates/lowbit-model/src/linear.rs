//! The one linear layer that a decoder sees.

use crate::input::InputOps;
use crate::profile::{Laps, Part};
use lowbit_format::{NK, OUTLIER, QuantTensor, TensorData};
use lowbit_kernels::{Act, ActPrecision, ActRounding, Ctx, MatMut, MatRef, mpgemm, ops, prepare};

/// A linear layer: dense, packed, adapted; the decoder does not know which.
pub trait LinearOp: Send + Sync {
    /// N outputs by K inputs.
    fn shape(&self) -> NK;
    /// Bytes that a product reads of it.
    fn bytes(&self) -> usize;
    /// What the caller does to activations before it hands them over as `x`; nothing for most layers.
    fn input(&self) -> Option<&InputOps> {
        None
    }
    /// `out[M, N] = x[M, K] · W[N, K]ᵀ + bias`, `x` after the operations of [`input`](Self::input).
    ///
    /// # Panics
    /// Where the shapes do not fit.
    fn forward(&self, ctx: &Ctx, x: &Act<'_>, out: MatMut<'_>);
    /// Makes the form of `x` that [`forward`](Self::forward) multiplies, where it is not made yet: so that a profile
    /// can tell its time from the product's. A layer that does nothing here has both counted as the product.
    fn prepare(&self, ctx: &Ctx, x: &Act<'_>) {
        let _ = (ctx, x);
    }
}

/// Activations that are about to be multiplied, counted by a profile.
pub(crate) fn act<'a>(x: MatRef<'a>, laps: &mut Laps) -> Act<'a> {
    laps.matrix();
    Act::new(x)
}

/// A product whose time, and that of making `x` ready for it, a profile gets.
pub(crate) fn product(
    ctx: &Ctx,
    linear: &dyn LinearOp,
    x: &Act<'_>,
    out: MatMut<'_>,
    (laps, part): (&mut Laps, Part),
) {
    if laps.running() {
        linear.prepare(ctx, x);
        laps.lap(Part::Activations);
    }
    linear.forward(ctx, x, out);
    laps.lap(part);
}

/// A layer over a weight as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    tensor: QuantTensor,
    bias: Option<Vec<f32>>,
    precision: ActPrecision,
    input: Option<InputOps>,
}

impl Stored {
    /// # Panics
    /// Where a bias does not have one element for each output.
    pub fn new(tensor: QuantTensor, bias: Option<Vec<f32>>, precision: ActPrecision) -> Self {
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == tensor.shape().n), "a bias for every output");
        Self { tensor, bias, precision, input: None }
    }

    /// With operations on its input, where there are any.
    ///
    /// # Panics
    /// Where one is not of K elements.
    pub fn with_input(self, input: Option<InputOps>) -> Self {
        let k = self.tensor.shape().k;
        assert!(input.iter().flat_map(|ops| &**ops).all(|op| op.len() == k), "operations on {k} columns");
        Self { input, ..self }
    }

    /// The weight.
    pub fn tensor(&self) -> &QuantTensor {
        &self.tensor
    }

    /// In which numbers activations are multiplied.
    pub fn precision(&self) -> ActPrecision {
        self.precision
    }

    /// What is added to the products.
    pub fn into_bias(self) -> Option<Vec<f32>> {
        self.bias
    }
}

impl LinearOp for Stored {
    fn shape(&self) -> NK {
        self.tensor.shape()
    }

    fn input(&self) -> Option<&InputOps> {
        self.input.as_ref()
    }

    fn bytes(&self) -> usize {
        self.tensor.bytes()
    }

    fn prepare(&self, ctx: &Ctx, x: &Act<'_>) {
        prepare(ctx, &self.tensor, x, self.precision);
    }

    fn forward(&self, ctx: &Ctx, x: &Act<'_>, mut out: MatMut<'_>) {
        match (self.precision, self.tensor.data()) {
            // The product leaves activations of unquantized weights alone; a model trained with one 8-bit scale a
            // token, or rotated for one of 4, is wrong without the rounding, whatever its weights are held in.
            (ActPrecision::Int8(rounding), TensorData::Float { .. }) if rounding.by_token() => {
                let (rows, cols) = (x.x().rows(), x.x().cols());
                let mut rounded = Vec::with_capacity(rows * cols);
                (0..rows).for_each(|m| rounded.extend(round_token(x.x().row(m), rounding)));
                let rounded = Act::new(MatRef::new(&rounded, rows, cols));
                mpgemm(ctx, &self.tensor, &rounded, ActPrecision::Float, out.reborrow());
            }
            _ => mpgemm(ctx, &self.tensor, x, self.precision, out.reborrow()),
        }
        if let Some(bias) = &self.bias {
            for m in 0..out.rows() {
                ops::add(ctx.isa(), out.row_mut(m), bias);
            }
        }
    }
}

/// `x` on a grid of codes with one scale, as BitNet is trained: `s = 127 / max|x|` (7 for 4 bits), `round(x · s) / s`. Outliers stay as
/// they are where the rounding has them apart.
fn round_token(x: &[f32], rounding: ActRounding) -> impl Iterator<Item = f32> {
    let apart = move |x: f32| rounding == ActRounding::TokenOutliers && x.abs() >= OUTLIER;
    let max = x.iter().filter(|x| !apart(**x)).fold(0f32, |max, x| max.max(x.abs()));
    let highest = f32::from(rounding.highest());
    let s = highest / max.max(1e-5);
    let round = move |x: f32| (x * s).round_ties_even().clamp(-highest - 1.0, highest) / s;
    x.iter().map(move |x| if apart(*x) { *x } else { round(*x) })
}
