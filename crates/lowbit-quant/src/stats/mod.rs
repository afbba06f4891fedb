//! What calibration collects of the inputs of a layer.

mod collector;
mod hessian;

pub(crate) use collector::Collector;
pub use hessian::{Factor, Hessian, NotDefinite};

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use std::sync::{Arc, Mutex, PoisonError};

/// What a part of a recipe asks to be collected; calibration takes the union. Magnitudes cost nothing and are always
/// there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Whether there must be any calibration at all.
    pub inputs: Inputs,
    /// Inputs of so many tokens, taken evenly from all.
    pub samples: usize,
    /// Whether all tokens count the same in sums of products, however large their inputs are.
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk, the more the fewer tokens there are for the inputs.
    pub shrink: bool,
}

/// Which sums over inputs are collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inputs {
    /// None: the part works from weights alone.
    #[default]
    None,
    /// Mean and largest magnitude and mean square of every column.
    Magnitudes,
    /// These and XᵀX.
    Hessian,
}

impl Needs {
    /// From weights alone.
    pub const NONE: Self = Self { inputs: Inputs::None, samples: 0, equal_tokens: false, shrink: false };

    /// What both ask for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            inputs: self.inputs.max(other.inputs),
            samples: self.samples.max(other.samples),
            equal_tokens: self.equal_tokens || other.equal_tokens,
            shrink: self.shrink || other.shrink,
        }
    }
}

/// What was collected of the inputs of one or several layers that share them, over all tokens of the calibration.
#[derive(Debug)]
pub struct InputStats {
    /// Tokens seen. Of an expert fewer than of the other layers, and possibly none.
    pub tokens: u64,
    /// Mean |x| of every column.
    pub abs_mean: Vec<f32>,
    /// Largest |x| of every column.
    pub abs_max: Vec<f32>,
    /// Mean x² of every column, of x over its root mean square where all tokens count the same.
    pub mean_square: Vec<f32>,
    /// Inputs of some tokens, row after row.
    pub samples: Vec<f32>,
    /// What each of these rows was multiplied by: 1, or what makes tokens count the same.
    pub sample_weights: Vec<f32>,
    hessian: Mutex<State>,
}

#[derive(Debug)]
enum State {
    None,
    Sums(Hessian),
    Factored { damp: f64, order: Vec<u32>, factor: Result<Arc<Factor>, NotDefinite> },
}

impl InputStats {
    pub(crate) fn new(
        tokens: u64,
        [abs_mean, abs_max, mean_square]: [Vec<f32>; 3],
        (samples, sample_weights): (Vec<f32>, Vec<f32>),
        hessian: Option<Hessian>,
    ) -> Self {
        let hessian = Mutex::new(hessian.map_or(State::None, State::Sums));
        Self { tokens, abs_mean, abs_max, mean_square, samples, sample_weights, hessian }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.abs_mean.len()
    }

    /// The factor of mean(xxᵀ): columns are taken in `order` (as they are where it is empty), and the diagonal is raised by
    /// `damp` times its mean. Layers that share inputs share it: it is made once, from sums that are given up for it.
    ///
    /// # Errors
    /// Where it is not positive definite however much the diagonal is raised.
    ///
    /// # Panics
    /// Where no Hessian was asked for, or it was factored before in another way.
    pub fn factor(&self, damp: f64, order: &[u32]) -> Result<Arc<Factor>, NotDefinite> {
        let mut state = self.hessian.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::None) {
            State::None => panic!("the part that factors a Hessian must ask for one"),
            State::Sums(hessian) => {
                let factor = hessian.factor(damp, order).map(Arc::new);
                *state = State::Factored { damp, order: order.to_vec(), factor: factor.clone() };
                factor
            }
            State::Factored { damp: made, order: by, factor } => {
                assert!(made == damp && by == order, "one factor for all layers that share inputs");
                let given = factor.clone();
                *state = State::Factored { damp: made, order: by, factor };
                given
            }
        }
    }

    /// A factor as [`Self::factor`] makes it, and its order: the one that was made before, else one of the columns as they are.
    ///
    /// # Errors
    /// As [`Self::factor`].
    ///
    /// # Panics
    /// Where no Hessian was asked for.
    pub fn any_factor(&self, damp: f64) -> Result<(Arc<Factor>, Vec<u32>), NotDefinite> {
        let made = match &*self.hessian.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Factored { order, factor, .. } => Some((factor.clone(), order.clone())),
            _ => None,
        };
        match made {
            Some((factor, order)) => Ok((factor?, order)),
            None => Ok((self.factor(damp, &[])?, Vec::new())),
        }
    }

    /// The statistics of x / `scales`, which is what layers see once their producer is divided by them.
    ///
    /// # Panics
    /// Where there is not one scale for each column, or the Hessian was factored already.
    pub(crate) fn divide(&mut self, scales: &[f32]) {
        assert_eq!(scales.len(), self.columns(), "a scale for every column");
        let each = |values: &mut [f32], power: i32| {
            values.iter_mut().zip(scales).for_each(|(x, s)| *x /= s.powi(power));
        };
        each(&mut self.abs_mean, 1);
        each(&mut self.abs_max, 1);
        each(&mut self.mean_square, 2);
        for row in self.samples.chunks_exact_mut(scales.len()) {
            row.iter_mut().zip(scales).for_each(|(x, s)| *x /= s);
        }
        match self.hessian.get_mut().unwrap_or_else(PoisonError::into_inner) {
            State::None => {}
            State::Sums(hessian) => hessian.divide(scales),
            State::Factored { .. } => panic!("inputs are scaled before anything is solved"),
        }
    }

    /// The statistics of x with its columns in another order.
    ///
    /// # Panics
    /// Where the order is not of as many columns, or the Hessian was factored already.
    pub(crate) fn permute(&mut self, order: &[u32]) {
        assert_eq!(order.len(), self.columns(), "a place for every column");
        let each = |values: &mut [f32]| {
            let before = values.to_vec();
            values.iter_mut().zip(order).for_each(|(x, from)| *x = before[*from as usize]);
        };
        [&mut self.abs_mean, &mut self.abs_max, &mut self.mean_square].into_iter().for_each(|x| each(x));
        self.samples.chunks_exact_mut(order.len()).for_each(each);
        match self.hessian.get_mut().unwrap_or_else(PoisonError::into_inner) {
            State::None => {}
            State::Sums(hessian) => hessian.permute(order),
            State::Factored { .. } => panic!("inputs are permuted before anything is solved"),
        }
    }

    /// Σ (e x)² over the sampled tokens and the rows e of an error, row after row.
    pub(crate) fn output_error(&self, error: &[f32]) -> f64 {
        let k = self.columns();
        let (tokens, rows) = (self.samples.len() / k, error.len() / k);
        let mut outputs = vec![0.0f32; tokens * rows];
        let inputs = MatRef::from_row_major_slice(&self.samples, tokens, k);
        let error = MatRef::from_row_major_slice(error, rows, k).transpose();
        let to = MatMut::from_column_major_slice_mut(&mut outputs, tokens, rows);
        matmul(to, Accum::Replace, inputs, error, 1.0, Par::Seq);
        outputs.iter().map(|y| f64::from(*y).powi(2)).sum()
    }

    /// Σ x xᵀ of the sampled tokens over the columns of a group, row after row.
    pub(crate) fn sampled_gram(&self, columns: std::ops::Range<usize>) -> Vec<f32> {
        let len = columns.len();
        let mut gram = vec![0.0; len * len];
        for row in self.samples.chunks_exact(self.columns().max(1)) {
            let row = &row[columns.clone()];
            for (x, gram) in row.iter().zip(gram.chunks_exact_mut(len)) {
                gram.iter_mut().zip(row).for_each(|(g, y)| *g += x * y);
            }
        }
        gram
    }
}
