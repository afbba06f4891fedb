//! Codes whose scales are whole numbers of units, one unit a row, so that a code less its zero point times its scale is an
//! 8-bit integer: a weight of few bits is one of 8 bits with one scale a row.

use super::{
    Layer, Quantized, Solve, SolveError,
    nearest::{GroupInputs, by_rows},
};
use crate::{
    fit::{Fit, Group, highest, units},
    stats::{InputStats, Inputs, Needs},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::{
    ElementFormat, FormatError, GroupFit, GroupShape, GroupedSpec, GroupedTensor, NK, ParamFormat,
    QuantTensor, ZeroPoint,
};

/// Rows that are one task.
const ROWS: usize = 32;
/// The largest 8-bit integer.
const LARGEST: f32 = 127.0;

/// Rounds to formats with integer scales of groups over a scale of rows, such as `int4-asym-g128-int8-row`.
#[derive(Clone, Copy, Debug)]
pub struct TwoLevel {
    /// How the unit of a row is found.
    pub coarse: Coarse,
}

/// How the unit of a row is found, and in which order the two levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coarse {
    /// Groups are fitted first. Then 127 units are the row's largest magnitude or less, whichever loses the least of the row's
    /// products with sampled inputs (DGQ).
    Searched {
        /// Steps into which the largest magnitude is cut.
        grid: u32,
        /// Part of it that may be cut off.
        max_shrink: f32,
        /// Tokens whose inputs are looked at.
        samples: usize,
        /// Whether every token counts the same.
        equal_tokens: bool,
    },
    /// The row is rounded first, to integers of at most `limit`; groups are fitted to these integers (QoQ).
    Bounded {
        /// The largest integer: below 127, so that what groups round up stays in 8 bits.
        limit: u8,
    },
}

impl TwoLevel {
    /// Rounds some rows.
    fn round(&self, part: &Part<'_>, stats: Option<&InputStats>) -> Result<GroupedTensor, FormatError> {
        match self.coarse {
            Coarse::Searched { grid, max_shrink, .. } => {
                let fits: Vec<_> = part.rows().map(|row| part.fits(row, None)).collect();
                let steps = 0..=(max_shrink * grid as f32).round() as u32;
                let ratios = steps.map(|step| 1.0 - step as f32 / grid as f32);
                let units = part.search(&fits, ratios, stats);
                part.encode(part.weights, &units, &fits, &units)
            }
            Coarse::Bounded { limit } => {
                let limit = f32::from(limit);
                let units: Vec<f32> = part.rows().map(|row| part.unit(row, 1.0, limit)).collect();
                let eights = part.rows().zip(&units).flat_map(|(row, unit)| {
                    let eight = move |w: &f32| if *unit > 0.0 { (w / unit).round() } else { 0.0 };
                    row.iter().map(move |w| eight(w).clamp(-limit, limit))
                });
                let eights: Vec<f32> = eights.collect();
                // From here on everything is in units.
                let fits: Vec<_> =
                    eights.chunks_exact(part.shape.k).map(|row| part.fits(row, Some(1.0))).collect();
                part.encode(&eights, &vec![1.0; units.len()], &fits, &units)
            }
        }
    }
}

impl Solve for TwoLevel {
    fn name(&self) -> &'static str {
        "two levels in 8 bits"
    }

    fn needs(&self) -> Needs {
        match self.coarse {
            Coarse::Searched { samples, equal_tokens, .. } => {
                Needs { inputs: Inputs::Magnitudes, samples, equal_tokens, ..Needs::NONE }
            }
            Coarse::Bounded { .. } => Needs::NONE,
        }
    }

    /// The same from weights alone: every error counts alike.
    fn without_inputs(&self) -> &dyn Solve {
        self
    }

    /// Codes must be 8-bit integers in units of a row.
    fn accepts(&self, spec: &GroupedSpec) -> Result<(), &'static str> {
        let integers = matches!(
            spec.element(),
            ElementFormat::Int { bits, zero: ZeroPoint::Symmetric | ZeroPoint::Integer } if (2..=6).contains(&bits.get())
        );
        let two = match spec.levels() {
            [fine, coarse] => {
                matches!((fine.shape, fine.format), (GroupShape::Group(_), ParamFormat::Int(_)))
                    && coarse.shape == GroupShape::Row
            }
            _ => false,
        };
        if integers && two {
            Ok(())
        } else {
            Err(
                "it makes codes of 2 to 6 bits with integer scales over a scale of rows; take a format such as \
                int4-asym-g64-int8-row",
            )
        }
    }

    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        self.accepts(spec).map_err(|reason| FormatError::Levels { reason })?;
        let k = layer.weight.shape().k;
        let inputs = layer.stats.map(|stats| GroupInputs::new(stats, spec, fit, k));
        by_rows(layer, ROWS, |weights, shape| {
            let part = Part { spec, fit, inputs: inputs.as_ref(), weights, shape };
            self.round(&part, layer.stats).map(QuantTensor::from_grouped)
        })
    }
}

/// Some rows of a matrix.
struct Part<'a> {
    spec: &'a GroupedSpec,
    fit: &'a dyn Fit,
    inputs: Option<&'a GroupInputs>,
    weights: &'a [f32],
    shape: NK,
}

impl Part<'_> {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.weights.chunks_exact(self.shape.k)
    }

    fn len(&self) -> usize {
        self.spec.levels()[0].shape.len_in_row(self.shape.k)
    }

    /// The fit of every group of a row, in whole units where they are known.
    fn fits(&self, row: &[f32], unit: Option<f32>) -> Vec<GroupFit> {
        let groups = row.chunks(self.len()).enumerate();
        let groups =
            groups.map(|(i, group)| self.inputs.map_or(Group::new(group), |inputs| inputs.of(i, group)));
        groups.map(|group| self.fit.fit(self.spec, &Group { unit, ..group })).collect()
    }

    /// The unit of a row of which `most` are `ratio` of its largest magnitude, as it is stored.
    fn unit(&self, row: &[f32], ratio: f32, most: f32) -> f32 {
        let absmax = row.iter().fold(0f32, |max, w| max.max(w.abs()));
        let format = self.spec.levels()[1].format;
        format.decode(format.encode(ratio * absmax / most))
    }

    /// The unit of every row that loses the least.
    fn search(
        &self,
        fits: &[Vec<GroupFit>],
        ratios: impl Iterator<Item = f32>,
        stats: Option<&InputStats>,
    ) -> Vec<f32> {
        let (n, k) = (self.shape.n, self.shape.k);
        let samples = stats.map_or(&[][..], |stats| &stats.samples);
        let tokens = samples.len() / k;
        let inputs = MatRef::from_row_major_slice(samples, tokens, k);
        let mut best: Vec<f32> = self.rows().map(|row| self.unit(row, 1.0, LARGEST)).collect();
        let mut least = vec![f32::INFINITY; n];
        let mut errors = vec![0.0; n * k];
        let mut outputs = vec![0.0f32; tokens * n];
        for ratio in ratios {
            let units: Vec<f32> = self.rows().map(|row| self.unit(row, ratio, LARGEST)).collect();
            for (m, (row, errors)) in self.rows().zip(errors.chunks_exact_mut(k)).enumerate() {
                self.codes(row, &fits[m], units[m], |i, _, value| errors[i] = row[i] - value);
            }
            let lost = if tokens > 0 {
                let errors = MatRef::from_row_major_slice(&errors, n, k).transpose();
                let to = MatMut::from_column_major_slice_mut(&mut outputs, tokens, n);
                matmul(to, Accum::Replace, inputs, errors, 1.0, Par::Seq);
                squares(&outputs, tokens)
            } else {
                squares(&errors, k)
            };
            for (m, lost) in lost.into_iter().enumerate() {
                if lost < least[m] {
                    (least[m], best[m]) = (lost, units[m]);
                }
            }
        }
        best
    }

    /// Tells place, code and value of every weight of a row.
    fn codes(&self, row: &[f32], fits: &[GroupFit], unit: f32, mut tell: impl FnMut(usize, u8, f32)) {
        let (len, highest) = (self.len(), highest(self.spec));
        for (g, (group, fit)) in row.chunks(len).zip(fits).enumerate() {
            let (units, zero) = (units(self.spec, fit.scale, unit), self.spec.stored(*fit).zero);
            // Codes so far from the zero point only that they stay in 8 bits.
            let reach = (LARGEST / units).floor();
            let (low, high) = ((zero - reach).max(0.0), (zero + reach).min(highest));
            let scale = units * unit;
            for (i, w) in group.iter().enumerate() {
                let steps = if scale > 0.0 { w / scale } else { 0.0 };
                let code = (steps + zero).round().clamp(low, high);
                tell(g * len + i, code as u8, (code - zero) * scale);
            }
        }
    }

    /// The tensor of the nearest codes to `rows`, of which `row_units` are one; they are stored as `stored_units`.
    fn encode(
        &self,
        rows: &[f32],
        row_units: &[f32],
        fits: &[Vec<GroupFit>],
        stored_units: &[f32],
    ) -> Result<GroupedTensor, FormatError> {
        let (k, spec) = (self.shape.k, self.spec);
        let mut codes = vec![0; rows.len()];
        for (m, (row, codes)) in rows.chunks_exact(k).zip(codes.chunks_exact_mut(k)).enumerate() {
            self.codes(row, &fits[m], row_units[m], |i, code, _| codes[i] = code);
        }
        let each =
            fits.iter().zip(row_units).flat_map(|(fits, unit)| fits.iter().map(move |fit| (fit, *unit)));
        let fine: Vec<f32> = each.map(|(fit, unit)| units(spec, fit.scale, unit)).collect();
        let zeros: Vec<f32> = fits.iter().flatten().map(|fit| fit.zero).collect();
        let zeros = spec.zero_format().map(|_| zeros.as_slice());
        GroupedTensor::from_codes(spec, self.shape, &codes, (&[&fine, stored_units], zeros))
    }
}

/// The sum of squares of every `len` values.
fn squares(values: &[f32], len: usize) -> Vec<f32> {
    values.chunks_exact(len).map(|values| values.iter().map(|x| x * x).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fit::{Range, Shrink},
        stats::Collector,
    };
    use lowbit_format::{Storage, TensorData, WeightSpec};
    use lowbit_testing::seeded_values;

    const SHAPE: NK = NK { n: 37, k: 192 };
    const LABELS: [&str; 5] = [
        "int4-asym-g64-int8-row",
        "int4-sym-g32-int8-row-f32",
        "int3-asym-g4-int8-row",
        "int2-asym-g16-int4-row-bf16",
        "int6-asym-g192-int8-row",
    ];
    const SEARCHED: Coarse = Coarse::Searched { grid: 50, max_shrink: 0.6, samples: 40, equal_tokens: false };
    const BOUNDED: Coarse = Coarse::Bounded { limit: 119 };

    fn grouped(label: &str) -> GroupedSpec {
        match WeightSpec::parse(label).unwrap() {
            WeightSpec::Grouped(spec) => spec,
            other => panic!("{other} is not grouped"),
        }
    }

    /// Heavy tails, rows of very different size and one of zeros.
    fn weights() -> Vec<f32> {
        let mut weights = seeded_values("weights", SHAPE.weights(), 1.0, 0.0);
        for (n, row) in weights.chunks_exact_mut(SHAPE.k).enumerate() {
            row.iter_mut().for_each(|w| *w = *w * *w * *w * (1 + n % 7) as f32 * 0.1 + 0.01);
            row[n] = if n % 2 == 0 { 2.0 } else { row[n] };
            if n == 5 {
                row.fill(0.0);
            }
        }
        weights
    }

    fn stats() -> InputStats {
        let mut x = seeded_values("inputs", 40 * SHAPE.k, 1.0, 0.0);
        x.chunks_exact_mut(SHAPE.k)
            .for_each(|x| x.iter_mut().enumerate().for_each(|(k, x)| *x *= (1 + k % 9) as f32));
        let needs = Needs { inputs: Inputs::Magnitudes, samples: 40, equal_tokens: false, ..Needs::NONE };
        let mut collector = Collector::new(SHAPE.k, needs, 40, 1);
        collector.add(lowbit_kernels::MatRef::new(&x, 40, SHAPE.k));
        collector.finish()
    }

    fn made(coarse: Coarse, label: &str, fit: &dyn Fit, weights: &[f32], threads: usize) -> GroupedTensor {
        let spec = WeightSpec::parse(label).unwrap();
        let shape = NK { n: weights.len() / SHAPE.k, k: SHAPE.k };
        let tensor =
            QuantTensor::quantize_nearest(&WeightSpec::parse("f32").unwrap(), weights, shape).unwrap();
        let stats = stats();
        let layer = Layer { weight: &tensor, stats: Some(&stats), threads };
        let made = TwoLevel { coarse }.solve(&layer, &grouped(label), fit).unwrap();
        let parts = made.parts.iter().map(|part| Storage::from(part.clone()));
        match QuantTensor::from_parts(&spec, shape, parts).unwrap().data() {
            TensorData::Grouped(grouped) => grouped.clone(),
            _ => unreachable!(),
        }
    }

    /// (code − zero point) · scale in units of the row, of every weight of row `n`.
    fn integers(made: &GroupedTensor, n: usize) -> Vec<f32> {
        let len = made.spec().levels()[0].shape.len_in_row(SHAPE.k);
        let zero = |group: usize| match &made.params().zeros {
            Some(zeros) => zeros.get(n, group),
            None => made.spec().element().center().unwrap(),
        };
        let code = |k: usize| f32::from(made.codes().get(n, k)) - zero(k / len);
        (0..SHAPE.k).map(|k| code(k) * made.params().levels[0].get(n, k / len)).collect()
    }

    #[test]
    fn every_weight_is_an_integer_of_8_bits_in_units_of_its_row_and_threads_change_nothing() {
        let weights = weights();
        let shrink = Shrink { grid: 20, max_shrink: 0.5, samples: 40, equal_tokens: false };
        for label in LABELS {
            for coarse in [SEARCHED, BOUNDED] {
                let made = |threads| made(coarse, label, &shrink, &weights, threads);
                let (one, three) = (made(1), made(3));
                assert_eq!(one.codes().bytes().bytes(), three.codes().bytes().bytes(), "{label} {coarse:?}");
                let mut decoded = vec![0.0; SHAPE.k];
                for n in 0..SHAPE.n {
                    let unit = one.params().levels[1].get(n, 0);
                    one.decode_row(n, &mut decoded);
                    for (integer, w) in integers(&one, n).into_iter().zip(&decoded) {
                        assert!(
                            integer.fract() == 0.0 && integer.abs() <= 127.0,
                            "{label} {coarse:?} {integer}"
                        );
                        assert!((integer * unit - w).abs() <= 1e-6 * w.abs(), "{label} {coarse:?}");
                    }
                    assert!(n != 5 || decoded.iter().all(|w| *w == 0.0), "{label} {coarse:?}");
                }
            }
        }
    }

    /// QoQ's two roundings written plainly, without anything that holds a code back: codes, scales and zero points of groups.
    fn progressive(row: &[f32], unit: f32, len: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let eights: Vec<f32> = row.iter().map(|w| (w / unit).round().clamp(-119.0, 119.0)).collect();
        let (mut codes, mut scales, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
        for group in eights.chunks(len) {
            let high = group.iter().fold(0f32, |a, b| a.max(*b));
            let low = group.iter().fold(0f32, |a, b| a.min(*b));
            let scale = ((high - low) / 15.0).round().max(1.0);
            let zero = (-low / scale).round();
            codes.extend(group.iter().map(|q| (q / scale + zero).round().clamp(0.0, 15.0)));
            scales.push(scale);
            zeros.push(zero);
        }
        (codes, scales, zeros)
    }

    #[test]
    fn progressive_groups_are_those_of_the_papers_formulas_and_119_alone_keeps_them_in_8_bits() {
        let mut weights = weights();
        // The paper's example: without protection its 120 would come back as 128.
        let example = seeded_values("example", SHAPE.k, 113.0, 0.0);
        weights.extend(example.iter().enumerate().map(|(i, w)| match i % 64 {
            0 => -113.0,
            1 => 120.0,
            _ => *w,
        }));
        let made = made(BOUNDED, "int4-asym-g64-int8-row-f32", &Range, &weights, 2);
        for (n, row) in weights.chunks_exact(SHAPE.k).enumerate().filter(|(n, _)| *n != 5) {
            let unit = row.iter().fold(0f32, |max, w| max.max(w.abs())) / 119.0;
            assert_eq!(made.params().levels[1].get(n, 0), unit);
            let (codes, scales, zeros) = progressive(row, unit, 64);
            for group in 0..3 {
                assert_eq!(made.params().levels[0].get(n, group), scales[group], "row {n} group {group}");
                assert_eq!(made.params().zeros.as_ref().unwrap().get(n, group), zeros[group], "row {n}");
            }
            let found: Vec<f32> = made.codes().row(n).map(f32::from).collect();
            assert_eq!(found, codes, "row {n}");
            assert!(integers(&made, n).iter().all(|q| q.abs() <= 127.0));
        }
    }

    /// DGQ's second search written plainly: the unit, and what its codes lose of the products.
    fn searched(row: &[f32], fits: &[GroupFit], x: &[f32], len: usize) -> (f32, f64) {
        let absmax = row.iter().fold(0f32, |max, w| max.max(w.abs()));
        let tried = (0..=30).map(|step| {
            let unit = (1.0 - step as f32 / 50.0) * absmax / 127.0;
            let error = |k: usize| {
                let GroupFit { scale, zero } = fits[k / len];
                let scale = (scale / unit).round().max(1.0);
                let most = (127.0 / scale).floor();
                let (low, high) = ((zero - most).max(0.0), (zero + most).min(15.0));
                let code = (row[k].clamp(-127.0 * unit, 127.0 * unit) / (scale * unit) + zero).round();
                f64::from(row[k] - (code.clamp(low, high) - zero) * scale * unit)
            };
            let errors: Vec<f64> = (0..row.len()).map(error).collect();
            let output = |x: &[f32]| errors.iter().zip(x).map(|(e, x)| e * f64::from(*x)).sum::<f64>();
            (unit, x.chunks_exact(row.len()).map(|x| output(x).powi(2)).sum())
        });
        tried.min_by(|a: &(f32, f64), b| a.1.total_cmp(&b.1)).unwrap()
    }

    #[test]
    fn the_searched_unit_is_that_of_the_papers_second_search() {
        let (weights, stats) = (weights(), stats());
        let made = made(SEARCHED, "int4-asym-g64-int8-row-f32", &Range, &weights, 1);
        let spec = grouped("int4-asym-g64-int8-row-f32");
        for (n, row) in weights.chunks_exact(SHAPE.k).enumerate().filter(|(n, _)| *n != 5) {
            let fits: Vec<_> = row.chunks(64).map(|group| Range.fit(&spec, &Group::new(group))).collect();
            let (unit, lost) = searched(row, &fits, &stats.samples, 64);
            let found = made.params().levels[1].get(n, 0);
            let mut decoded = vec![0.0; SHAPE.k];
            made.decode_row(n, &mut decoded);
            let output =
                |x: &[f32]| (0..SHAPE.k).map(|k| f64::from((row[k] - decoded[k]) * x[k])).sum::<f64>();
            let ours: f64 = stats.samples.chunks_exact(SHAPE.k).map(|x| output(x).powi(2)).sum();
            // Single precision may see two units that are as good in the other order.
            assert!(ours <= lost * (1.0 + 1e-3), "row {n}: {found} loses {ours}, {unit} {lost}");
        }
    }

    #[test]
    fn formats_that_are_no_8_bit_integers_of_a_row_are_refused_with_one_that_is() {
        for label in LABELS {
            assert_eq!(TwoLevel { coarse: BOUNDED }.accepts(&grouped(label)), Ok(()), "{label}");
        }
        let others = [
            "int4-asym-g64",
            "int4-fzero-g64-int8-row",
            "int8-asym-g64-int8-row",
            "int4-asym-g64-int8-g128",
            "int4-asym-row-tensor",
            "int4-asym-g64-e4m3-row",
            "ternary-g64-int8-row",
        ];
        for label in others {
            let why = TwoLevel { coarse: BOUNDED }.accepts(&grouped(label)).unwrap_err();
            assert!(why.contains("int4-asym-g64-int8-row"), "{label} {why}");
        }
    }
}
