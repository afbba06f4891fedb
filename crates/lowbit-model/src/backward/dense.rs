//! A linear layer as f32 numbers, forward and backward.

use crate::{LinearId, Stored, linear::LinearOp, rows::share};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::NK;
use lowbit_kernels::{Ctx, ops};

/// Rows of a product that are one task, whatever the number of workers.
const ROWS: usize = 128;
/// Multiplications that take as long as handling one number elsewhere.
pub(super) const MULTIPLICATIONS_PER_NUMBER: usize = 4;

/// A layer: W [N, K] and its bias.
pub(super) struct Dense {
    pub(super) id: LinearId,
    pub(super) shape: NK,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Dense {
    pub(super) fn new(id: LinearId, stored: &Stored) -> Self {
        let (tensor, shape) = (stored.tensor(), stored.shape());
        let mut weight = vec![0.0; shape.weights()];
        weight.chunks_exact_mut(shape.k).enumerate().for_each(|(n, row)| tensor.decode_row(n, row));
        Self { id, shape, weight, bias: stored.clone().into_bias() }
    }

    fn weight(&self) -> MatRef<'_, f32> {
        MatRef::from_row_major_slice(&self.weight, self.shape.n, self.shape.k)
    }

    /// x [T, K] to y [T, N].
    pub(super) fn forward(&self, ctx: &Ctx, x: &[f32]) -> Vec<f32> {
        let NK { n, k } = self.shape;
        let tokens = x.len() / k;
        let mut out = vec![0.0; tokens * n];
        let x = MatRef::from_row_major_slice(x, tokens, k);
        product(ctx, &mut out, (x, self.weight().transpose()), Accum::Replace);
        if let Some(bias) = &self.bias {
            out.chunks_exact_mut(n).for_each(|row| ops::add(ctx.isa(), row, bias));
        }
        out
    }

    /// Adds the gradient of x, from that of y, to `into`.
    pub(super) fn backward(&self, ctx: &Ctx, gradient: &[f32], into: &mut [f32]) {
        let gradient = MatRef::from_row_major_slice(gradient, gradient.len() / self.shape.n, self.shape.n);
        product(ctx, into, (gradient, self.weight()), Accum::Add);
    }
}

/// `out = a · b`, or added to it.
fn product(ctx: &Ctx, out: &mut [f32], (a, b): (MatRef<'_, f32>, MatRef<'_, f32>), accum: Accum) {
    let (k, n) = (b.nrows(), b.ncols());
    let size = out.len() * k / MULTIPLICATIONS_PER_NUMBER;
    share(ctx, size, out.chunks_mut(ROWS * n).enumerate(), |(task, out), _| {
        let rows = out.len() / n;
        let to = MatMut::from_row_major_slice_mut(out, rows, n);
        matmul(to, accum, a.subrows(task * ROWS, rows), b, 1.0, Par::Seq);
    });
}
