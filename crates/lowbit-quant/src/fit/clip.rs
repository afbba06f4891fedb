//! The clipping of a group's range that loses the least of the layer's output.

use super::{Fit, Group, Range, highest, round};
use crate::stats::{Inputs, Needs};
use lowbit_format::{GroupFit, GroupedSpec};

/// Clips weights at ±m for m from their largest magnitude down, and keeps what has the least squared error of the group's
/// products with sampled inputs, Σₜ (Σᵢ (wᵢ − ŵᵢ) xₜᵢ)².
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    /// Steps into which the largest magnitude is cut.
    pub grid: u32,
    /// Part of it that may be cut off.
    pub max_shrink: f32,
    /// Tokens whose inputs are looked at.
    pub samples: usize,
}

impl Fit for Clip {
    fn name(&self) -> &'static str {
        "clip by output error"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, samples: self.samples, ..Needs::NONE }
    }

    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit {
        let whole = Range.fit(spec, group);
        let Some(gram) = group.gram else { return whole };
        let absmax = group.weights.iter().fold(0f32, |max, w| max.max(w.abs()));
        let mut clipped = group.weights.to_vec();
        let mut error = group.weights.to_vec();
        let (mut best, mut least) = (whole, f32::INFINITY);
        for step in 0..=(self.max_shrink * self.grid as f32) as u32 {
            let most = absmax * (1.0 - step as f32 / self.grid as f32);
            clipped.iter_mut().zip(group.weights).for_each(|(c, w)| *c = w.clamp(-most, most));
            let fit = Range.fit(spec, &Group::new(&clipped));
            let (stored, highest) = (spec.stored(fit), highest(spec));
            if stored.scale == 0.0 {
                break;
            }
            let each = error.iter_mut().zip(group.weights);
            each.for_each(|(e, w)| *e = w - round(*w, stored, highest));
            let lost = quadratic(gram, &error);
            if lost < least {
                (best, least) = (fit, lost);
            }
        }
        best
    }
}

/// eᵀ G e.
fn quadratic(gram: &[f32], e: &[f32]) -> f32 {
    let rows = gram.chunks_exact(e.len()).zip(e);
    rows.map(|(row, e_i)| e_i * dot(row, e)).sum()
}

/// Eight sums side by side: the compiler may not reorder a single one.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|i| sums[i] += a[i] * b[i]);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
