//! Linear layers arranged for this machine when the model is loaded.

use lowbit_format::{NK, TensorData};
use lowbit_kernels::{Act, Arranged, Ctx, MatMut, Planner, ops};
use lowbit_model::{InputOps, LinearOp, Stored};

/// A layer over an arranged weight.
struct PackedLinear {
    weight: Arranged,
    bias: Option<Vec<f32>>,
    input: Option<InputOps>,
}

/// Arranges a layer's weight on the workers of `ctx` as the planner chooses; unquantized layers have no choice.
pub fn pack(ctx: &Ctx, planner: &Planner<'_>, stored: Stored) -> Box<dyn LinearOp> {
    if let TensorData::Float { .. } = stored.tensor().data() {
        return Box::new(stored);
    }
    let rounding = stored.precision().rounding(&stored.tensor().spec());
    let weight = Arranged::new(ctx, stored.tensor(), planner, rounding);
    let input = stored.input().cloned();
    Box::new(PackedLinear { weight, bias: stored.into_bias(), input })
}

impl LinearOp for PackedLinear {
    fn shape(&self) -> NK {
        self.weight.shape()
    }

    fn input(&self) -> Option<&InputOps> {
        self.input.as_ref()
    }

    fn bytes(&self) -> usize {
        self.weight.bytes()
    }

    fn prepare(&self, ctx: &Ctx, x: &Act<'_>) {
        self.weight.prepare(ctx, x);
    }

    fn forward(&self, ctx: &Ctx, x: &Act<'_>, mut out: MatMut<'_>) {
        self.weight.multiply(ctx, x, out.reborrow());
        if let Some(bias) = &self.bias {
            for m in 0..out.rows() {
                ops::add(ctx.isa(), out.row_mut(m), bias);
            }
        }
    }
}
