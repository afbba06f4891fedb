//! Linear layers arranged for this machine when the model is loaded.

use lowbit_format::NK;
use lowbit_kernels::{Act, ActRounding, Arranged, Ctx, MatMut, ops};
use lowbit_model::{LinearOp, Stored};

/// A layer over an arranged weight.
struct PackedLinear {
    weight: Arranged,
    bias: Option<Vec<f32>>,
    rounding: ActRounding,
}

/// Packs a layer's weight on the workers of `ctx`; where activations stay floats, or the format has no layout, the
/// layer stays as it is stored.
pub(crate) fn pack(ctx: &Ctx, stored: Stored) -> Box<dyn LinearOp> {
    let Some(rounding) = stored.precision().rounding(&stored.tensor().spec()) else {
        return Box::new(stored);
    };
    match Arranged::new(ctx, stored.tensor(), rounding) {
        Some(weight) => Box::new(PackedLinear { weight, bias: stored.into_bias(), rounding }),
        None => Box::new(stored),
    }
}

impl LinearOp for PackedLinear {
    fn shape(&self) -> NK {
        self.weight.shape()
    }

    fn bytes(&self) -> usize {
        self.weight.bytes()
    }

    fn prepare(&self, ctx: &Ctx, x: &Act<'_>) {
        self.weight.prepare(ctx, x, self.rounding);
    }

    fn forward(&self, ctx: &Ctx, x: &Act<'_>, mut out: MatMut<'_>) {
        self.weight.multiply(ctx, x, self.rounding, out.reborrow());
        if let Some(bias) = &self.bias {
            for m in 0..out.rows() {
                ops::add(ctx.isa(), out.row_mut(m), bias);
            }
        }
    }
}
