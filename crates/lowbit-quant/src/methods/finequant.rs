//! FineQuant.
//!
//! # What it does
//! Chooses for every matrix how many weights share a scale, from the weights alone: a matrix whose ranges shrink when its groups
//! are halved gets smaller groups, the others keep large ones and cost fewer bytes.
//!
//! # Method
//! Rᵍ is the mean over all groups of g weights of the step between codes that the range of the group asks for. Beginning with
//! whole rows, the group is halved while R^(g/2) ≤ `alpha` · Rᵍ, down to `smallest`. Every matrix is then rounded to the nearest
//! codes.
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / g], g by the matrix.
//!
//! # Departures
//! The mean and the default of `alpha` are ours and not held against the paper's listing. With 0.9, matrices of normally
//! distributed weights keep whole rows, those with outliers do not. Groups are powers of two that divide the row; where the
//! first is less than half of the row, it must bring the range to `alpha` for each halving. A matrix whose format was asked for
//! by role or name keeps it.
//!
//! # Cost
//! A pass over the weights for each size that is tried, and one that rounds.
//!
//! # Reference
//! Y. J. Kim, R. Henry, R. Fahim, H. H. Awadalla: FineQuant: Unlocking Efficiency with Fine-Grained Weight-Only Quantization
//! for LLMs, 2023, arXiv:2308.09723.

use super::{Method, Recipe, wrong};
use crate::{
    Card, ChooseFormat, Claim, Paper, QuantError,
    fit::Range,
    solve::{decode, share},
};
use lowbit_format::{FormatError, GroupFit, GroupShape, GroupedSpec, NK, QuantTensor, ScaleLevel};
use serde::{Deserialize, Serialize};

/// Rows that are one task.
const ROWS: usize = 256;

/// Settings of `finequant`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FineQuant {
    /// Part to which halving the groups must bring their mean range, 0.5 to 1: less keeps more large groups.
    pub alpha: f64,
    /// The smallest groups, a power of two from 4 to 1024.
    pub smallest: u32,
}

impl Default for FineQuant {
    fn default() -> Self {
        Self { alpha: 0.9, smallest: 64 }
    }
}

impl Method for FineQuant {
    const CARD: Card = Card {
        name: "finequant",
        summary: "nearest codes, the size of groups by matrix from how ranges shrink with it",
        formats: "one scale level of rows or groups",
        default_format: "int4-sym-row",
        paper: Some(Paper {
            title: "FineQuant: Unlocking Efficiency with Fine-Grained Weight-Only Quantization for LLMs",
            source: "arXiv:2308.09723",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "OPT-175B, on the same number of GPUs, at most",
            metric: "throughput, relative",
            published: 3.65,
            baseline: ("f16", 1.0),
            source: "Abstract",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(0.5..=1.0).contains(&self.alpha) {
            return Err(wrong::<Self>(format!("alpha is {}, expected 0.5 to 1", self.alpha)));
        }
        if !(4..=1024).contains(&self.smallest) || !self.smallest.is_power_of_two() {
            let why = format!("smallest is {}, expected a power of two from 4 to 1024", self.smallest);
            return Err(wrong::<Self>(why));
        }
        Ok(Recipe {
            format: Some(Box::new(ByRange { alpha: self.alpha, smallest: self.smallest })),
            check,
            ..Recipe::nearest(&Self::CARD, Range)
        })
    }
}

fn check(spec: &GroupedSpec) -> Result<(), &'static str> {
    match spec.levels() {
        [level] if matches!(level.shape, GroupShape::Row | GroupShape::Group(_)) => Ok(()),
        _ => Err("it chooses how many weights share a scale; give one scale level, of rows or groups"),
    }
}

struct ByRange {
    alpha: f64,
    smallest: u32,
}

impl ByRange {
    /// Shapes from whole rows down: groups of powers of two that divide the row, each half of the one before.
    fn shapes(&self, k: usize) -> Vec<GroupShape> {
        let sizes = (0..32).rev().map(|power| 1u32 << power);
        let whole = sizes.filter(|size| {
            *size >= self.smallest && (*size as usize) < k && k.is_multiple_of(*size as usize)
        });
        std::iter::once(GroupShape::Row).chain(whole.map(GroupShape::Group)).collect()
    }
}

impl ChooseFormat for ByRange {
    fn name(&self) -> &'static str {
        "group sizes by range"
    }

    fn choose(
        &self,
        weight: &QuantTensor,
        default: &GroupedSpec,
        threads: usize,
    ) -> Result<GroupedSpec, FormatError> {
        let NK { k, .. } = weight.shape();
        let shapes = self.shapes(k);
        let ranges = ranges(weight, default, &shapes, threads)?;
        let mut chosen = 0;
        for (i, pair) in shapes.windows(2).enumerate() {
            // From rows that are no power of two the first step is longer than a half.
            let halvings = (pair[0].len_in_row(k) as f64 / pair[1].len_in_row(k) as f64).log2();
            let enough = ranges[i + 1] <= self.alpha.powf(halvings) * ranges[i];
            if !enough || ranges[i] == 0.0 {
                break;
            }
            chosen = i + 1;
        }
        let level = ScaleLevel { shape: shapes[chosen], ..default.levels()[0] };
        GroupedSpec::new(default.element(), vec![level])
    }
}

/// The mean step of the groups of each shape.
fn ranges(
    weight: &QuantTensor,
    spec: &GroupedSpec,
    shapes: &[GroupShape],
    threads: usize,
) -> Result<Vec<f64>, FormatError> {
    let NK { n, k } = weight.shape();
    let sums = share(threads, (0..n).step_by(ROWS), |start| {
        let (weights, _) = decode(weight, start..(start + ROWS).min(n))?;
        let step = |group: &[f32]| f64::from(GroupFit::of_range(spec.element(), group).scale);
        let sum = |shape: &GroupShape| {
            let rows = weights.chunks_exact(k);
            rows.flat_map(|row| row.chunks(shape.len_in_row(k))).map(step).sum::<f64>()
        };
        Ok(shapes.iter().map(sum).collect::<Vec<f64>>())
    });
    let mut total = vec![0.0; shapes.len()];
    for sums in sums {
        total.iter_mut().zip(sums?).for_each(|(total, sum)| *total += sum);
    }
    let groups = |shape: &GroupShape| (n * shape.per_row(k)).max(1) as f64;
    Ok(total.iter().zip(shapes).map(|(total, shape)| total / groups(shape)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_format::WeightSpec;
    use lowbit_testing::seeded_values;

    fn grouped(label: &str) -> GroupedSpec {
        match WeightSpec::parse(label).unwrap() {
            WeightSpec::Grouped(spec) => spec,
            other => panic!("{other}"),
        }
    }

    fn chosen(part: &ByRange, weights: &[f32], k: usize, label: &str) -> String {
        let shape = NK { n: weights.len() / k, k };
        let tensor =
            QuantTensor::quantize_nearest(&WeightSpec::parse("f32").unwrap(), weights, shape).unwrap();
        let one = part.choose(&tensor, &grouped(label), 1).unwrap();
        assert_eq!(one, part.choose(&tensor, &grouped(label), 3).unwrap());
        WeightSpec::Grouped(one).label()
    }

    #[test]
    fn groups_are_halved_as_long_as_their_mean_range_falls_to_alpha() {
        let (n, k) = (300, 512);
        let uniform = seeded_values("weights", n * k, 1.0, 0.0);
        for power in [1, 3, 7, 15] {
            let weights: Vec<f32> = uniform.iter().map(|u| u.powi(power)).collect();
            let mean_range = |size: usize| {
                let range = |group: &[f32]| {
                    let (low, high) = group.iter().fold((0f32, 0f32), |(l, h), w| (l.min(*w), h.max(*w)));
                    f64::from(high - low)
                };
                weights.chunks(size).map(range).sum::<f64>() / (weights.len() / size) as f64
            };
            for alpha in [0.7, 0.9, 0.95, 1.0] {
                let mut size = k;
                while size > 64 && mean_range(size / 2) <= alpha * mean_range(size) {
                    size /= 2;
                }
                let label = if size == k { "int4-asym-row".into() } else { format!("int4-asym-g{size}") };
                let part = ByRange { alpha, smallest: 64 };
                assert_eq!(chosen(&part, &weights, k, "int4-asym-row"), label, "{power} {alpha}");
            }
        }
    }

    #[test]
    fn even_weights_keep_their_rows_and_outliers_ask_for_the_smallest_groups() {
        let k = 576;
        let mut weights: Vec<f32> = (0..4 * k).map(|i| if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
        let part = ByRange { alpha: 0.9, smallest: 16 };
        assert_eq!(chosen(&part, &weights, k, "int3-sym-g4-bf16"), "int3-sym-row-bf16");
        weights.iter_mut().step_by(k).for_each(|w| *w = 50.0);
        assert_eq!(chosen(&part, &weights, k, "int3-sym-g4-bf16"), "int3-sym-g16-bf16");
        // No power of two of that size divides such rows.
        assert_eq!(chosen(&part, &weights[..4 * 44], 44, "int4-asym-row"), "int4-asym-row");
        assert_eq!(chosen(&part, &vec![0.0; 4 * k], k, "int4-sym-row"), "int4-sym-row");
    }

    #[test]
    fn formats_whose_groups_are_not_to_choose_are_refused() {
        for label in ["int4-asym-g32-int6-g256", "ternary-tensor-f32"] {
            assert!(check(&grouped(label)).is_err(), "{label}");
        }
        for smallest in [0, 2, 48, 2048] {
            assert!(FineQuant { smallest, ..FineQuant::default() }.recipe().is_err(), "{smallest}");
        }
    }
}
