//! Derivatives of what is done to rows between the products.

use crate::{rope::Turn, rows::share_rows};
use lowbit_kernels::{
    Ctx,
    ops::{self, Activation},
};

/// The gradient of `x` from that of its root-mean-square norm times `gain`, in place of the latter; rows are as long as `gain`.
///
/// With r = (mean(x²) + eps)^−½ and h = gradient · gain it is r h − x r³ Σ h x / n.
pub(super) fn unnorm(ctx: &Ctx, x: &[f32], gain: &[f32], eps: f32, gradient: &mut [f32]) {
    let width = gain.len();
    share_rows(ctx, gradient, width, |m, gradient, _| {
        unnorm_row(&x[m * width..][..width], gain, eps, gradient)
    });
}

fn unnorm_row(x: &[f32], gain: &[f32], eps: f32, gradient: &mut [f32]) {
    let n = x.len() as f64;
    let square: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    let r = (square / n + f64::from(eps)).sqrt().recip();
    gradient.iter_mut().zip(gain).for_each(|(g, gain)| *g *= gain);
    let along: f64 = gradient.iter().zip(x).map(|(g, x)| f64::from(*g) * f64::from(*x)).sum();
    let (r, pull) = (r as f32, (along * r.powi(3) / n) as f32);
    gradient.iter_mut().zip(x).for_each(|(g, x)| *g = *g * r - x * pull);
}

/// The gradient of heads before [`Turn::heads`] from that after it, in place; `raw` is what went into it.
pub(super) fn unturn(
    ctx: &Ctx,
    turn: &Turn<'_>,
    head_dim: usize,
    raw: &[f32],
    gradient: &mut [f32],
    width: usize,
) {
    share_rows(ctx, gradient, width, |m, row, scratch| {
        let heads = row.chunks_exact_mut(head_dim).zip(raw[m * width..][..width].chunks_exact(head_dim));
        for (gradient, raw) in heads {
            if let Some((pairs, angles)) = turn.angles {
                let (cos, sin) = angles[m * 2 * pairs..][..2 * pairs].split_at(pairs);
                let back = scratch.floats(pairs);
                back.iter_mut().zip(sin).for_each(|(back, sin)| *back = -sin);
                ops::rope(ctx.isa(), turn.pairs, gradient, cos, back);
            }
            if let Some(gain) = turn.gain {
                unnorm_row(raw, gain, turn.eps, gradient);
            }
        }
    });
}

/// The gradients of gate and up projections, in place of their values, from that of `f(gate) · up`.
pub(super) fn ungate(
    ctx: &Ctx,
    activation: Activation,
    (gate, up): (&mut [f32], &mut [f32]),
    gradient: &[f32],
    width: usize,
) {
    let ones = vec![1.0; width];
    let rows = gate.chunks_exact_mut(width).zip(up.chunks_exact_mut(width)).zip(gradient.chunks_exact(width));
    let mut activated = vec![0.0; width];
    for ((gate, up), gradient) in rows {
        activated.copy_from_slice(gate);
        ops::gate(ctx.isa(), activation, &mut activated, &ones);
        for i in 0..width {
            gate[i] = gradient[i] * up[i] * slope(activation, gate[i]);
            up[i] = gradient[i] * activated[i];
        }
    }
}

/// f′(x) of an activation.
fn slope(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => {
            let s = 1.0 / (1.0 + (-x).exp());
            s * (1.0 + x * (1.0 - s))
        }
        Activation::GeluTanh => {
            const ROOT: f32 = 0.797_884_6;
            const CUBE: f32 = 0.044_715;
            let t = (ROOT * (x + CUBE * x * x * x)).tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 3.0 * CUBE * x * x)
        }
        Activation::SquaredRelu => 2.0 * x.max(0.0),
    }
}

/// The slope of a soft cap where it gave `capped`.
pub(super) fn cap_slope(capped: f32, cap: f32) -> f32 {
    1.0 - (capped / cap).powi(2)
}
