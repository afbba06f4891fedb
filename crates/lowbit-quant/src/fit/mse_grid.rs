//! The clipping of a group's range that loses the least, by trying some.

use super::{Fit, Range, highest, round};
use lowbit_format::{GroupFit, GroupedSpec};

/// Shrinks the range of the weights step by step and keeps what has the least squared error after storing.
#[derive(Clone, Copy, Debug)]
pub struct MseGrid {
    /// Steps into which the whole range is cut.
    pub grid: u32,
    /// Part of the range down to which it is not shrunk further: 0.8 tries 1.0 to 0.2 of it.
    pub max_shrink: f32,
}

impl Fit for MseGrid {
    fn fit(&self, spec: &GroupedSpec, group: &[f32]) -> GroupFit {
        let whole = Range.fit(spec, group);
        let (mut best, mut least) = (whole, squared_error(spec, whole, group));
        let steps = (self.max_shrink * self.grid as f32) as u32;
        for step in 1..=steps {
            let shrink = 1.0 - step as f32 / self.grid as f32;
            // A smaller scale with the same zero point clips both ends alike.
            let fit = GroupFit { scale: whole.scale * shrink, ..whole };
            let error = squared_error(spec, fit, group);
            if error < least {
                (best, least) = (fit, error);
            }
        }
        best
    }
}

/// Squared error of a group under a fit as it is stored; infinite where the scale is stored as zero.
fn squared_error(spec: &GroupedSpec, fit: GroupFit, group: &[f32]) -> f32 {
    let (fit, highest) = (spec.stored(fit), highest(spec));
    if fit.scale == 0.0 {
        return f32::INFINITY;
    }
    group.iter().map(|w| (w - round(*w, fit, highest)).powi(2)).sum()
}
