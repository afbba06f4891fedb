//! Every weight to its nearest code.

use super::{Blocks, Layer, Quantized, Solve, SolveError, share};
use crate::{
    fit::{Fit, Group},
    stats::InputStats,
};
use lowbit_format::{
    FormatError, GroupFit, GroupShape, GroupedSpec, GroupedTensor, NK, QuantTensor, WeightSpec,
};
use std::ops::Range;

/// Weights that are decoded to floats at a time by a worker.
const BATCH_WEIGHTS: usize = 1 << 21;

/// Scales and zero points by the fit, then the nearest codes. Rows are shared among the workers, some 8 MiB of weights at
/// a time, or all of them in one where the whole tensor shares a scale.
#[derive(Clone, Copy, Debug)]
pub struct Nearest;

impl Solve for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn accepts(&self, _: &GroupedSpec) -> Result<(), &'static str> {
        Ok(())
    }

    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let shape = layer.weight.shape();
        let rows = BATCH_WEIGHTS / shape.k.max(1);
        let batch = match spec.levels()[spec.levels().len() - 1].shape {
            GroupShape::Tensor => shape.n,
            GroupShape::Column(size) => rows.next_multiple_of(size as usize),
            GroupShape::Row | GroupShape::Group(_) => rows,
        };
        let inputs = layer.stats.map(|stats| GroupInputs::new(stats, spec, fit, shape.k));
        by_rows(layer, batch, |weights, shape| {
            let fits = fits(weights, shape, spec, fit, inputs.as_ref());
            GroupedTensor::quantize_with(spec, weights, shape, &fits).map(QuantTensor::from_grouped)
        })
    }

    fn makes_blocks(&self) -> bool {
        true
    }

    fn solve_blocks(
        &self,
        layer: &Layer<'_>,
        blocks: &Blocks,
        fit: &dyn Fit,
    ) -> Result<Quantized, SolveError> {
        let k = layer.weight.shape().k;
        let inputs = layer.stats.map(|stats| GroupInputs::new(stats, &blocks.spec, fit, k));
        by_rows(layer, BATCH_WEIGHTS / k.max(1), |weights, shape| {
            blocks.close(blocks.open(weights, shape, fit, inputs.as_ref()), weights, shape)
        })
    }
}

/// Rounds to floats.
pub(super) fn to_floats(layer: &Layer<'_>, spec: &WeightSpec) -> Result<Quantized, SolveError> {
    let batch = BATCH_WEIGHTS / layer.weight.shape().k.max(1);
    by_rows(layer, batch, |weights, shape| QuantTensor::quantize_nearest(spec, weights, shape))
}

/// What calibration knows of the inputs of every group of a row.
pub(super) struct GroupInputs {
    /// Mean square of every input.
    pub(super) importance: Vec<f32>,
    grams: Vec<Vec<f32>>,
    len: usize,
}

impl GroupInputs {
    pub(super) fn of_importance(importance: Vec<f32>, spec: &GroupedSpec, k: usize) -> Self {
        Self { importance, grams: Vec::new(), len: spec.levels()[0].shape.len_in_row(k) }
    }

    pub(super) fn new(stats: &InputStats, spec: &GroupedSpec, fit: &dyn Fit, k: usize) -> Self {
        let shape = spec.levels()[0].shape;
        let len = shape.len_in_row(k);
        let in_rows = !matches!(shape, GroupShape::Column(_));
        let wanted = in_rows && fit.needs().samples > 0 && !stats.samples.is_empty();
        let starts = (0..k).step_by(len.max(1)).filter(|_| wanted);
        let grams = starts.map(|start| stats.sampled_gram(start..(start + len).min(k))).collect();
        Self { importance: stats.mean_square.clone(), grams, len }
    }

    pub(super) fn of<'b>(&'b self, group: usize, weights: &'b [f32]) -> Group<'b> {
        let importance = &self.importance[group * self.len..][..weights.len()];
        let gram = self.grams.get(group).map(Vec::as_slice);
        Group { weights, importance: Some(importance), gram, unit: None }
    }
}

/// The fit of every group, in the order of rows.
pub(super) fn fits(
    weights: &[f32],
    shape: NK,
    spec: &GroupedSpec,
    fit: &dyn Fit,
    inputs: Option<&GroupInputs>,
) -> Vec<GroupFit> {
    let level = spec.levels()[0].shape;
    let fit_of = |(i, weights): (usize, std::borrow::Cow<'_, [f32]>)| {
        let (at, alone) = (i % level.per_row(shape.k), Group::new(&weights));
        match (level, inputs) {
            (GroupShape::Tensor, _) | (_, None) => fit.fit(spec, &alone),
            (GroupShape::Row | GroupShape::Group(_), Some(inputs)) => fit.fit(spec, &inputs.of(at, &weights)),
            (GroupShape::Column(_), Some(inputs)) => {
                // All of them meet the same input.
                let importance = vec![inputs.importance[at]; weights.len()];
                fit.fit(spec, &Group { importance: Some(&importance), ..alone })
            }
        }
    };
    level.groups(weights, shape).enumerate().map(fit_of).collect()
}

/// Decodes rows `batch` at a time, on all workers, and puts together what `round` makes of them.
pub(super) fn by_rows(
    layer: &Layer<'_>,
    batch: usize,
    round: impl Fn(&[f32], NK) -> Result<QuantTensor, FormatError> + Sync,
) -> Result<Quantized, SolveError> {
    let n = layer.weight.shape().n;
    let batches = (0..n).step_by(batch.max(1)).map(|start| start..(start + batch.max(1)).min(n));
    let done = share(layer.threads, batches, |rows| {
        let (weights, shape) = decode(layer.weight, rows)?;
        round(&weights, shape).map(|rounded| measured(&weights, &rounded))
    });
    let mut all = Quantized::default();
    for rows in done {
        all.append(rows?);
    }
    Ok(all)
}

/// The weights of a layer with their columns as they are stored.
pub(super) fn decode_stored(layer: &Layer<'_>, order: Option<&[u32]>) -> Result<Vec<f32>, FormatError> {
    let (weights, shape) = decode(layer.weight, 0..layer.weight.shape().n)?;
    Ok(match order {
        None => weights,
        Some(order) => weights.chunks_exact(shape.k).flat_map(|row| permuted(row, order)).collect(),
    })
}

/// A row with its columns in another order.
pub(super) fn permuted<'a>(row: &'a [f32], order: &'a [u32]) -> impl Iterator<Item = f32> + 'a {
    order.iter().map(|from| row[*from as usize])
}

/// Rows as floats, all of them finite.
pub(crate) fn decode(tensor: &QuantTensor, rows: Range<usize>) -> Result<(Vec<f32>, NK), FormatError> {
    let shape = NK { n: rows.len(), k: tensor.shape().k };
    let mut weights = vec![0.0; shape.weights()];
    for (n, row) in rows.clone().zip(weights.chunks_exact_mut(shape.k)) {
        tensor.decode_row(n, row);
    }
    match weights.iter().position(|w| !w.is_finite()) {
        None => Ok((weights, shape)),
        Some(i) => {
            let (n, k) = (rows.start + i / shape.k, i % shape.k);
            Err(FormatError::NotFinite { n, k, value: weights[i] })
        }
    }
}

/// A rounded matrix with its distance from the weights.
pub(super) fn measured(weights: &[f32], rounded: &QuantTensor) -> Quantized {
    let k = rounded.shape().k;
    let mut decoded = vec![0.0; k];
    let (mut squared_error, mut squared) = (0.0, 0.0);
    for (n, row) in weights.chunks_exact(k).enumerate() {
        rounded.decode_row(n, &mut decoded);
        for (w, d) in row.iter().zip(&decoded) {
            squared_error += f64::from(w - d).powi(2);
            squared += f64::from(*w).powi(2);
        }
    }
    let parts = rounded.parts().iter().map(|part| part.bytes().to_vec()).collect();
    let spec = Some(rounded.spec()).filter(|spec| matches!(spec, WeightSpec::Sum(_)));
    Quantized { parts, spec, order: None, squared_error, squared }
}
