//! The clipping of a group's range that loses the least, by trying some.

use super::{Fit, Group, Range, highest, round};
use crate::stats::{Inputs, Needs};
use lowbit_format::{GroupFit, GroupedSpec};

/// Shrinks the range of the weights step by step and keeps what has the least squared error after storing.
#[derive(Clone, Copy, Debug)]
pub struct MseGrid {
    /// Steps into which the whole range is cut.
    pub grid: u32,
    /// Part of the range down to which it is not shrunk further: 0.8 tries 1.0 to 0.2 of it.
    pub max_shrink: f32,
    /// What the squared error of a weight counts.
    pub counts: Counts,
}

/// What the squared error of a weight counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// As much as any other's.
    Equally,
    /// As much as the mean square of its inputs; and every candidate's scale is fitted to its codes by least squares.
    ByInputs,
}

impl Fit for MseGrid {
    fn needs(&self) -> Needs {
        match self.counts {
            Counts::Equally => Needs::NONE,
            Counts::ByInputs => Needs { inputs: Inputs::Magnitudes, samples: 0 },
        }
    }

    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit {
        let whole = Range.fit(spec, group);
        let counts = group.importance.filter(|_| self.counts == Counts::ByInputs);
        let mut best = whole;
        let mut least = squared_error(spec, whole, group.weights, counts);
        let steps = (self.max_shrink * self.grid as f32) as u32;
        for step in 0..=steps {
            let shrink = 1.0 - step as f32 / self.grid as f32;
            // A smaller scale with the same zero point clips both ends alike.
            let shrunk = GroupFit { scale: whole.scale * shrink, ..whole };
            let candidates = match counts {
                None => [Some(shrunk).filter(|_| step > 0), None],
                Some(counts) => [Some(shrunk), least_squares(spec, shrunk, group.weights, counts)],
            };
            for fit in candidates.into_iter().flatten() {
                let error = squared_error(spec, fit, group.weights, counts);
                if error < least {
                    (best, least) = (fit, error);
                }
            }
        }
        best
    }
}

/// Scale, and zero point where it may be any number, with the least weighted squared error for the codes that `fit` gives;
/// `None` where all of them are at the zero point.
fn least_squares(spec: &GroupedSpec, fit: GroupFit, weights: &[f32], counts: &[f32]) -> Option<GroupFit> {
    let (stored, highest) = (spec.stored(fit), highest(spec));
    if stored.scale == 0.0 {
        return None;
    }
    let (mut cross, mut square) = (0.0, 0.0);
    for (w, count) in weights.iter().zip(counts) {
        let steps = round(*w, stored, highest) / stored.scale;
        cross += count * w * steps;
        square += count * steps * steps;
    }
    let scale = cross / square;
    (scale.is_finite() && scale > 0.0).then_some(GroupFit { scale, ..fit })
}

/// Squared error of a group under a fit as it is stored; infinite where the scale is stored as zero.
fn squared_error(spec: &GroupedSpec, fit: GroupFit, weights: &[f32], counts: Option<&[f32]>) -> f32 {
    let (fit, highest) = (spec.stored(fit), highest(spec));
    if fit.scale == 0.0 {
        return f32::INFINITY;
    }
    let squares = weights.iter().map(|w| (w - round(*w, fit, highest)).powi(2));
    match counts {
        None => squares.sum(),
        Some(counts) => squares.zip(counts).map(|(square, count)| square * count).sum(),
    }
}
