//! Choosing scale and zero point of one group: the parts that methods share.

mod mse_grid;

pub use mse_grid::MseGrid;

use lowbit_format::{GroupFit, GroupedSpec};

/// Chooses scale and zero point of a group of weights. What it gives is stored in the precision of the format, so a
/// fit that compares errors must compare what [`GroupedSpec::stored`] makes of its candidates.
pub trait Fit: Send + Sync {
    /// `group` holds finite weights, at least one. An all-zero group must decode to zeros.
    fn fit(&self, spec: &GroupedSpec, group: &[f32]) -> GroupFit;
}

/// The range of the weights, see [`GroupFit::of_range`].
#[derive(Clone, Copy, Debug)]
pub struct Range;

impl Fit for Range {
    fn fit(&self, spec: &GroupedSpec, group: &[f32]) -> GroupFit {
        GroupFit::of_range(spec.element(), group)
    }
}

/// What rounding `w` to the nearest code under a stored fit gives. Ties go to even here and away from zero in the
/// encoder, which are equally near.
#[inline(always)]
pub(crate) fn round(w: f32, fit: GroupFit, highest: f32) -> f32 {
    // Adding 1.5 · 2^23 leaves a float no place for digits after the point.
    const SHIFT: f32 = 12_582_912.0;
    let code = (w / fit.scale + fit.zero).clamp(0.0, highest);
    ((code + SHIFT) - SHIFT - fit.zero) * fit.scale
}

/// The largest code of a format.
pub(crate) fn highest(spec: &GroupedSpec) -> f32 {
    (spec.element().packing().levels() - 1) as f32
}
