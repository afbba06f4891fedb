//! The clipping of a group's range that loses the least, by trying some.

use super::{Fit, Group, Range, highest, nearest_code};
use crate::stats::{Inputs, Needs};
use lowbit_format::{ElementFormat, GroupFit, GroupedSpec, ZeroPoint};

/// Shrinks the range of the weights step by step and keeps what has the least error after storing.
#[derive(Clone, Copy, Debug)]
pub struct MseGrid {
    /// Steps into which the whole range is cut.
    pub grid: u32,
    /// Part of the range down to which it is not shrunk further: 0.8 tries 1.0 to 0.2 of it.
    pub max_shrink: f32,
    /// What the error of a weight counts.
    pub counts: Counts,
}

/// What the error e of a weight counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Its square.
    Square,
    /// Its fourth power: weights that are far off count more, so that less is clipped.
    Fourth,
    /// Its square times the mean square of its inputs; and every candidate's scale is fitted to its codes by least squares.
    ByInputs,
    /// Likewise, times the weight's size besides: √(2 σ² + w²), σ² the mean square of the group. So the largest are clipped less, as
    /// llama.cpp's K types have it.
    ByInputsAndSize,
}

impl MseGrid {
    /// With settings of a user.
    ///
    /// # Errors
    /// Which of them is out of range.
    pub fn new(grid: u32, max_shrink: f64, counts: Counts) -> Result<Self, String> {
        if !(1..=10_000).contains(&grid) {
            return Err(format!("grid is {grid}, expected 1 to 10000"));
        }
        if !(0.0..=1.0).contains(&max_shrink) {
            return Err(format!("max_shrink is {max_shrink}, expected 0 to 1"));
        }
        Ok(Self { grid, max_shrink: max_shrink as f32, counts })
    }
}

impl Fit for MseGrid {
    fn name(&self) -> &'static str {
        match self.counts {
            Counts::Square | Counts::Fourth => "error grid",
            Counts::ByInputs | Counts::ByInputsAndSize => "error grid by inputs",
        }
    }

    fn needs(&self) -> Needs {
        match self.counts {
            Counts::Square | Counts::Fourth => Needs::NONE,
            Counts::ByInputs | Counts::ByInputsAndSize => Needs { inputs: Inputs::Magnitudes, ..Needs::NONE },
        }
    }

    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit {
        let whole = Range.fit(spec, group);
        let by_inputs = matches!(self.counts, Counts::ByInputs | Counts::ByInputsAndSize);
        let counts = match group.importance.filter(|_| by_inputs) {
            Some(importance) if self.counts == Counts::ByInputsAndSize => by_size(group.weights, importance),
            Some(importance) => importance.to_vec(),
            None => vec![1.0; group.weights.len()],
        };
        let counts = counts.as_slice();
        let lost = |fit: GroupFit| match self.counts {
            Counts::Square | Counts::ByInputs | Counts::ByInputsAndSize => {
                Sums::of(spec, fit, group.weights, counts, |e| e * e)
            }
            Counts::Fourth => Sums::of(spec, fit, group.weights, counts, |e| (e * e) * (e * e)),
        };
        let (mut best, mut least) = (whole, f32::INFINITY);
        let steps = (self.max_shrink * self.grid as f32) as u32;
        for widest in starts(spec, group.weights, whole, by_inputs) {
            for step in 0..=steps {
                let shrink = 1.0 - step as f32 / self.grid as f32;
                // A smaller scale with the same zero point clips both ends alike.
                let fit = GroupFit { scale: widest.scale * shrink, ..widest };
                let Some(sums) = lost(fit) else { break };
                let fitted = by_inputs.then(|| sums.with_zero(spec, fit).or(sums.least_squares(fit)));
                let (fit, error) = fitted.flatten().unwrap_or((fit, sums.error));
                if error < least {
                    (best, least) = (fit, error);
                }
            }
        }
        // With another scale some weights have other codes: what comes of it counts.
        let error = |fit: GroupFit| lost(fit).map_or(f32::INFINITY, |sums| sums.error);
        if error(best) <= error(whole) { best } else { whole }
    }
}

/// Fits that clip nothing, from which ranges are shrunk: that of the range, and where errors count by inputs those of the zero
/// points beside its own, with which one end is cut before the other.
fn starts(spec: &GroupedSpec, weights: &[f32], whole: GroupFit, by_inputs: bool) -> Vec<GroupFit> {
    let mut starts = vec![whole];
    let integer = matches!(spec.element(), ElementFormat::Int { zero: ZeroPoint::Integer, .. });
    if by_inputs && integer {
        let (low, high) = weights.iter().fold((0f32, 0f32), |(l, h), w| (l.min(*w), h.max(*w)));
        let most = highest(spec);
        for zero in [whole.zero - 1.0, whole.zero + 1.0] {
            let steps = [(-low, zero), (high, most - zero)];
            let scale = steps.iter().filter(|(_, codes)| *codes > 0.0).map(|(w, codes)| w / codes);
            if (0.0..=most).contains(&zero) {
                starts.push(GroupFit { scale: scale.fold(0f32, f32::max), zero });
            }
        }
    }
    starts
}

/// What inputs count, times the size of the weights.
fn by_size(weights: &[f32], importance: &[f32]) -> Vec<f32> {
    let twice_mean = 2.0 * weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
    importance.iter().zip(weights).map(|(m, w)| m * (twice_mean + w * w).sqrt()).collect()
}

/// Sums over a group under a fit as it is stored; m is what a weight's error counts, c its code less the zero point.
struct Sums {
    scale: f32,
    /// Σ m |w − s c|ᵖ, p as it counts.
    error: f32,
    /// Σ m w c.
    cross: f32,
    /// Σ m c².
    square: f32,
    /// Σ m, Σ m w and Σ m c.
    plain: [f32; 3],
}

/// Sums that run side by side: the compiler may not reorder a single one.
const LANES: usize = 8;

impl Sums {
    /// `None` where the scale is stored as zero.
    #[inline(always)]
    fn of(
        spec: &GroupedSpec,
        fit: GroupFit,
        weights: &[f32],
        counts: &[f32],
        power: impl Fn(f32) -> f32,
    ) -> Option<Self> {
        let (fit, highest) = (spec.stored(fit), highest(spec));
        if fit.scale == 0.0 {
            return None;
        }
        let per_scale = 1.0 / fit.scale;
        let mut sums = [[0.0f32; LANES]; 6];
        let mut add = |i: usize, w: f32, m: f32| {
            let c = nearest_code(w * per_scale + fit.zero, highest) - fit.zero;
            let e = w - c * fit.scale;
            sums[0][i] += m * power(e);
            sums[1][i] += m * w * c;
            sums[2][i] += m * c * c;
            sums[3][i] += m;
            sums[4][i] += m * w;
            sums[5][i] += m * c;
        };
        let (weights, last_weights) = weights.as_chunks::<LANES>();
        let (counts, last_counts) = counts.as_chunks::<LANES>();
        for (w, m) in weights.iter().zip(counts) {
            (0..LANES).for_each(|i| add(i, w[i], m[i]));
        }
        last_weights.iter().zip(last_counts).enumerate().for_each(|(i, (w, m))| add(i, *w, *m));
        let [error, cross, square, plain @ ..] = sums.map(|lanes| lanes.iter().sum::<f32>());
        Some(Self { scale: fit.scale, error, cross, square, plain })
    }

    /// The scale with the least error for the same codes, and that error; `None` where it is no scale.
    fn least_squares(&self, fit: GroupFit) -> Option<(GroupFit, f32)> {
        let scale = self.cross / self.square;
        let gained = (self.cross - self.scale * self.square).powi(2) / self.square;
        let held = scale.is_finite() && scale > 0.0;
        held.then_some((GroupFit { scale, ..fit }, self.error - gained))
    }

    /// The scale and zero point with the least error for the same codes, and that error, where zero points are any number from 0 to
    /// the largest code: w ≈ s c + o, so that the zero point moves by −o / s.
    fn with_zero(&self, spec: &GroupedSpec, fit: GroupFit) -> Option<(GroupFit, f32)> {
        let ElementFormat::Int { zero: ZeroPoint::Float, .. } = spec.element() else { return None };
        let [counts, weights, codes] = self.plain;
        let scale = (counts * self.cross - weights * codes) / (counts * self.square - codes * codes);
        let offset = (weights - scale * codes) / counts;
        let zero = fit.zero - offset / scale;
        // What is lost at (s, o) less what is lost at the scale of the codes and no offset.
        let moved = |s: f32, o: f32| {
            s * s * self.square + o * o * counts + 2.0 * (s * o * codes - s * self.cross - o * weights)
        };
        let error = self.error + moved(scale, offset) - moved(self.scale, 0.0);
        let held = scale.is_finite() && scale > 0.0 && (0.0..=highest(spec)).contains(&zero);
        held.then_some((GroupFit { scale, zero }, error))
    }
}
