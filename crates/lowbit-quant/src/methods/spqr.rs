//! SpQR.
//!
//! # What it does
//! Rounds in very small groups whose scales and zero points are rounded as well, and keeps the few weights beside them that would cost
//! the most.
//!
//! # Method
//! A weight is an outlier where its group, fitted without it, loses much less: what all others and it lose, Σ (w − Q(w))² / [H⁻¹]ⱼⱼ, less
//! what the others lose alone (section 4.1, algorithm 1, `outliers`). Groups are fitted without outliers, codes chosen column after column
//! as in GPTQ, and outliers keep their value as it is when the sweep reaches them. Scales and zero points of groups of 16 have
//! few bits each, scales in units of one for several groups (section 4.2).
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / 16], units [N], outliers one by one with their column.
//!
//! # Departures
//! The share of outliers is given in place of the threshold that leads to it, so that the size is known before. [H⁻¹]ⱼⱼ is that of the columns from j on, in
//! the order of the sweep. Zero points have as many bits as weights, and none of a second level. Scales have 6 bits in units of one for a row, in
//! place of 3 bits and one for 256 weights: as many bits and as good, and kernels read them as they are (`--format int3-asym-g16-int3-g256` is
//! nearer to the paper, and decodes slowly); they have no minimum of their own. Columns with the largest inputs come first. Outliers and scales are chosen before the
//! sweep, as scales of two levels must be, and not when it reaches their group: that loses 17 % more of the outputs of the layer in `tests/golden/spqr.py`.
//!
//! # Cost
//! That of `gptq`, and a fit for every weight: `group_size` roundings of it.
//!
//! # Reference
//! T. Dettmers, R. Svirschevski, V. Egiazarian, D. Kuznedelev, E. Frantar, S. Ashkboos, A. Borzunov, T. Hoefler, D. Alistarh: SpQR: A
//! Sparse-Quantized Representation for Near-Lossless LLM Weight Compression, ICLR 2024, arXiv:2306.03078.

use super::{Method, Recipe, check_damp, wrong};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::{Group, Range, highest, round},
    solve::{Keep, Kept, Matrix, share},
};
use lowbit_format::{FloatFormat, GroupShape, GroupedSpec, WeightSpec};
use serde::{Deserialize, Serialize};

/// Settings of `spqr`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spqr {
    /// Share of the weights that are outliers, 0 to 0.5.
    pub outliers: f64,
    /// What is added to the diagonal of H, in parts of its mean, above 0 and at most 1.
    pub damp: f64,
    /// Whether all tokens count the same, as in `gptq`.
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk by their number over itself and that of tokens, as in `gptq`.
    pub shrink: bool,
}

impl Default for Spqr {
    fn default() -> Self {
        Self { outliers: 0.01, damp: 0.01, equal_tokens: true, shrink: true }
    }
}

/// Groups are fitted once for each of their weights.
const LONGEST_GROUP: u32 = 256;

impl Method for Spqr {
    const CARD: Card = Card {
        name: "spqr",
        summary: "very small groups with rounded scales, outliers by sensitivity kept in 16 bits, column by column",
        formats: "groups of at most 256",
        default_format: "int3-asym-g16-int6-row",
        paper: Some(Paper {
            title: "SpQR: A Sparse-Quantized Representation for Near-Lossless LLM Weight Compression",
            source: "arXiv:2306.03078",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "LLaMA-7B, 3.94 bits against 4, WikiText-2",
            metric: "perplexity",
            published: 5.87,
            baseline: ("gptq", 6.13),
            source: "Table 1",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(0.0..=0.5).contains(&self.outliers) {
            return Err(wrong::<Self>(format!("outliers is {}, expected 0 to 0.5", self.outliers)));
        }
        check_damp::<Self>(self.damp)?;
        let kept = Kept {
            damp: self.damp,
            equal_tokens: self.equal_tokens,
            shrink: self.shrink,
            share: self.outliers,
            keep: Box::new(Sensitive),
            format: WeightSpec::Float(FloatFormat::F16),
        };
        let check = |spec: &GroupedSpec| match spec.levels()[0].shape {
            GroupShape::Group(size) if size <= LONGEST_GROUP => Ok(()),
            _ => Err("it fits every group without each of its weights; take groups of at most 256"),
        };
        Ok(Recipe { check, ..Recipe::sweep(&Self::CARD, Range, kept) })
    }
}

/// How much less a group loses that is fitted without a weight.
struct Sensitive;

impl Keep for Sensitive {
    fn name(&self) -> &'static str {
        "column sweep, sensitive weights kept"
    }

    fn worth(&self, matrix: &Matrix<'_>) -> Vec<f32> {
        let (k, len) = (matrix.shape.k, matrix.spec.levels()[0].shape.len_in_row(matrix.shape.k));
        let rows = share(matrix.threads, matrix.weights.chunks(k), |row| {
            let groups = row.chunks(len).zip(matrix.curvature.chunks(len));
            groups.flat_map(|(group, curvature)| gains(matrix, group, curvature)).collect::<Vec<f32>>()
        });
        rows.concat()
    }
}

fn gains(matrix: &Matrix<'_>, group: &[f32], curvature: &[f32]) -> Vec<f32> {
    let highest = highest(matrix.spec);
    // What weights lose, all but one of them, under the fit of the same.
    let lost = |without: Option<usize>| {
        let taken = |i: &usize| Some(*i) != without;
        let rest: Vec<f32> = (0..group.len()).filter(taken).map(|i| group[i]).collect();
        let fit = matrix.spec.stored(matrix.fit.fit(matrix.spec, &Group::new(&rest)));
        let nearest = |w: f32| if fit.scale == 0.0 { 0.0 } else { round(w, fit, highest) };
        let each =
            (0..group.len()).filter(taken).map(|i| (group[i] - nearest(group[i])).powi(2) * curvature[i]);
        each.sum::<f32>()
    };
    let all = lost(None);
    (0..group.len()).map(|i| all - lost(Some(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_format::NK;

    #[test]
    fn a_weight_is_worth_what_its_group_loses_less_without_it() {
        let WeightSpec::Grouped(spec) = WeightSpec::parse("int3-asym-g4-f32").unwrap() else {
            panic!("groups")
        };
        let weights = [0.0, 0.7, 0.33, -7.0, 0.0, 1.0, 2.0, 7.0];
        let curvature = [1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0];
        let matrix = Matrix {
            weights: &weights,
            shape: NK { n: 1, k: 8 },
            spec: &spec,
            fit: &Range,
            importance: &curvature,
            curvature: &curvature,
            threads: 1,
        };
        let worth = Sensitive.worth(&matrix);
        // Steps of 1.1 with the outlier: 0.7, 0.33 and -7 become 1.1, 0 and -6.6. Steps of 0.1 without it: 0.33 becomes 0.3.
        let all = 2.0 * 0.4f32.powi(2) + 3.0 * 0.33f32.powi(2) + 4.0 * 0.4f32.powi(2);
        let without = 3.0 * 0.03f32.powi(2);
        assert!((worth[3] - (all - without)).abs() < 1e-4, "{worth:?}");
        assert!(worth[..3].iter().all(|w| *w < worth[3]), "{worth:?}");
        // The second group loses nothing as it is.
        assert!(worth[4..].iter().all(|w| *w <= 0.0), "{worth:?}");
    }

    #[test]
    fn a_layer_loses_a_sixth_more_than_by_the_papers_own_way_and_far_less_than_without_outliers() {
        let golden = include_str!("../../tests/golden/spqr.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let list = |name: &str| -> Vec<f32> {
            serde_json::from_value(golden[name].clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let of = |name: &str| golden[name].as_f64().unwrap();
        let shape = NK { n: of("n") as usize, k: of("k") as usize };
        let lost = |outliers: f64| {
            let recipe =
                Spqr { outliers, equal_tokens: false, shrink: false, ..Spqr::default() }.recipe().unwrap();
            let layer = (&list("w")[..], &list("x")[..], shape);
            crate::solve::testing::lost(&*recipe.solve, layer, "int3-asym-g16-f32")[1]
        };
        let (with, without) = (lost(of("outliers")), lost(0.0));
        // Outliers and scales are chosen before the sweep here, and when it reaches a group there.
        assert!(with < 1.18 * of("lost"), "{with} {}", of("lost"));
        assert!(with < 0.75 * without, "{with} {without} {}", of("plain"));
    }
}
