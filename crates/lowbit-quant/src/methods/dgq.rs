//! DGQ.
//!
//! # What it does
//! Rounds weights to 4 bits in groups whose scales are small integers in units of one scale a row, so that every weight is an
//! 8-bit integer of its row, and meets them with activations of 8 bits: 4 bits to store, products of integers to compute.
//! A few columns of outliers of the activations are scaled down before.
//!
//! # Method
//! W ≈ (q − z) · s₄ · s₈ with q and z of 4 bits, s₄ an integer of 8 bits for each group and s₈ a float for each row (equation 2);
//! |(q − z) · s₄| ≤ 127 limits the codes of a group (equation 5). Two searches: group by group the share of the range that
//! loses the least of the group's products gives q, z and s₄ s₈; then, row by row, s₈ = r · max|W| / 127 for the r that loses the
//! least of the row's products. Activations (section 3.4): sⱼ = max(1, max|Xⱼ| / m), m the largest magnitude of the column
//! that stands after the share `outliers` of the columns; x is divided by s where it is made, the columns of the weights
//! multiplied by it.
//!
//! # Shapes
//! W [N, K], s₄ and z [N, K / group_size], s₈ [N], s [K].
//!
//! # Departures
//! Groups of 64 by default, as all methods here have; the paper's are of 128 (`--format int4-asym-g128-int8-row`).
//! Activations get a scale for each token when they are there; the paper has that and one scale found before. r goes down
//! from 1 in steps of 0.01, by `fine_shrink` and `coarse_shrink`; the released code begins just above 1. Errors are
//! measured on `samples` tokens of the whole calibration, every one counting the same (`equal_tokens`), not on those of the last
//! text. The integers of a group are summed, multiplied by s₄ and added, and the
//! sum by s₈; the integers of a row are not one sum.
//!
//! # Cost
//! 20 roundings of every group with its products, 80 of every matrix with `samples` tokens; one pass of the model over the
//! calibration.
//!
//! # Reference
//! L. Zhang, W. Fei, W. Wu, Y. He, Z. Lou, H. Zhou: Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM,
//! arXiv:2310.04836.

use super::{Activations, Method, Recipe, wrong};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::Shrink,
    solve::{Coarse, TwoLevel},
    stats::{Inputs, Needs},
    transform::{FindScale, Place, Seam},
};
use lowbit_format::ActSpec;
use serde::{Deserialize, Serialize};

/// Steps into which ranges are cut.
const GRID: u32 = 100;

/// Settings of `dgq`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dgq {
    /// Share of the columns of an activation that are scaled down to the others, from 0 to 1.
    pub outliers: f64,
    /// Part of a group's range that may be cut off, from 0 to below 1.
    pub fine_shrink: f64,
    /// Part of a row's range that may be cut off, from 0 to below 1.
    pub coarse_shrink: f64,
    /// Tokens that errors are measured on, 1 to 65536.
    pub samples: usize,
    /// Whether every token counts the same: its inputs are divided by their root mean square.
    pub equal_tokens: bool,
    /// In which numbers activations are multiplied when the model runs, which the file prescribes then.
    pub activations: Activations,
}

impl Default for Dgq {
    fn default() -> Self {
        Self {
            outliers: 0.005,
            fine_shrink: 0.2,
            coarse_shrink: 0.8,
            samples: 256,
            equal_tokens: true,
            activations: Activations(Some(ActSpec::Int8Token)),
        }
    }
}

impl Method for Dgq {
    const CARD: Card = Card {
        name: "dgq",
        summary: "4-bit groups that are 8-bit integers of a row, by two searches; outliers of activations clipped into weights",
        formats: "integers of 2 to 6 bits with integer scales over a scale of rows",
        default_format: "int4-asym-g64-int8-row",
        paper: Some(Paper {
            title: "Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM",
            source: "arXiv:2310.04836",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "A8W4 on a GPU, against their A16W4",
            metric: "speed, times",
            published: 3.24,
            baseline: ("A16W4", 1.0),
            source: "Abstract",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        let within = |name: &str, value: f64| {
            let why = || wrong::<Self>(format!("{name} is {value}, expected from 0 to below 1"));
            if (0.0..1.0).contains(&value) { Ok(value as f32) } else { Err(why()) }
        };
        if !(1..=65_536).contains(&self.samples) {
            return Err(wrong::<Self>(format!("samples is {}, expected 1 to 65536", self.samples)));
        }
        let Self { samples, equal_tokens, .. } = *self;
        let max_shrink = within("fine_shrink", self.fine_shrink)?;
        let fit = Shrink { grid: GRID, max_shrink, samples, equal_tokens };
        let max_shrink = within("coarse_shrink", self.coarse_shrink)?;
        let coarse = Coarse::Searched { grid: GRID, max_shrink, samples, equal_tokens };
        Ok(Recipe {
            activations: self.activations.0,
            scales: vec![Box::new(PercentileClipping { outliers: within("outliers", self.outliers)? })],
            solve: Box::new(TwoLevel { coarse }),
            ..Recipe::nearest(&Self::CARD, fit)
        })
    }
}

/// Brings the columns with the largest activations down to the rest.
struct PercentileClipping {
    outliers: f32,
}

impl FindScale for PercentileClipping {
    fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, ..Needs::NONE }
    }

    fn places(&self) -> &[Place] {
        &[Place::AttentionIn, Place::FfnIn, Place::DownIn]
    }

    fn find(&self, seam: &Seam<'_>) -> Option<Vec<f32>> {
        let largest = &seam.stats.abs_max;
        let mut sorted = largest.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let above = (largest.len() as f32 * self.outliers + 0.5) as usize;
        let most = *sorted.get(above)?;
        // Below it everything is so small that the quotient says nothing.
        (most >= 1e-4).then(|| largest.iter().map(|x| (x / most).max(1.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fit::Range, stats::InputStats};

    #[test]
    fn the_share_of_columns_with_the_largest_inputs_comes_down_to_the_next_and_no_other_changes() {
        let find = |abs_max: Vec<f32>| {
            let k = abs_max.len();
            let magnitudes = [vec![1.0; k], abs_max, vec![1.0; k]];
            let stats = InputStats::new(1, magnitudes, (Vec::new(), Vec::new()), None);
            let place = Place::FfnIn;
            let seam = Seam { place, consumers: Vec::new(), stats: &stats, fit: &Range, threads: 1 };
            PercentileClipping { outliers: 0.005 }.find(&seam)
        };
        let mut largest: Vec<f32> = (0..400).map(|i| 1.0 + (i * 37 % 400) as f32 / 400.0).collect();
        (largest[17], largest[201], largest[300]) = (50.0, 400.0, 4.0);
        let scales = find(largest.clone()).unwrap();
        // Half a percent of 400 columns are two; the third is what they are brought down to.
        for (i, (scale, x)) in scales.into_iter().zip(&largest).enumerate() {
            let expected = if i == 17 || i == 201 { x / 4.0 } else { 1.0 };
            assert_eq!(scale, expected, "{i}");
        }
        assert!(find(vec![0.0; 64]).is_none());
    }
}
