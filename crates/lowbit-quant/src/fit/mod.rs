//! Choosing scale and zero point of one group: the parts that methods share.

mod clip;
mod mse_grid;
mod shrink;

pub use clip::Clip;
pub use mse_grid::{Counts, MseGrid};
pub use shrink::Shrink;

use crate::stats::Needs;
use lowbit_format::{ElementFormat, GroupFit, GroupedSpec, ParamFormat, ZeroPoint};

/// Weights that share a scale, and what calibration knows of the inputs they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The weights: finite, at least one.
    pub weights: &'a [f32],
    /// Mean x² of the inputs of each, where there was a calibration and the weights are of one row.
    pub importance: Option<&'a [f32]>,
    /// Σ x xᵀ of the inputs of some tokens, row after row, where the fit asked for samples.
    pub gram: Option<&'a [f32]>,
    /// What scales are whole multiples of, where a coarser level of scales is known already.
    pub unit: Option<f32>,
}

impl<'a> Group<'a> {
    /// Weights of which nothing else is known.
    pub fn new(weights: &'a [f32]) -> Self {
        Self { weights, importance: None, gram: None, unit: None }
    }

    /// A fit as it is after storing it: see [`GroupedSpec::stored`]; a whole number of units, at least one, where they are known.
    pub fn stored(&self, spec: &GroupedSpec, fit: GroupFit) -> GroupFit {
        let stored = spec.stored(fit);
        match self.unit {
            Some(unit) => GroupFit { scale: units(spec, fit.scale, unit) * unit, ..stored },
            None => stored,
        }
    }
}

/// Chooses scale and zero point of a group of weights. What it gives is stored in the precision of the format, so a
/// fit that compares errors must compare what [`GroupedSpec::stored`] makes of its candidates.
pub trait Fit: Send + Sync {
    /// What it is called where the parts of a method are listed.
    fn name(&self) -> &'static str;
    /// What calibration must collect for it.
    fn needs(&self) -> Needs {
        Needs::NONE
    }
    /// An all-zero group must decode to zeros.
    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit;
}

/// The range of the weights, see [`GroupFit::of_range`].
#[derive(Clone, Copy, Debug)]
pub struct Range;

impl Fit for Range {
    fn name(&self) -> &'static str {
        "range"
    }

    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit {
        let fit = GroupFit::of_range(spec.element(), group.weights);
        let Some(unit) = group.unit else { return fit };
        let scale = units(spec, fit.scale, unit) * unit;
        let zero = match spec.element() {
            // The smallest weight is at code 0 of the scale as it is stored.
            ElementFormat::Int { zero: ZeroPoint::Integer, .. } if scale > 0.0 => {
                let low = group.weights.iter().fold(0f32, |low, w| low.min(*w));
                (-low / scale).round().min(highest(spec))
            }
            _ => fit.zero,
        };
        GroupFit { scale, zero }
    }
}

/// The whole number of units nearest to a scale that the finer level can store, at least one.
pub(crate) fn units(spec: &GroupedSpec, scale: f32, unit: f32) -> f32 {
    let most = match spec.levels()[0].format {
        ParamFormat::Int(bits) => (bits.levels() - 1) as f32,
        _ => f32::MAX,
    };
    // A row of zeros has units of zero.
    if unit > 0.0 { (scale / unit).round().clamp(1.0, most) } else { 1.0 }
}

/// What rounding `w` to the nearest code under a stored fit gives. Ties go to even here and away from zero in the
/// encoder, which are equally near.
#[inline(always)]
pub(crate) fn round(w: f32, fit: GroupFit, highest: f32) -> f32 {
    (nearest_code(w / fit.scale + fit.zero, highest) - fit.zero) * fit.scale
}

/// The code nearest to a number of steps.
#[inline(always)]
fn nearest_code(steps: f32, highest: f32) -> f32 {
    // Adding 1.5 · 2^23 leaves a float no place for digits after the point.
    const SHIFT: f32 = 12_582_912.0;
    (steps.clamp(0.0, highest) + SHIFT) - SHIFT
}

/// The largest code of a format.
pub(crate) fn highest(spec: &GroupedSpec) -> f32 {
    (spec.element().packing().levels() - 1) as f32
}
