//! A matrix before a column sweep, for those who choose what of it gets more bits.

use super::{
    Layer, SolveError,
    column_sweep::{Fits, Sweep, largest_first},
    nearest::decode,
};
use crate::{fit::Fit, stats::Factor};
use lowbit_format::{GroupedSpec, NK};
use std::sync::Arc;

/// A matrix of which some parts are to be stored with more bits than others.
pub struct Matrix<'a> {
    /// W, row after row.
    pub weights: &'a [f32],
    /// N and K.
    pub shape: NK,
    /// What it is rounded to.
    pub spec: &'a GroupedSpec,
    /// How groups are fitted.
    pub fit: &'a dyn Fit,
    /// Mean square of the inputs of every column.
    pub importance: &'a [f32],
    /// 1 / [H⁻¹]ⱼⱼ of every column j, of H without the columns that are rounded before it.
    pub curvature: &'a [f32],
    /// Workers, at least one.
    pub threads: usize,
}

/// A layer before a sweep in which columns with the largest inputs come first.
pub(super) struct Sorted<'a> {
    weights: Vec<f32>,
    shape: NK,
    importance: &'a [f32],
    order: Vec<u32>,
    factor: Arc<Factor>,
    curvature: Vec<f32>,
}

impl<'a> Sorted<'a> {
    /// # Panics
    /// Where the layer has no statistics with a Hessian.
    pub(super) fn of(layer: &Layer<'a>, damp: f64) -> Result<Self, SolveError> {
        let stats = layer.stats.expect("the driver collects what `needs` asks for");
        let (weights, shape) = decode(layer.weight, 0..layer.weight.shape().n)?;
        let order = largest_first(&stats.mean_square);
        let factor = stats.factor(damp, &order)?;
        let mut curvature = vec![0.0; shape.k];
        for (at, column) in order.iter().enumerate() {
            curvature[*column as usize] = factor.column(at)[at].powi(2);
        }
        Ok(Self { weights, shape, importance: &stats.mean_square, order, factor, curvature })
    }

    /// It as those see it who choose what gets more bits.
    pub(super) fn matrix<'b>(
        &'b self,
        layer: &Layer<'_>,
        spec: &'b GroupedSpec,
        fit: &'b dyn Fit,
    ) -> Matrix<'b> {
        let Self { weights, shape, importance, curvature, .. } = self;
        Matrix { weights, shape: *shape, spec, fit, importance, curvature, threads: layer.threads }
    }

    /// A plain sweep.
    pub(super) fn sweep<'b>(&'b self, spec: &'b GroupedSpec, fits: &'b Fits<'b>) -> Sweep<'b> {
        let (factor, order, k) = (&*self.factor, self.order.as_slice(), self.shape.k);
        Sweep { spec, factor, order, fits, k, kept: None, highest: None }
    }
}
