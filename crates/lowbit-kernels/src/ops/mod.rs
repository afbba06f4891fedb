//! Float operations between the products: norms, rotary embedding, softmax, gates.
//!
//! Each is one function compiled for every instruction set; sums run in sixteen lanes whatever the vector width, so
//! every level gives the same bits.

mod gate;
mod logits;
mod norm;
mod rope;
mod softmax;

pub use gate::{Activation, gate};
pub use logits::{exp_non_positive, logit_mass};
pub use norm::{add, layer_norm, rms_norm, scale, soft_cap};
pub use rope::{RopePairs, rope};
pub use softmax::{SoftmaxPart, exp, softmax, softmax_join, softmax_part};

/// Sum of `f(x[i], y[i])` in sixteen lanes, then pairwise.
#[inline(always)]
pub(crate) fn lane_sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let (chunks, tail) = x.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += f(*x);
    }
    pairwise(lanes)
}

/// Sum of sixteen lanes: halves added to halves.
#[inline(always)]
pub(crate) fn pairwise(mut lanes: [f32; 16]) -> f32 {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}
