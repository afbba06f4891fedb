//! The shrinking of a group's range, both ends alike, that loses the least of the layer's output.

use super::{Fit, Group, Range, clip::least_lost};
use crate::stats::{Inputs, Needs};
use lowbit_format::{GroupFit, GroupedSpec};

/// Clips weights to [r · min, r · max] for r from 1 down, and keeps what has the least squared error of the group's products
/// with sampled inputs, Σₜ (Σᵢ (wᵢ − ŵᵢ) xₜᵢ)². [`Clip`](super::Clip) cuts only the longer end.
#[derive(Clone, Copy, Debug)]
pub struct Shrink {
    /// Steps into which the whole range is cut.
    pub grid: u32,
    /// Part of it that may be cut off.
    pub max_shrink: f32,
    /// Tokens whose inputs are looked at.
    pub samples: usize,
    /// Whether every token counts the same.
    pub equal_tokens: bool,
}

impl Fit for Shrink {
    fn name(&self) -> &'static str {
        "range shrunk by output error"
    }

    fn needs(&self) -> Needs {
        Needs {
            inputs: Inputs::Magnitudes,
            samples: self.samples,
            equal_tokens: self.equal_tokens,
            ..Needs::NONE
        }
    }

    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit {
        let Some(gram) = group.gram else { return Range.fit(spec, group) };
        let (low, high) = group.weights.iter().fold((0f32, 0f32), |(l, h), w| (l.min(*w), h.max(*w)));
        let steps = (self.max_shrink * self.grid as f32).round() as u32;
        let ends = (0..=steps).map(|step| {
            let ratio = 1.0 - step as f32 / self.grid as f32;
            (ratio * low, ratio * high)
        });
        least_lost(spec, group, gram, ends)
    }
}
