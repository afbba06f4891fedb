//! Column after column: each is rounded, and those after it make up for its error as far as the layer's inputs allow.
//!
//! With H = Σ x xᵀ = R Rᵀ, R upper triangular, and e = w − ŵ, what is lost is ‖e R‖². Column j of it is
//! Σ_{c<j} e_c R_cj + e_j R_jj, so that rounding w_j + Σ_{c<j} e_c R_cj / R_jj in place of w_j loses the least. That is
//! GPTQ's update of all later columns and LDLQ's feedback at once (they are the same): nothing is inverted, and errors are
//! gathered by a matrix product for a block of columns at a time.

use super::{
    Layer, Quantized, Solve, SolveError,
    nearest::{GroupInputs, decode, fits, measured},
    share,
};
use crate::{
    fit::{Fit, Group, highest, round},
    stats::{Factor, InputStats, Inputs, Needs},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::{GroupFit, GroupShape, GroupedSpec, GroupedTensor, NK, QuantTensor};

/// Rows that are swept together.
const ROWS: usize = 64;
/// Columns whose errors are gathered by one matrix product, about.
const BLOCK: usize = 128;

/// The order in which columns are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last.
    Natural,
    /// Those with the largest inputs first (act-order); every group's scale is chosen before, from the weights as they
    /// were ("static groups"), so that columns stay where they are.
    LargestFirst,
}

/// Rounds column after column.
#[derive(Clone, Copy, Debug)]
pub struct ColumnSweep {
    /// What is added to the diagonal of H, in parts of its mean.
    pub damp: f64,
    /// The order.
    pub order: Order,
}

impl Solve for ColumnSweep {
    fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Hessian, samples: 0 }
    }

    /// # Panics
    /// Where the layer has no statistics with a Hessian.
    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let stats = layer.stats.expect("the driver collects what `needs` asks for");
        let shape = layer.weight.shape();
        let (weights, _) = decode(layer.weight, 0..shape.n)?;
        let order = match self.order {
            Order::Natural => Vec::new(),
            Order::LargestFirst => largest_first(&stats.mean_square),
        };
        let factor = stats.factor(self.damp, &order)?;
        let fits = match given(&weights, shape, spec, fit, stats, self.order) {
            Some(fits) => Fits::Given(fits?),
            None => Fits::AsTheyCome(fit, stats),
        };
        let sweep = Sweep { spec, factor: &factor, order: &order, fits: &fits, k: shape.k };
        let starts = (0..shape.n).step_by(ROWS);
        let swept = share(layer.threads, starts, |start| {
            let rows = start..(start + ROWS).min(shape.n);
            sweep.rows(&weights[rows.start * shape.k..rows.end * shape.k], rows.start)
        });
        let (mut rounded, mut chosen) = (Vec::with_capacity(weights.len()), Vec::new());
        for (rows, fits) in swept {
            rounded.extend(rows);
            chosen.extend(fits);
        }
        if let Fits::Given(stored) = fits {
            chosen = stored;
        }
        // Every weight is at a code's value now: rounding it again only finds the code.
        let made = GroupedTensor::quantize_with(spec, &rounded, shape, &chosen)?;
        Ok(measured(&weights, &QuantTensor::from_grouped(made)))
    }
}

/// Columns by falling mean square; of equal ones the first comes first.
fn largest_first(mean_square: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..mean_square.len() as u32).collect();
    order.sort_by(|a, b| mean_square[*b as usize].total_cmp(&mean_square[*a as usize]).then(a.cmp(b)));
    order
}

/// Where scales and zero points come from.
enum Fits<'a> {
    /// They were chosen before.
    Given(Vec<GroupFit>),
    /// From the weights of a group as they are when the sweep reaches it.
    AsTheyCome(&'a dyn Fit, &'a InputStats),
}

/// Scales that must be known before the sweep begins: where columns of a group are not visited together, where a group
/// is as long as a row (there is nothing before it that could have changed it) and where scales have a second level,
/// which is known only when all are.
fn given(
    weights: &[f32],
    shape: NK,
    spec: &GroupedSpec,
    fit: &dyn Fit,
    stats: &InputStats,
    order: Order,
) -> Option<Result<Vec<GroupFit>, SolveError>> {
    let grouped = matches!(spec.levels()[0].shape, GroupShape::Group(size) if (size as usize) < shape.k);
    if grouped && order == Order::Natural && spec.levels().len() == 1 {
        return None;
    }
    let inputs = GroupInputs::new(stats, spec, fit, shape.k);
    let fits = fits(weights, shape, spec, fit, Some(&inputs));
    if spec.levels().len() == 1 {
        return Some(Ok(fits));
    }
    let stored = || {
        let made = GroupedTensor::quantize_with(spec, weights, shape, &fits)?;
        Ok((0..shape.n).flat_map(|n| made.stored_fits(n)).collect())
    };
    Some(stored())
}

struct Sweep<'a> {
    spec: &'a GroupedSpec,
    factor: &'a Factor,
    /// Empty for the natural one.
    order: &'a [u32],
    fits: &'a Fits<'a>,
    k: usize,
}

impl Sweep<'_> {
    /// Rounds some rows, of which `first` is the first one's number. Gives the values that the codes stand for, in the
    /// order of columns, and the fits where they were not given.
    fn rows(&self, weights: &[f32], first: usize) -> (Vec<f32>, Vec<GroupFit>) {
        let (k, count) = (self.k, weights.len() / self.k);
        let len = self.spec.levels()[0].shape.len_in_row(k);
        let highest = highest(self.spec);
        let column = |c: usize| if self.order.is_empty() { c } else { self.order[c] as usize };
        // Blocks are whole groups where groups are short, and parts of one group where scales are known.
        let block = if len <= BLOCK { BLOCK / len * len } else { BLOCK };
        let block = if matches!(self.fits, Fits::AsTheyCome(..)) { block.max(len) } else { block };
        let mut rounded = vec![0.0; weights.len()];
        let mut chosen = vec![GroupFit { scale: 0.0, zero: 0.0 }; count * k.div_ceil(len)];
        // Both column after column, as the product wants them.
        let mut errors = vec![0.0f32; weights.len()];
        let mut feedback = vec![0.0f32; block * count];
        let r = self.factor.matrix();
        for start in (0..k).step_by(block) {
            let width = block.min(k - start);
            let feedback = &mut feedback[..width * count];
            feedback.fill(0.0);
            if start > 0 {
                let before = MatRef::from_column_major_slice(&errors[..start * count], count, start);
                let passed_on = r.submatrix(0, start, start, width);
                let to = MatMut::from_column_major_slice_mut(feedback, count, width);
                matmul(to, Accum::Replace, before, passed_on, 1.0, Par::Seq);
            }
            for j in 0..width {
                let at = start + j;
                if let Fits::AsTheyCome(fit, stats) = self.fits
                    && at.is_multiple_of(len)
                {
                    let ahead = &feedback[j * count..(j + len.min(width - j)) * count];
                    let fits = self.fit_group(weights, ahead, at, (*fit, stats));
                    for (m, fit) in fits.into_iter().enumerate() {
                        chosen[m * k.div_ceil(len) + at / len] = fit;
                    }
                }
                let diagonal = self.factor.column(at)[at];
                let from = column(at);
                for m in 0..count {
                    let w = weights[m * k + from];
                    let fit = match self.fits {
                        Fits::AsTheyCome(..) => chosen[m * k.div_ceil(len) + at / len],
                        Fits::Given(fits) => self.given(fits, first + m, from / len),
                    };
                    let fit = if self.spec.levels().len() == 1 { self.spec.stored(fit) } else { fit };
                    let nearest = if fit.scale == 0.0 {
                        0.0
                    } else {
                        round(w + feedback[j * count + m] / diagonal, fit, highest)
                    };
                    rounded[m * k + from] = nearest;
                    errors[at * count + m] = w - nearest;
                }
                let error = &errors[at * count..][..count];
                for later in j + 1..width {
                    let passed_on = self.factor.column(start + later)[at];
                    let feedback = &mut feedback[later * count..][..count];
                    feedback.iter_mut().zip(error).for_each(|(f, e)| *f += e * passed_on);
                }
            }
        }
        if matches!(self.fits, Fits::Given(_)) {
            chosen.clear();
        }
        (rounded, chosen)
    }

    fn given(&self, fits: &[GroupFit], n: usize, group: usize) -> GroupFit {
        match self.spec.levels()[0].shape {
            GroupShape::Tensor => fits[0],
            shape => fits[n * shape.per_row(self.k) + group],
        }
    }

    /// The fits of the group of columns that begins at `start`, one for each row, from its weights as they would be best
    /// after what was rounded already: x R₂₂ = e R₁₂ solved for the change x of the columns from `start` on, of which
    /// the group is the first. `ahead` is e R₁₂ of the group.
    fn fit_group(
        &self,
        weights: &[f32],
        ahead: &[f32],
        start: usize,
        (fit, stats): (&dyn Fit, &InputStats),
    ) -> Vec<GroupFit> {
        let (k, count) = (self.k, weights.len() / self.k);
        let len = ahead.len() / count;
        let mut change = ahead.to_vec();
        for j in 0..len {
            let column = self.factor.column(start + j);
            let (before, rest) = change.split_at_mut(j * count);
            let this = &mut rest[..count];
            for (c, x) in before.chunks_exact(count).enumerate() {
                let r = column[start + c];
                this.iter_mut().zip(x).for_each(|(this, x)| *this -= x * r);
            }
            this.iter_mut().for_each(|x| *x /= column[start + j]);
        }
        let mut group = vec![0.0; len];
        let importance = Some(&stats.mean_square[start..start + len]);
        let fits = (0..count).map(|m| {
            for (j, w) in group.iter_mut().enumerate() {
                *w = weights[m * k + start + j] + change[j * count + m];
            }
            fit.fit(self.spec, &Group { weights: &group, importance, gram: None })
        });
        fits.collect()
    }
}
