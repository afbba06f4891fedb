//! A column sweep that keeps some weights beside the codes.
//!
//! What is kept is chosen before the sweep. Groups are fitted without it, later columns make up for the rest alone, and what a code
//! leaves of a kept weight is stored as a sparse term: code and term together are the weight.

use super::{
    Layer, Quantized, Solve, SolveError,
    column_sweep::{Fits, Sweep, Swept, stored, sweep_needs},
    matrix::{Matrix, Sorted},
    nearest::measured,
    share,
};
use crate::{
    fit::{Fit, Group},
    stats::Needs,
};
use lowbit_format::{
    FormatError, GroupFit, GroupShape, GroupedSpec, GroupedTensor, NK, QuantTensor, Term, TermKind,
    WeightSpec,
};

/// Rows that one worker fits at a time.
const ROWS: usize = 64;

/// Chooses what is kept.
pub trait Keep: Send + Sync {
    /// What it is called where the parts of a method are listed.
    fn name(&self) -> &'static str;
    /// How much it would be worth to keep each weight, row after row: the most worth are kept.
    fn worth(&self, matrix: &Matrix<'_>) -> Vec<f32>;
}

/// The sweep. Columns with the largest inputs come first and groups are fitted before it.
pub struct Kept {
    /// What is added to the diagonal of H, in parts of its mean.
    pub damp: f64,
    /// Whether all tokens count the same in H, see [`Needs::equal_tokens`].
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk, see [`Needs::shrink`].
    pub shrink: bool,
    /// The share of the weights that is kept, from 0 to 1.
    pub share: f64,
    /// Which.
    pub keep: Box<dyn Keep>,
    /// Format of what is kept: one with a scale for the tensor, or floats.
    pub format: WeightSpec,
}

impl Solve for Kept {
    fn name(&self) -> &'static str {
        self.keep.name()
    }

    fn needs(&self) -> Needs {
        sweep_needs(self.equal_tokens, self.shrink)
    }

    /// # Panics
    /// Where the layer has no statistics with a Hessian.
    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let sorted = Sorted::of(layer, self.damp)?;
        let matrix = sorted.matrix(layer, spec, fit);
        let (weights, shape) = (matrix.weights, matrix.shape);
        let kept = most(&self.keep.worth(&matrix), (self.share * weights.len() as f64) as usize);
        let fits = fits_without(&matrix, &kept);
        let fits = if spec.levels().len() == 1 {
            fits.into_iter().map(|fit| stored(spec, fit)).collect()
        } else {
            let made = GroupedTensor::quantize_with(spec, weights, shape, &fits)?;
            (0..shape.n).flat_map(|n| made.stored_fits(n)).collect::<Vec<_>>()
        };
        let given = Fits::Given(fits.clone());
        let sweep = Sweep { kept: Some(&kept), ..sorted.sweep(spec, &given) };
        let Swept { rounded, left, .. } = sweep.all(weights, layer.threads);
        let base = GroupedTensor::quantize_with(spec, &rounded, shape, &fits)?;
        let base = QuantTensor::from_grouped(base);
        if left.is_empty() {
            return Ok(measured(weights, &base));
        }
        Ok(measured(weights, &base.plus(term(&left, shape, &self.format)?)?))
    }
}

/// What of each group is not kept, fitted; the whole group where all of it is.
fn fits_without(matrix: &Matrix<'_>, kept: &[bool]) -> Vec<GroupFit> {
    let Matrix { weights, shape, spec, fit, importance, threads, .. } = *matrix;
    let level = spec.levels()[0].shape;
    let len = level.len_in_row(shape.k);
    let fit_of = |places: &mut dyn Iterator<Item = usize>| {
        let places: Vec<usize> = places.collect();
        let rest: Vec<usize> = places.iter().copied().filter(|i| !kept[*i]).collect();
        let rest = if rest.is_empty() { places } else { rest };
        let group: Vec<f32> = rest.iter().map(|i| weights[*i]).collect();
        let importance: Vec<f32> = rest.iter().map(|i| importance[i % shape.k]).collect();
        fit.fit(spec, &Group { importance: Some(&importance), ..Group::new(&group) })
    };
    if level == GroupShape::Tensor {
        return vec![fit_of(&mut (0..weights.len()))];
    }
    let of_rows = share(threads, (0..shape.n).step_by(ROWS), |start| {
        let rows = start..(start + ROWS).min(shape.n);
        let groups = rows.flat_map(|n| (0..shape.k).step_by(len).map(move |k| (n, k)));
        groups
            .map(|(n, k)| fit_of(&mut (n * shape.k + k..n * shape.k + (k + len).min(shape.k))))
            .collect::<Vec<_>>()
    });
    of_rows.concat()
}

/// The `count` places that are worth the most; of equal ones the first.
fn most(worth: &[f32], count: usize) -> Vec<bool> {
    let mut places: Vec<usize> = (0..worth.len()).collect();
    let by_worth = |a: &usize, b: &usize| worth[*b].total_cmp(&worth[*a]).then(a.cmp(b));
    let count = count.min(places.len());
    if count > 0 && count < places.len() {
        places.select_nth_unstable_by(count - 1, by_worth);
    }
    let mut kept = vec![false; worth.len()];
    places[..count].iter().for_each(|place| kept[*place] = true);
    kept
}

/// Single weights by their place, as a sparse term.
fn term(
    left: &[(usize, f32)],
    NK { n, k }: NK,
    format: &WeightSpec,
) -> Result<Term<QuantTensor>, FormatError> {
    let count = u32::try_from(left.len()).map_err(|_| FormatError::Overflow { n, k })?;
    let starts = (0..=n).map(|n| left.partition_point(|(place, _)| *place < n * k) as u32).collect();
    let at = left.iter().map(|(place, _)| (place % k) as u32).collect();
    let values: Vec<f32> = left.iter().map(|(_, value)| *value).collect();
    let kind = TermKind::Sparse { count, width: 1 };
    let matrix = QuantTensor::quantize_nearest(format, &values, kind.matrices(NK { n, k })[0])?;
    Ok(Term { kind, lists: vec![starts, at], matrices: vec![matrix] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fit::Range,
        solve::{ColumnSweep, Lost, LowRank, Order},
        stats::{Collector, InputStats},
    };
    use lowbit_format::{FloatFormat, Storage};
    use lowbit_kernels::MatRef;
    use lowbit_testing::seeded_values;

    const SHAPE: NK = NK { n: 70, k: 96 };

    /// The largest are worth the most.
    struct Largest;
    impl Keep for Largest {
        fn name(&self) -> &'static str {
            "largest"
        }
        fn worth(&self, matrix: &Matrix<'_>) -> Vec<f32> {
            matrix.weights.iter().map(|w| w.abs()).collect()
        }
    }

    fn kept(share: f64) -> Kept {
        let format = WeightSpec::Float(FloatFormat::F16);
        Kept { damp: 0.01, equal_tokens: false, shrink: false, share, keep: Box::new(Largest), format }
    }

    fn stats() -> InputStats {
        let tokens = 200;
        let mut x = seeded_values("inputs", tokens * SHAPE.k, 1.0, 0.0);
        x.iter_mut().enumerate().for_each(|(i, x)| *x *= (1 + i % SHAPE.k % 7) as f32);
        let mut collector = Collector::new(SHAPE.k, kept(0.0).needs(), tokens as u64, 1);
        collector.add(MatRef::new(&x, tokens, SHAPE.k));
        collector.finish()
    }

    fn tensor(weights: &[f32]) -> QuantTensor {
        QuantTensor::from_floats(FloatFormat::F32, SHAPE, Storage::from(FloatFormat::F32.encode(weights)))
            .unwrap()
    }

    fn solved(
        solve: &dyn Solve,
        weights: &QuantTensor,
        label: &str,
        threads: usize,
    ) -> (Quantized, Vec<f32>) {
        let WeightSpec::Grouped(spec) = WeightSpec::parse(label).unwrap() else { panic!("{label}") };
        let stats = stats();
        let layer = Layer { weight: weights, stats: Some(&stats), threads };
        let made = solve.solve(&layer, &spec, &Range).unwrap();
        let tensor = made.tensor(&WeightSpec::Grouped(spec), SHAPE).unwrap();
        let mut values = vec![0.0; SHAPE.weights()];
        values.chunks_exact_mut(SHAPE.k).enumerate().for_each(|(n, row)| tensor.decode_row(n, row));
        (made, values)
    }

    #[test]
    fn nothing_kept_is_the_plain_sweep_and_threads_change_nothing() {
        let weights = tensor(&seeded_values("weights", SHAPE.weights(), 0.1, 0.0));
        for label in ["int3-asym-g16", "int2-sym-row", "int3-asym-g16-int3-g96"] {
            let sweep =
                ColumnSweep { damp: 0.01, order: Order::LargestFirst, equal_tokens: false, shrink: false };
            let (plain, _) = solved(&sweep, &weights, label, 2);
            assert!(solved(&kept(0.0), &weights, label, 1).0.parts == plain.parts, "{label}");
            let one = solved(&kept(0.05), &weights, label, 1).0;
            assert!(one.parts == solved(&kept(0.05), &weights, label, 3).0.parts, "{label}");
        }
    }

    #[test]
    fn outliers_come_back_and_do_not_widen_the_groups_of_others() {
        let mut weights = seeded_values("weights", SHAPE.weights(), 0.1, 0.0);
        let outliers: Vec<usize> = (0..SHAPE.weights()).step_by(97).collect();
        outliers.iter().for_each(|i| weights[*i] = if i % 2 == 0 { 5.0 } else { -5.0 });
        let share = outliers.len() as f64 / SHAPE.weights() as f64;
        let (made, values) = solved(&kept(share), &tensor(&weights), "int3-asym-g16", 2);
        let label = made.spec.unwrap().label();
        assert_eq!(label, format!("int3-asym-g16+sparse{}x1-f16", outliers.len()));
        for i in 0..values.len() {
            // Codes of three bits for weights within 0.1, and what earlier columns left to make up for.
            assert!((values[i] - weights[i]).abs() < 0.2, "{i}: {} {}", values[i], weights[i]);
        }
        let (_, plain) = solved(&kept(0.0), &tensor(&weights), "int3-asym-g16", 2);
        let error = |values: &[f32]| values.iter().zip(&weights).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        assert!(error(&values) < 0.2 * error(&plain), "{} {}", error(&values), error(&plain));
    }

    #[test]
    fn what_is_kept_stays_beside_a_correction_of_low_rank() {
        let weights = tensor(&seeded_values("weights", SHAPE.weights(), 0.1, 0.0));
        let format = WeightSpec::Float(FloatFormat::F16);
        let both =
            LowRank { inner: Box::new(kept(0.05)), rank: 4, format: format.clone(), lost: Lost::Weights };
        let (alone, _) = solved(&kept(0.05), &weights, "int3-asym-g16", 2);
        let (made, values) = solved(&both, &weights, "int3-asym-g16", 2);
        let label = alone.spec.unwrap().label();
        assert_eq!(made.spec.unwrap().label(), format!("{label}+rank4-{format}"));
        assert!(made.squared_error < alone.squared_error && values.len() == SHAPE.weights());
    }

    #[test]
    fn the_most_worth_are_kept_and_of_equals_the_first() {
        assert_eq!(most(&[1.0, 3.0, 2.0, 3.0], 2), [false, true, false, true]);
        assert_eq!(most(&[1.0; 4], 3), [true, true, true, false]);
        assert_eq!(most(&[1.0; 2], 9), [true; 2]);
        assert_eq!(most(&[1.0; 2], 0), [false; 2]);
    }
}
