//! Column after column: each is rounded, and those after it make up for its error as far as the layer's inputs allow.
//!
//! With H = Σ x xᵀ = R Rᵀ, R upper triangular, and e = w − ŵ, what is lost is ‖e R‖². Column j of it is
//! Σ_{c<j} e_c R_cj + e_j R_jj, so that rounding w_j + Σ_{c<j} e_c R_cj / R_jj in place of w_j loses the least. That is
//! GPTQ's update of all later columns and LDLQ's feedback at once (they are the same): nothing is inverted, and errors are
//! gathered by a matrix product for a block of columns at a time.

use super::{
    Blocks, Layer, Quantized, Solve, SolveError,
    nearest::{GroupInputs, decode, fits, measured, permuted as in_order},
    share,
};
use crate::{
    fit::{Fit, Group, highest, round},
    stats::{Factor, Inputs, Needs},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::{GroupFit, GroupShape, GroupedSpec, GroupedTensor, NK, QuantTensor};
use std::sync::Arc;

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
    /// Likewise, but columns are stored in the order in which they were rounded, and groups are of columns that follow each
    /// other in it: the layer's input has to be permuted.
    Permuted,
}

/// Rounds column after column.
#[derive(Clone, Copy, Debug)]
pub struct ColumnSweep {
    /// What is added to the diagonal of H, in parts of its mean.
    pub damp: f64,
    /// The order.
    pub order: Order,
    /// Whether all tokens count the same in H, see [`Needs::equal_tokens`].
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk, see [`Needs::shrink`].
    pub shrink: bool,
}

impl Solve for ColumnSweep {
    fn name(&self) -> &'static str {
        "column sweep"
    }

    fn needs(&self) -> Needs {
        sweep_needs(self.equal_tokens, self.shrink)
    }

    fn accepts(&self, _: &GroupedSpec) -> Result<(), &'static str> {
        Ok(())
    }

    /// # Panics
    /// Where the layer has no statistics with a Hessian.
    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let ready = self.ready(layer, spec, fit)?;
        let (weights, shape) = (&ready.weights, layer.weight.shape());
        let known = given(weights, shape, spec, (fit, &ready.inputs), self.order).transpose()?;
        let fits = match &known {
            Some(fits) => Fits::Given(fits.iter().map(|fit| stored(spec, *fit)).collect()),
            None => Fits::AsTheyCome(fit, &ready.inputs.importance),
        };
        let Swept { rounded, chosen, .. } = ready.sweep(spec, &fits, layer);
        let chosen = known.unwrap_or(chosen);
        // Every weight is at a code's value now: rounding it again only finds the code.
        let made = GroupedTensor::quantize_with(spec, &rounded, shape, &chosen)?;
        Ok(ready.measured(&QuantTensor::from_grouped(made)))
    }

    fn makes_blocks(&self) -> bool {
        true
    }

    /// # Panics
    /// As [`Self::solve`].
    fn solve_blocks(
        &self,
        layer: &Layer<'_>,
        blocks: &Blocks,
        fit: &dyn Fit,
    ) -> Result<Quantized, SolveError> {
        let ready = self.ready(layer, &blocks.spec, fit)?;
        let shape = layer.weight.shape();
        let opened = blocks.open(&ready.weights, shape, fit, Some(&ready.inputs));
        let fits = Fits::Given(opened.fits.clone());
        let Swept { rounded, .. } = ready.sweep(&blocks.spec, &fits, layer);
        Ok(ready.measured(&blocks.close(opened, &rounded, shape)?))
    }
}

/// A layer before its sweep.
struct Ready {
    /// Columns as they will be stored.
    weights: Vec<f32>,
    inputs: GroupInputs,
    factor: Arc<Factor>,
    /// The columns in the order of the sweep, empty for the natural one.
    order: Vec<u32>,
    /// Whether they are stored in it.
    permuted: bool,
}

impl ColumnSweep {
    fn ready(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Ready, SolveError> {
        let stats = layer.stats.expect("the driver collects what `needs` asks for");
        let shape = layer.weight.shape();
        let (mut weights, _) = decode(layer.weight, 0..shape.n)?;
        let order = match self.order {
            Order::Natural => Vec::new(),
            Order::LargestFirst | Order::Permuted => largest_first(&stats.mean_square),
        };
        let factor = stats.factor(self.damp, &order)?;
        let mut inputs = GroupInputs::new(stats, spec, fit, shape.k);
        let permuted = self.order == Order::Permuted;
        if permuted {
            weights = weights.chunks_exact(shape.k).flat_map(|row| in_order(row, &order)).collect();
            inputs =
                GroupInputs::of_importance(in_order(&stats.mean_square, &order).collect(), spec, shape.k);
        }
        Ok(Ready { weights, inputs, factor, order, permuted })
    }
}

impl Ready {
    fn sweep(&self, spec: &GroupedSpec, fits: &Fits<'_>, layer: &Layer<'_>) -> Swept {
        let order = if self.permuted { &[][..] } else { &self.order };
        let k = layer.weight.shape().k;
        let sweep = Sweep { spec, factor: &self.factor, order, fits, k, kept: None, highest: None };
        sweep.all(&self.weights, layer.threads)
    }

    fn measured(self, made: &QuantTensor) -> Quantized {
        let measured = measured(&self.weights, made);
        Quantized { order: self.permuted.then_some(self.order), ..measured }
    }
}

/// What every sweep must know of inputs.
pub(super) fn sweep_needs(equal_tokens: bool, shrink: bool) -> Needs {
    Needs { inputs: Inputs::Hessian, samples: 0, equal_tokens, shrink }
}

/// Columns by falling mean square; of equal ones the first comes first.
pub(super) fn largest_first(mean_square: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..mean_square.len() as u32).collect();
    order.sort_by(|a, b| mean_square[*b as usize].total_cmp(&mean_square[*a as usize]).then(a.cmp(b)));
    order
}

/// Where scales and zero points come from.
pub(super) enum Fits<'a> {
    /// They were chosen before; as they are stored.
    Given(Vec<GroupFit>),
    /// From the weights of a group as they are when the sweep reaches it, and the mean squares of all inputs.
    AsTheyCome(&'a dyn Fit, &'a [f32]),
}

/// Scales that must be known before the sweep begins: where columns of a group are not visited together, where a group
/// is as long as a row (there is nothing before it that could have changed it) and where scales have a second level,
/// which is known only when all are.
fn given(
    weights: &[f32],
    shape: NK,
    spec: &GroupedSpec,
    (fit, inputs): (&dyn Fit, &GroupInputs),
    order: Order,
) -> Option<Result<Vec<GroupFit>, SolveError>> {
    let as_they_come = match spec.levels()[0].shape {
        GroupShape::Group(size) => {
            (size as usize) < shape.k && order != Order::LargestFirst && spec.levels().len() == 1
        }
        // A column is reached at once.
        GroupShape::Column(_) => true,
        GroupShape::Row | GroupShape::Tensor => false,
    };
    if as_they_come {
        return None;
    }
    let fits = fits(weights, shape, spec, fit, Some(inputs));
    if spec.levels().len() == 1 {
        return Some(Ok(fits));
    }
    let of_both_levels = || {
        let made = GroupedTensor::quantize_with(spec, weights, shape, &fits)?;
        Ok((0..shape.n).flat_map(|n| made.stored_fits(n)).collect())
    };
    Some(of_both_levels())
}

/// A fit as it is stored. With two levels the scale depends on its neighbours: those that are given are stored ones.
pub(super) fn stored(spec: &GroupedSpec, fit: GroupFit) -> GroupFit {
    if spec.levels().len() == 1 { spec.stored(fit) } else { fit }
}

pub(super) struct Sweep<'a> {
    pub(super) spec: &'a GroupedSpec,
    pub(super) factor: &'a Factor,
    /// Empty for the natural one.
    pub(super) order: &'a [u32],
    pub(super) fits: &'a Fits<'a>,
    pub(super) k: usize,
    /// For every weight whether it is kept beside the codes: what its code leaves of it is then no error.
    pub(super) kept: Option<&'a [bool]>,
    /// The largest code of every group of columns, where they differ.
    pub(super) highest: Option<&'a [f32]>,
}

/// What a sweep makes of rows.
#[derive(Default)]
pub(super) struct Swept {
    /// The values that the codes stand for, in the order of columns.
    pub(super) rounded: Vec<f32>,
    /// The fits, where they were not given.
    pub(super) chosen: Vec<GroupFit>,
    /// What codes leave of the weights that are kept, by their place, row after row.
    pub(super) left: Vec<(usize, f32)>,
}

impl Sweep<'_> {
    /// Rounds all rows.
    pub(super) fn all(&self, weights: &[f32], threads: usize) -> Swept {
        let k = self.k;
        let n = weights.len() / k;
        let together = match self.spec.levels()[0].shape {
            GroupShape::Column(size) => ROWS.next_multiple_of(size as usize),
            _ => ROWS,
        };
        let swept = share(threads, (0..n).step_by(together), |start| {
            let rows = start..(start + together).min(n);
            self.rows(&weights[rows.start * k..rows.end * k], rows.start)
        });
        let mut all = Swept { rounded: Vec::with_capacity(weights.len()), ..Swept::default() };
        for rows in swept {
            all.rounded.extend(rows.rounded);
            all.chosen.extend(rows.chosen);
            all.left.extend(rows.left);
        }
        all
    }

    /// Rounds some rows, of which `first` is the first one's number.
    fn rows(&self, weights: &[f32], first: usize) -> Swept {
        let (k, count) = (self.k, weights.len() / self.k);
        let shape = self.spec.levels()[0].shape;
        let len = shape.len_in_row(k);
        let of_all = highest(self.spec);
        let column = |c: usize| if self.order.is_empty() { c } else { self.order[c] as usize };
        // Blocks are whole groups where groups are short, and parts of one group where scales are known.
        let block = if len <= BLOCK { BLOCK / len * len } else { BLOCK };
        let block = if matches!(self.fits, Fits::AsTheyCome(..)) { block.max(len) } else { block };
        let mut rounded = vec![0.0; weights.len()];
        let mut left = Vec::new();
        let mut chosen = vec![GroupFit { scale: 0.0, zero: 0.0 }; shape.rows(count) * k.div_ceil(len)];
        // Those of the group that the sweep is in, as they are stored.
        let mut here = vec![GroupFit { scale: 0.0, zero: 0.0 }; count];
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
                let from = column(at);
                if let Fits::AsTheyCome(fit, importance) = self.fits
                    && at.is_multiple_of(len)
                {
                    let ahead = &feedback[j * count..(j + len.min(width - j)) * count];
                    let fits = self.fit_group(weights, ahead, (at, from), (*fit, importance));
                    for (i, fit) in fits.iter().enumerate() {
                        chosen[i * k.div_ceil(len) + from / len] = *fit;
                    }
                    for (m, here) in here.iter_mut().enumerate() {
                        *here = stored(self.spec, fits[shape.row(m)]);
                    }
                }
                let diagonal = self.factor.column(at)[at];
                let highest = self.highest.map_or(of_all, |highest| highest[from / len]);
                for m in 0..count {
                    let w = weights[m * k + from];
                    let fit = match self.fits {
                        Fits::AsTheyCome(..) => here[m],
                        Fits::Given(fits) => self.given(fits, first + m, from / len),
                    };
                    let best = w + feedback[j * count + m] / diagonal;
                    let nearest = if fit.scale == 0.0 { 0.0 } else { round(best, fit, highest) };
                    rounded[m * k + from] = nearest;
                    let place = (first + m) * k + from;
                    errors[at * count + m] = if self.kept.is_some_and(|kept| kept[place]) {
                        left.push((place, best - nearest));
                        w - best
                    } else {
                        w - nearest
                    };
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
        left.sort_by_key(|(place, _)| *place);
        Swept { rounded, chosen, left }
    }

    fn given(&self, fits: &[GroupFit], n: usize, group: usize) -> GroupFit {
        match self.spec.levels()[0].shape {
            GroupShape::Tensor => fits[0],
            shape => fits[shape.row(n) * shape.per_row(self.k) + group],
        }
    }

    /// The fits of the group of columns that begins at `start`, one for each row or panel of rows, from its weights as they would be
    /// best after what was rounded already: x R₂₂ = e R₁₂ solved for the change x of the columns from `start` on, of which
    /// the group is the first. `ahead` is e R₁₂ of the group, `from` where its weights are.
    fn fit_group(
        &self,
        weights: &[f32],
        ahead: &[f32],
        (start, from): (usize, usize),
        (fit, importance): (&dyn Fit, &[f32]),
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
        let best = |m: usize, j: usize| weights[m * k + from + j] + change[j * count + m];
        let (panel, importance) = match self.spec.levels()[0].shape {
            GroupShape::Column(size) => ((size as usize).min(count), vec![importance[from]; size as usize]),
            _ => (1, importance[from..from + len].to_vec()),
        };
        let fits = (0..count).step_by(panel).map(|first| {
            let rows = first..(first + panel).min(count);
            let group: Vec<f32> =
                rows.flat_map(|m| (0..len).map(move |j| (m, j))).map(|(m, j)| best(m, j)).collect();
            let importance = Some(&importance[..group.len()]);
            fit.fit(self.spec, &Group { importance, ..Group::new(&group) })
        });
        fits.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fit::Range,
        solve::Nearest,
        stats::{Collector, InputStats},
    };
    use lowbit_format::{Storage, WeightSpec};
    use lowbit_kernels::MatRef;
    use lowbit_testing::seeded_values;

    const DAMP: f64 = 0.01;
    const SHAPE: NK = NK { n: 70, k: 192 };

    /// Inputs whose columns go together, and are of very different size.
    fn inputs(tokens: usize, k: usize) -> Vec<f32> {
        let free = seeded_values("free", tokens * k, 1.0, 0.0);
        let mut x = free.clone();
        for (x, free) in x.chunks_exact_mut(k).zip(free.chunks_exact(k)) {
            for j in 0..k {
                x[j] = (0.6 * free[j] + 0.3 * free[(j * 7 + 1) % k] + 0.3 * free[j / 4]) * (1 + j % 9) as f32;
            }
        }
        x
    }

    fn stats(x: &[f32], k: usize) -> InputStats {
        let needs = Needs { inputs: Inputs::Hessian, ..Needs::NONE };
        let mut collector = Collector::new(k, needs, (x.len() / k) as u64, 2);
        collector.add(MatRef::new(x, x.len() / k, k));
        collector.finish()
    }

    fn grouped(label: &str) -> GroupedSpec {
        match WeightSpec::parse(label).unwrap() {
            WeightSpec::Grouped(spec) => spec,
            other => panic!("{other} is not grouped"),
        }
    }

    fn tensor_of(spec: &GroupedSpec, shape: NK, parts: &[Vec<u8>]) -> QuantTensor {
        let parts = parts.iter().map(|part| Storage::from(part.clone()));
        QuantTensor::from_parts(&WeightSpec::Grouped(spec.clone()), shape, parts).unwrap()
    }

    /// GPTQ as its paper has it (algorithm 1 without its blocks), in double precision: the inverse of H, its upper
    /// Cholesky factor, and every later column changed after each. Scales of a group are taken when it is reached, or from
    /// the weights as they were. Gives the values of the codes, of one row.
    fn paper(w: &[f32], x: &[f32], spec: &GroupedSpec, order: Order) -> Vec<f32> {
        let k = w.len();
        let tokens = x.len() / k;
        let mut columns: Vec<usize> = (0..k).collect();
        let square = |c: usize| (0..tokens).map(|t| f64::from(x[t * k + c]).powi(2)).sum::<f64>();
        if order != Order::Natural {
            columns.sort_by(|a, b| square(*b).total_cmp(&square(*a)));
        }
        let h = |i: usize, j: usize| {
            let (i, j) = (columns[i], columns[j]);
            (0..tokens).map(|t| f64::from(x[t * k + i]) * f64::from(x[t * k + j])).sum::<f64>()
        };
        let mean = (0..k).map(|i| h(i, i)).sum::<f64>() / k as f64;
        let mut a: Vec<Vec<f64>> = (0..k).map(|i| (0..k).map(|j| h(i, j)).collect()).collect();
        (0..k).for_each(|i| a[i][i] += DAMP * mean);
        let u = upper_cholesky(&inverse(a));
        let mut w_now: Vec<f64> = columns.iter().map(|c| f64::from(w[*c])).collect();
        let mut out = vec![0.0; k];
        let len = spec.levels()[0].shape.len_in_row(k);
        let mut fit = GroupFit { scale: 0.0, zero: 0.0 };
        for i in 0..k {
            let at = columns[i];
            if order == Order::LargestFirst {
                let start = at / len * len;
                fit = spec.stored(GroupFit::of_range(spec.element(), &w[start..start + len]));
            } else if i % len == 0 {
                let group: Vec<f32> = w_now[i..i + len].iter().map(|w| *w as f32).collect();
                fit = spec.stored(GroupFit::of_range(spec.element(), &group));
            }
            let to = if order == Order::Permuted { i } else { at };
            out[to] = round(w_now[i] as f32, fit, highest(spec));
            let error = (w_now[i] - f64::from(out[to])) / u[i][i];
            (i..k).for_each(|j| w_now[j] -= error * u[i][j]);
        }
        out
    }

    fn inverse(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let k = a.len();
        let mut b: Vec<Vec<f64>> = (0..k).map(|i| (0..k).map(|j| f64::from(i == j)).collect()).collect();
        for i in 0..k {
            let pivot = a[i][i];
            (0..k).for_each(|j| (a[i][j], b[i][j]) = (a[i][j] / pivot, b[i][j] / pivot));
            for other in (0..k).filter(|other| *other != i) {
                let factor = a[other][i];
                (0..k).for_each(|j| {
                    a[other][j] -= factor * a[i][j];
                    b[other][j] -= factor * b[i][j];
                });
            }
        }
        b
    }

    /// U with A = Uᵀ U.
    fn upper_cholesky(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let k = a.len();
        let mut u = vec![vec![0.0; k]; k];
        for i in 0..k {
            for j in i..k {
                let known: f64 = (0..i).map(|c| u[c][i] * u[c][j]).sum();
                u[i][j] = if i == j { (a[i][i] - known).sqrt() } else { (a[i][j] - known) / u[i][i] };
            }
        }
        u
    }

    #[test]
    fn codes_are_those_of_the_papers_algorithm() {
        let k = 64;
        let shape = NK { n: 9, k };
        let x = inputs(150, k);
        let weights = seeded_values("rows", shape.weights(), 0.1, 0.0);
        let tensor =
            QuantTensor::quantize_nearest(&WeightSpec::parse("f32").unwrap(), &weights, shape).unwrap();
        for label in ["int4-asym-g16-f32", "int2-sym-g32-f32", "int3-asym-row-f32"] {
            for order in [Order::Natural, Order::LargestFirst, Order::Permuted] {
                let (spec, stats) = (grouped(label), stats(&x, k));
                let layer = Layer { weight: &tensor, stats: Some(&stats), threads: 2 };
                let made = ColumnSweep { damp: DAMP, order, equal_tokens: false, shrink: false }
                    .solve(&layer, &spec, &Range)
                    .unwrap();
                let made = tensor_of(&spec, shape, &made.parts);
                for (n, row) in weights.chunks_exact(k).enumerate() {
                    let mut found = vec![0.0; k];
                    made.decode_row(n, &mut found);
                    let expected = paper(row, &x, &spec, order);
                    // Scales may differ in their last bits, which comes from single precision before them.
                    let off = found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
                    assert_eq!(off, 0, "{label} {order:?} row {n}");
                }
            }
        }
    }

    /// ‖(W − Ŵ) X‖².
    fn output_error(weights: &[f32], parts: &[Vec<u8>], spec: &GroupedSpec, x: &[f32]) -> f64 {
        let made = tensor_of(spec, SHAPE, parts);
        let mut decoded = vec![0.0; SHAPE.k];
        let mut lost = 0.0;
        for (n, row) in weights.chunks_exact(SHAPE.k).enumerate() {
            made.decode_row(n, &mut decoded);
            for x in x.chunks_exact(SHAPE.k) {
                let y: f64 = (0..SHAPE.k).map(|i| f64::from(row[i] - decoded[i]) * f64::from(x[i])).sum();
                lost += y * y;
            }
        }
        lost
    }

    #[test]
    fn outputs_lose_less_than_by_nearest_codes_whatever_the_format_and_threads_change_nothing() {
        let x = inputs(300, SHAPE.k);
        let weights = seeded_values("weights", SHAPE.weights(), 0.1, 0.01);
        let tensor =
            QuantTensor::quantize_nearest(&WeightSpec::parse("f32").unwrap(), &weights, SHAPE).unwrap();
        let labels = [
            "int4-asym-g32",
            "int3-sym-g64",
            "int2-fzero-row",
            "int3-asym-g24",
            "int4-sym-row",
            "int8-asym-g96",
            "int1-sym-g32",
            "ternary-row",
            "ternary-tensor-f32",
            "int4-asym-g16-int6-g192",
            "int3-asym-c32",
            "int4-sym-c20",
        ];
        for label in labels {
            let spec = grouped(label);
            let solve = |solve: &dyn Solve, threads: usize| {
                let stats = stats(&x, SHAPE.k);
                let layer = Layer { weight: &tensor, stats: Some(&stats), threads };
                solve.solve(&layer, &spec, &Range).unwrap().parts
            };
            let nearest = output_error(&weights, &solve(&Nearest, 1), &spec, &x);
            for order in [Order::Natural, Order::LargestFirst] {
                let sweep = ColumnSweep { damp: DAMP, order, equal_tokens: false, shrink: false };
                let made = solve(&sweep, 1);
                let lost = output_error(&weights, &made, &spec, &x);
                assert!(lost < 0.9 * nearest, "{label} {order:?} {lost} {nearest}");
                assert_eq!(made, solve(&sweep, 3), "{label} {order:?}");
            }
        }
    }
}
