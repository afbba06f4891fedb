//! Large inputs split into several smaller ones, and similar ones merged, so that there are as many as before.

use super::{Place, movable};
use crate::{
    QuantError,
    driver::Work,
    solve::{SolveError, share},
    stats::{Collector, InputStats, Inputs, Needs},
};
use faer::{Accum, Mat, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::{ActSpec, GroupedSpec, GroupedTensor, NK, OnlineOp, WeightSpec};

/// Rows that are one task.
const ROWS: usize = 64;

/// Splits inputs above a threshold into equal parts and adds up pairs that differ least, at every place of a block. The threshold is the
/// one that loses the least of the outputs on some tokens, inputs and weights rounded.
#[derive(Clone, Copy, Debug)]
pub struct Reassemble {
    /// Tokens that it is tried on.
    pub samples: usize,
    /// How inputs are rounded when the model runs.
    pub activations: Option<ActSpec>,
}

/// What is made of the inputs of a layer: for every column the pair that is averaged, of a split input itself and itself, and in how
/// many equal parts it is.
#[derive(Clone, Debug, PartialEq)]
struct Assembly {
    pairs: Vec<[u32; 2]>,
    parts: Vec<u32>,
}

/// The layers that read at a place.
struct Readers {
    /// Their weights, row after row, and what they will be rounded to.
    layers: Vec<(Vec<f32>, GroupedSpec)>,
    k: usize,
    threads: usize,
}

impl Reassemble {
    pub(crate) fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, samples: self.samples, equal_tokens: false, ..Needs::NONE }
    }

    /// Changes the layers that read at a place, and the statistics of what they read, which are then those of the sampled tokens.
    pub(crate) fn fold(
        &self,
        work: &mut Work<'_>,
        place: Place,
        stats: &mut InputStats,
        (needs, threads): (Needs, usize),
    ) -> Result<(), QuantError> {
        let (names, k) = (movable(work, place), stats.columns());
        let mut layers = Vec::new();
        for name in &names {
            if let Some(WeightSpec::Grouped(spec)) = work.spec_of(name).cloned() {
                layers.push((work.decoded(name)?.0, spec));
            }
        }
        let Some(tensor) = names.first().cloned() else { return Ok(()) };
        let readers = Readers { layers, k, threads };
        let best = self.best(&readers, stats);
        let best = best.map_err(|error| QuantError::Solve { tensor, error })?;
        let Some(best) = best else { return Ok(()) };
        let ops = best.ops();
        for name in names {
            work.edit(&name, |row| row.copy_from_slice(&best.weights(row)))?;
            let before = work.input(&name).to_vec();
            work.set_input(&name, before.into_iter().chain(ops.clone()).collect());
        }
        let inputs = best.inputs(&stats.samples);
        let tokens = inputs.len() / k;
        let mut collector = Collector::new(k, needs, tokens as u64, threads);
        collector.add(lowbit_kernels::MatRef::new(&inputs, tokens, k));
        *stats = collector.finish();
        Ok(())
    }

    /// The assembly that loses the least, `None` where that is none at all.
    fn best(&self, readers: &Readers, stats: &InputStats) -> Result<Option<Assembly>, SolveError> {
        let k = readers.k;
        let outputs = readers.layers.iter().map(|(weights, _)| {
            share(readers.threads, weights.chunks(ROWS * k), |rows| product(&stats.samples, rows, k))
        });
        let outputs: Vec<Vec<Vec<f32>>> = outputs.collect();
        let as_it_is = Assembly { pairs: (0..k as u32).map(|i| [i, i]).collect(), parts: vec![1; k] };
        let lost = |assembly: &Assembly| self.lost(readers, (&stats.samples, &outputs), assembly);
        let (mut least, mut best) = (lost(&as_it_is)?, None);
        let differences = Differences::new(readers, &stats.samples);
        // So many inputs more by splitting, which as many pairs make up for.
        for more in std::iter::successors(Some(1), |more| Some(2 * more)).take_while(|more| *more <= k / 8) {
            let Some(assembly) = assembly(&stats.abs_max, more, &differences) else { continue };
            let lost = lost(&assembly)?;
            if lost < least {
                (least, best) = (lost, Some(assembly));
            }
        }
        Ok(best)
    }

    /// Σ (W x − Q(W') Q(x'))² over the sampled tokens and all readers.
    fn lost(
        &self,
        readers: &Readers,
        (samples, outputs): (&[f32], &[Vec<Vec<f32>>]),
        assembly: &Assembly,
    ) -> Result<f64, SolveError> {
        let k = readers.k;
        let mut inputs = assembly.inputs(samples);
        inputs.chunks_exact_mut(k).for_each(|row| round_token(row, self.activations));
        let mut lost = 0.0;
        for ((weights, spec), expected) in readers.layers.iter().zip(outputs) {
            let tasks = weights.chunks(ROWS * k).zip(expected);
            let of_rows = share(readers.threads, tasks, |(rows, expected)| {
                let changed: Vec<f32> = rows.chunks_exact(k).flat_map(|row| assembly.weights(row)).collect();
                let made = GroupedTensor::quantize_nearest(spec, &changed, NK { n: rows.len() / k, k })?;
                let mut decoded = vec![0.0; rows.len()];
                decoded.chunks_exact_mut(k).enumerate().for_each(|(n, row)| made.decode_row(n, row));
                let found = product(&inputs, &decoded, k);
                Ok::<_, SolveError>(
                    found.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>(),
                )
            });
            for rows in of_rows {
                lost += rows?;
            }
        }
        Ok(lost)
    }
}

impl Assembly {
    /// What is done to the inputs when the model runs.
    fn ops(&self) -> [OnlineOp; 2] {
        let scales = self.parts.iter().map(|parts| 0.5 / *parts as f32).collect();
        [OnlineOp::Pairs(self.pairs.clone()), OnlineOp::Scale(scales)]
    }

    /// Rows of inputs as they become.
    fn inputs(&self, rows: &[f32]) -> Vec<f32> {
        let (ops, k) = (self.ops(), self.pairs.len());
        let (mut rows, mut scratch) = (rows.to_vec(), vec![0.0; k]);
        for row in rows.chunks_exact_mut(k) {
            ops.iter().for_each(|op| op.apply(row, &mut scratch));
        }
        rows
    }

    /// A row of weights as it becomes: those of a merged pair are added up, those of a split input repeated.
    fn weights(&self, row: &[f32]) -> Vec<f32> {
        let of = |[a, b]: &[u32; 2]| {
            let (a, b) = (*a as usize, *b as usize);
            if a == b { row[a] } else { row[a] + row[b] }
        };
        self.pairs.iter().map(of).collect()
    }
}

/// How much outputs change where two columns are merged: ‖x_a − x_b‖² ‖w_a − w_b‖² / 4, of even columns a and odd ones b.
struct Differences {
    inputs: Mat<f32>,
    weights: Mat<f32>,
    squares: [Vec<f32>; 2],
}

impl Differences {
    fn new(readers: &Readers, samples: &[f32]) -> Self {
        let k = readers.k;
        let (even, odd) = (k.div_ceil(2), k / 2);
        let mut made = Self {
            inputs: Mat::zeros(even, odd),
            weights: Mat::zeros(even, odd),
            squares: [vec![0.0; k], vec![0.0; k]],
        };
        let mut add = |rows: &[f32], which: usize| {
            let of = |parity: usize| -> Vec<f32> {
                rows.chunks_exact(k).flat_map(|row| row.iter().skip(parity).step_by(2)).copied().collect()
            };
            let (evens, odds, n) = (of(0), of(1), rows.len() / k);
            let left = MatRef::from_row_major_slice(&evens, n, even).transpose();
            let right = MatRef::from_row_major_slice(&odds, n, odd);
            let to = if which == 0 { &mut made.inputs } else { &mut made.weights };
            matmul(to.as_mut(), Accum::Add, left, right, 1.0, Par::Seq);
            for row in rows.chunks_exact(k) {
                made.squares[which].iter_mut().zip(row).for_each(|(s, x)| *s += x * x);
            }
        };
        add(samples, 0);
        readers.layers.iter().for_each(|(weights, _)| add(weights, 1));
        made
    }

    fn of(&self, a: usize, b: usize) -> f32 {
        let part = |mixed: f32, squares: &[f32]| (squares[a] + squares[b] - 2.0 * mixed).max(0.0);
        part(self.inputs[(a / 2, b / 2)], &self.squares[0])
            * part(self.weights[(a / 2, b / 2)], &self.squares[1])
    }
}

/// In how many equal parts every input is split, so that there are at most `more` more: as many as bring its largest magnitude below one
/// threshold for all.
fn parts(largest: &[f32], more: usize) -> Vec<u32> {
    let split = |threshold: f32| -> Vec<u32> {
        largest.iter().map(|x| (x / threshold).ceil().clamp(1.0, 1024.0) as u32).collect()
    };
    let count = |parts: &[u32]| parts.iter().map(|parts| *parts as usize - 1).sum::<usize>();
    let top = largest.iter().fold(0f32, |top, x| top.max(*x));
    if top == 0.0 || !top.is_finite() {
        return vec![1; largest.len()];
    }
    // Bisection: the count falls as the threshold rises.
    let (mut low, mut high) = (0.0, top);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if count(&split(middle.max(f32::MIN_POSITIVE))) > more { low = middle } else { high = middle }
    }
    split(high)
}

/// Splits by a number of inputs more, and merges as many pairs of those that are not split; `None` where nothing is to be split, or there
/// are too few pairs.
fn assembly(largest: &[f32], more: usize, differences: &Differences) -> Option<Assembly> {
    let k = largest.len();
    let parts = parts(largest, more);
    let more: usize = parts.iter().map(|parts| *parts as usize - 1).sum();
    if more == 0 {
        return None;
    }
    let mut free: Vec<bool> = parts.iter().map(|parts| *parts == 1).collect();
    let mut merged: Vec<[u32; 2]> = Vec::new();
    while merged.len() < more {
        // The nearest odd column of every even one; those that several want go to the nearest, the others look again.
        let odd: Vec<usize> = (1..k).step_by(2).filter(|b| free[*b]).collect();
        let nearest = |a: usize| {
            let each = odd.iter().map(|b| (differences.of(a, *b), a, *b));
            each.min_by(|x, y| x.0.total_cmp(&y.0))
        };
        let mut wanted: Vec<_> = (0..k).step_by(2).filter(|a| free[*a]).filter_map(nearest).collect();
        wanted.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        if wanted.is_empty() {
            return None;
        }
        for (_, a, b) in wanted {
            if free[b] && merged.len() < more {
                (free[a], free[b]) = (false, false);
                merged.push([a as u32, b as u32]);
            }
        }
    }
    let mut assembly = Assembly { pairs: Vec::with_capacity(k), parts: Vec::with_capacity(k) };
    for (i, parts) in parts.iter().enumerate().filter(|(i, parts)| free[*i] || **parts > 1) {
        assembly.pairs.extend(std::iter::repeat_n([i as u32; 2], *parts as usize));
        assembly.parts.extend(std::iter::repeat_n(*parts, *parts as usize));
    }
    assembly.parts.extend(std::iter::repeat_n(1, merged.len()));
    assembly.pairs.extend(merged);
    Some(assembly)
}

/// A token's activations as they are rounded when the model runs.
fn round_token(row: &mut [f32], activations: Option<ActSpec>) {
    let (highest, most) = match activations {
        None => return,
        Some(ActSpec::Int8Token) => (127.0, f32::INFINITY),
        Some(ActSpec::Int4Token) => (7.0, f32::INFINITY),
        Some(ActSpec::Int8TokenOutliers) => (127.0, lowbit_format::OUTLIER),
    };
    let largest = row.iter().map(|x| x.abs()).filter(|x| *x < most).fold(0f32, f32::max);
    if largest > 0.0 {
        let step = largest / highest;
        row.iter_mut().filter(|x| x.abs() < most).for_each(|x| *x = (*x / step).round() * step);
    }
}

/// X Wᵀ, token after token.
fn product(x: &[f32], w: &[f32], k: usize) -> Vec<f32> {
    let (tokens, n) = (x.len() / k, w.len() / k);
    let mut made = vec![0.0; tokens * n];
    let x = MatRef::from_row_major_slice(x, tokens, k);
    let w = MatRef::from_row_major_slice(w, n, k).transpose();
    let to = MatMut::from_row_major_slice_mut(&mut made, tokens, n);
    matmul(to, Accum::Replace, x, w, 1.0, Par::Seq);
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::fold::tests::{in_work, output};
    use lowbit_model::Role;
    use lowbit_testing::{max_relative_error, seeded_values};

    #[test]
    fn inputs_are_split_until_they_are_below_one_threshold() {
        let largest = [1.0, 8.0, 2.0, 1.0, 1.0, 1.0, 0.5, 1.0];
        assert_eq!(parts(&largest, 1), [1, 2, 1, 1, 1, 1, 1, 1]);
        // 2.0 is split where 8.0 is in five parts.
        assert_eq!(parts(&largest, 3), [1, 4, 1, 1, 1, 1, 1, 1]);
        assert_eq!(parts(&largest, 5), [1, 5, 2, 1, 1, 1, 1, 1]);
        assert_eq!(parts(&[0.0; 4], 2), [1; 4]);
    }

    #[test]
    fn splitting_alone_changes_no_product_and_merging_equal_inputs_neither() {
        let k = 8;
        let mut x = seeded_values("inputs", 6 * k, 1.0, 0.0);
        for row in x.chunks_exact_mut(k) {
            row[3] *= 20.0;
            row[7] = row[2];
        }
        let w = seeded_values("weights", 3 * k, 1.0, 0.0);
        let WeightSpec::Grouped(spec) = WeightSpec::parse("int4-asym-row").unwrap() else { panic!("codes") };
        let readers = Readers { layers: vec![(w.clone(), spec)], k, threads: 1 };
        let largest: Vec<f32> =
            (0..k).map(|i| x.iter().skip(i).step_by(k).fold(0f32, |m, x| m.max(x.abs()))).collect();
        let made = assembly(&largest, 1, &Differences::new(&readers, &x)).unwrap();
        assert!(made.pairs.contains(&[2, 7]) && made.parts.iter().filter(|parts| **parts == 2).count() == 2);
        let changed: Vec<f32> = w.chunks_exact(k).flat_map(|row| made.weights(row)).collect();
        let (before, after) = (product(&x, &w, k), product(&made.inputs(&x), &changed, k));
        assert!(max_relative_error(&before, &after) < 1e-5, "{before:?} {after:?}");
    }

    #[test]
    fn a_layer_loses_no_more_than_by_the_papers_own_way() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/qllm.json")).unwrap();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let numbers = |name: &str| -> Vec<f32> {
            golden[name].as_array().unwrap().iter().map(|x| number(x) as f32).collect()
        };
        let (k, w, x) = (number(&golden["k"]) as usize, numbers("w"), numbers("x"));
        let WeightSpec::Grouped(spec) = WeightSpec::parse("int4-asym-g16").unwrap() else { panic!("codes") };
        let part = Reassemble { samples: 96, activations: Some(ActSpec::Int4Token) };
        let mut collector = Collector::new(k, part.needs(), (x.len() / k) as u64, 1);
        collector.add(lowbit_kernels::MatRef::new(&x, x.len() / k, k));
        let stats = collector.finish();
        let readers = Readers { layers: vec![(w.clone(), spec)], k, threads: 1 };
        let outputs = vec![w.chunks(ROWS * k).map(|rows| product(&x, rows, k)).collect()];
        let lost = |assembly: &Assembly| part.lost(&readers, (&x, &outputs), assembly).unwrap();
        let differences = Differences::new(&readers, &x);
        let mut least = f64::MAX;
        for (more, expected) in golden["errors"].as_object().unwrap() {
            let made = assembly(&stats.abs_max, more.parse().unwrap(), &differences).unwrap();
            let found = lost(&made);
            assert!((found / number(expected) - 1.0).abs() < 0.01, "{more}: {found} {expected}");
            least = least.min(found);
        }
        assert!(least < 0.5 * number(&golden["plain"]));
        assert_eq!(lost(&part.best(&readers, &stats).unwrap().unwrap()), least);
    }

    #[test]
    fn outliers_are_split_where_that_loses_less_and_a_block_computes_nearly_the_same() {
        in_work("llama-mha", |work| {
            let place = Place::FfnIn;
            let layer = work.layers_of(place.inputs()).next().unwrap();
            let k = work.weight(&layer.tensor).unwrap().shape().k;
            let part = Reassemble { samples: 32, activations: Some(ActSpec::Int4Token) };
            let stats = |large: f32| {
                let mut x = seeded_values("inputs", 32 * k, 1.0, 0.0);
                for row in x.chunks_exact_mut(k) {
                    row[5] *= large;
                    // Two inputs that are nearly one.
                    row[9] = 1.001 * row[4];
                }
                let mut collector = Collector::new(k, part.needs(), 32, 1);
                collector.add(lowbit_kernels::MatRef::new(&x, 32, k));
                collector.finish()
            };
            let mut wide = stats(10.0);
            part.fold(work, place, &mut wide, (part.needs(), 2)).unwrap();
            let [OnlineOp::Pairs(pairs), OnlineOp::Scale(_)] = work.input(&layer.tensor) else {
                panic!("no split")
            };
            assert!(pairs.iter().filter(|pair| **pair == [5, 5]).count() > 1, "{pairs:?}");
            let split = wide.abs_max.iter().fold(0f32, |m, x| m.max(*x));
            assert!(split < 6.0, "{split}");
        });
        in_work("llama-mha", |work| {
            // Two inputs change places, written as pairs of an input with itself: nothing is lost.
            let layer = work.layers_of(Role::Down).next().unwrap();
            let k = work.weight(&layer.tensor).unwrap().shape().k;
            let stream = seeded_values("stream", 9 * work.model.hidden, 1.0, 0.0);
            let before = output(work, &stream);
            let mut pairs: Vec<[u32; 2]> = (0..k as u32).map(|i| [i, i]).collect();
            pairs.swap(3, 4);
            let split = Assembly { pairs, parts: vec![1; k] };
            work.edit(&layer.tensor, |row| row.copy_from_slice(&split.weights(row))).unwrap();
            work.set_input(&layer.tensor, split.ops().to_vec());
            let error = max_relative_error(&before, &output(work, &stream));
            assert!(error < 2e-5, "{error}");
        });
    }
}
