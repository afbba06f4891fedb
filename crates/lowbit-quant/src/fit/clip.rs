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
    /// The most bits at which anything is clipped.
    pub most_bits: u8,
}

impl Fit for Clip {
    fn name(&self) -> &'static str {
        "clip by output error"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, samples: self.samples, ..Needs::NONE }
    }

    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit {
        let few = spec.element().packing().levels() <= 1 << self.most_bits;
        let Some(gram) = group.gram.filter(|_| few) else { return Range.fit(spec, group) };
        let absmax = group.weights.iter().fold(0f32, |max, w| max.max(w.abs()));
        let ends = (0..=(self.max_shrink * self.grid as f32) as u32).map(|step| {
            let most = absmax * (1.0 - step as f32 / self.grid as f32);
            (-most, most)
        });
        least_lost(spec, group, gram, ends)
    }
}

/// Of the ranges of the weights clipped at each of some pairs of ends the one whose rounding has the least eᵀ G e.
pub(super) fn least_lost(
    spec: &GroupedSpec,
    group: &Group<'_>,
    gram: &[f32],
    ends: impl Iterator<Item = (f32, f32)>,
) -> GroupFit {
    let highest = highest(spec);
    let mut clipped = group.weights.to_vec();
    let mut error = group.weights.to_vec();
    let (mut best, mut least) = (Range.fit(spec, group), f32::INFINITY);
    for (low, high) in ends {
        clipped.iter_mut().zip(group.weights).for_each(|(c, w)| *c = w.clamp(low, high));
        let fit = Range.fit(spec, &Group { weights: &clipped, ..*group });
        let stored = group.stored(spec, fit);
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
