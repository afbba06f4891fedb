//! What a scale costs: the error of the layers' outputs on sampled tokens.

use super::{Consumer, Seam};
use crate::{
    fit::Fit,
    fit::{Group, Range, highest, round},
    solve::share,
};
use lowbit_format::GroupShape;

/// Rows that are one task.
const ROWS: usize = 64;

/// ‖(W − Q(W diag(s)) diag(s)⁻¹) X‖², summed over the layers of a seam, with scales and zero points from the range of each
/// group.
pub fn output_error(seam: &Seam<'_>, scales: &[f32]) -> f64 {
    seam.consumers.iter().map(|layer| layer_error(seam, layer, scales)).sum()
}

fn layer_error(seam: &Seam<'_>, layer: &Consumer, scales: &[f32]) -> f64 {
    let k = layer.shape.k;
    let level = layer.spec.levels()[0].shape;
    let highest = highest(&layer.spec);
    let scaled = |weights: &[f32]| -> Vec<f32> {
        weights.chunks_exact(k).flat_map(|row| row.iter().zip(scales).map(|(w, s)| w * s)).collect()
    };
    let fit_of = |group: &[f32]| layer.spec.stored(Range.fit(&layer.spec, &Group::new(group)));
    let whole = (level == GroupShape::Tensor).then(|| fit_of(&scaled(&layer.weights)));
    let errors = share(seam.threads, layer.weights.chunks(ROWS * k), |weights| {
        let mut error = scaled(weights);
        for row in error.chunks_exact_mut(k) {
            for group in row.chunks_mut(level.len_in_row(k)) {
                let fit = whole.unwrap_or_else(|| fit_of(group));
                let nearest = |w: f32| if fit.scale == 0.0 { 0.0 } else { round(w, fit, highest) };
                group.iter_mut().for_each(|w| *w -= nearest(*w));
            }
            row.iter_mut().zip(scales).for_each(|(e, s)| *e /= s);
        }
        seam.stats.output_error(&error)
    });
    errors.into_iter().sum()
}
