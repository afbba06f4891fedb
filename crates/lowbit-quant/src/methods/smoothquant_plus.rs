//! SmoothQuant+.
//!
//! # What it does
//! Moves outliers of activations into the weights, as SmoothQuant does, but for weights of 4 bits and activations as they are:
//! the error of a weight costs as much as the input that meets it is large. How much is moved is one number for the whole
//! model, the one that loses the least.
//!
//! # Method
//! At every seam sⱼ = max|Xⱼ|^α / max|Wⱼ|^(1 − α). For α = 0, `step`, 2 · `step`, …, 1 the loss of the model is the sum over
//! the layers of ‖(W − Q(W diag(s)) diag(s)⁻¹) X‖² over sampled tokens, Q rounding to the nearest codes; the α of the least
//! loss is taken for all blocks, scales are folded into what makes the inputs, and the weights rounded in groups.
//!
//! # Shapes
//! W [N, K], s [K], X [K, samples], scales and zero points [N, K / group_size].
//!
//! # Departures
//! Every token counts the same in the loss (`equal_tokens`), as with `awq`. Layers read what those of the source give, so that
//! all α are compared in one pass. All four seams of a block are scaled where the model has them, not only the two behind
//! norms. Layers whose inputs cannot be scaled do not count in the loss: no α changes what they lose. Groups are of 64 unless said
//! otherwise, which divide the rows of small models, and of 128 in the paper.
//!
//! # Cost
//! Two passes of the model over the calibration; 1 / `step` + 1 roundings and products of every matrix with `samples` tokens.
//!
//! # Reference
//! J. Pan, C. Wang, K. Zheng, Y. Li, Z. Wang, B. Feng: SmoothQuant+: Accurate and Efficient 4-bit Post-Training Weight
//! Quantization for LLM, 2023, arXiv:2312.03788.

use super::{Method, Recipe, wrong};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::Range,
    stats::{Inputs, Needs},
    transform::{FindScale, Migrate, Place, Seam},
};
use serde::{Deserialize, Serialize};

/// Settings of `smoothquant_plus`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothQuantPlus {
    /// Step of the grid of α, 0.01 to 1.
    pub step: f64,
    /// Tokens that losses are measured on, 1 to 65536.
    pub samples: usize,
    /// Whether every token counts the same in losses: its inputs are divided by their root mean square.
    pub equal_tokens: bool,
}

impl Default for SmoothQuantPlus {
    fn default() -> Self {
        Self { step: 0.05, samples: 512, equal_tokens: true }
    }
}

impl Method for SmoothQuantPlus {
    const CARD: Card = Card {
        name: "smoothquant_plus",
        summary: "outliers of activations moved into weights, as much in all blocks as loses the least in the whole model",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "SmoothQuant+: Accurate and Efficient 4-bit Post-Training Weight Quantization for LLM",
            source: "arXiv:2312.03788",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "Code Llama-34B, 4 bits on one A100 40GB, FP16 on two",
            metric: "latency of a token, relative",
            published: 0.68,
            baseline: ("f16", 1.0),
            source: "Abstract",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(0.01..=1.0).contains(&self.step) {
            return Err(wrong::<Self>(format!("step is {}, expected 0.01 to 1", self.step)));
        }
        if !(1..=65_536).contains(&self.samples) {
            return Err(wrong::<Self>(format!("samples is {}, expected 1 to 65536", self.samples)));
        }
        let mut recipe = Recipe::nearest(&Self::CARD, Range);
        for alpha in grid(self.step) {
            let (samples, equal_tokens) = (self.samples, self.equal_tokens);
            recipe.scales.push(Box::new(Candidate { alpha, samples, equal_tokens }));
        }
        Ok(recipe)
    }
}

/// 0, `step`, 2 · `step`, …, as far as 1.
fn grid(step: f64) -> impl Iterator<Item = f32> {
    // What a step is off by in binary must not cost the last one.
    (0..=(1.0 / step + 1e-9) as u32).map(move |i| (f64::from(i) * step) as f32)
}

/// One α.
struct Candidate {
    alpha: f32,
    samples: usize,
    equal_tokens: bool,
}

impl FindScale for Candidate {
    fn needs(&self) -> Needs {
        Needs {
            inputs: Inputs::Magnitudes,
            samples: self.samples,
            equal_tokens: self.equal_tokens,
            ..Needs::NONE
        }
    }

    fn label(&self) -> String {
        format!("alpha={}", self.alpha)
    }

    fn places(&self) -> &[Place] {
        &Place::ALL
    }

    fn find(&self, seam: &Seam<'_>) -> Option<Vec<f32>> {
        Some(Migrate { alpha: self.alpha }.scales(seam))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{driver::losses, stats::InputStats, transform::Consumer};
    use lowbit_format::{NK, QuantTensor, WeightSpec};
    use lowbit_testing::seeded_values;

    #[test]
    fn losses_are_those_of_the_formula_with_every_alpha() {
        let (k, tokens, spec) = (64, 11, WeightSpec::parse("int4-asym-g16").unwrap());
        let WeightSpec::Grouped(grouped) = &spec else { unreachable!() };
        let cube = |x: &f32| x * x * x;
        let x: Vec<f32> = seeded_values("inputs", tokens * k, 2.0, 0.0).iter().map(cube).collect();
        let layers = [("a", 5), ("b", 9)].map(|(name, n)| (n, seeded_values(name, n * k, 1.0, 0.0)));
        let most = |rows: &[f32], j: usize| rows[j..].iter().step_by(k).fold(0f32, |m, v| m.max(v.abs()));
        let max_x: Vec<f32> = (0..k).map(|j| most(&x, j)).collect();
        let stats = InputStats::new(
            tokens as u64,
            [vec![1.0; k], max_x.clone(), vec![1.0; k]],
            (x.clone(), Vec::new()),
            None,
        );
        let consumers = layers.iter().map(|(n, weights)| Consumer {
            weights: weights.clone(),
            shape: NK { n: *n, k },
            spec: grouped.clone(),
        });
        let seam = Seam {
            place: Place::AttentionIn,
            consumers: consumers.collect(),
            stats: &stats,
            fit: &Range,
            threads: 2,
        };
        let recipe = SmoothQuantPlus { samples: tokens, ..SmoothQuantPlus::default() }.recipe().unwrap();
        let found = losses(&recipe, &seam);
        assert_eq!(found.len(), 21);
        for (i, found) in found.iter().enumerate() {
            let alpha = (0.05 * i as f64) as f32;
            assert_eq!(recipe.scales[i].label(), format!("alpha={alpha}"));
            let s: Vec<f32> = (0..k)
                .map(|j| {
                    let max_w = layers.iter().map(|(_, w)| most(w, j)).fold(0f32, f32::max);
                    max_x[j].powf(alpha) / max_w.powf(1.0 - alpha)
                })
                .collect();
            let mut expected = 0.0;
            for (n, weights) in &layers {
                let scaled: Vec<f32> = weights.iter().enumerate().map(|(i, w)| w * s[i % k]).collect();
                let rounded = QuantTensor::quantize_nearest(&spec, &scaled, NK { n: *n, k }).unwrap();
                let mut row = vec![0.0; k];
                for r in 0..*n {
                    rounded.decode_row(r, &mut row);
                    for t in 0..tokens {
                        let y = |j: usize| {
                            f64::from(weights[r * k + j] - row[j] / s[j]) * f64::from(x[t * k + j])
                        };
                        expected += (0..k).map(y).sum::<f64>().powi(2);
                    }
                }
            }
            // Products in single precision, and a tie here and there.
            assert!((found - expected).abs() < 1e-3 * expected, "{alpha} {found} {expected}");
        }
    }

    #[test]
    fn the_grid_reaches_from_nothing_to_one() {
        assert_eq!(grid(0.05).count(), 21);
        assert_eq!(grid(0.05).last(), Some(1.0));
        assert_eq!(grid(0.3).collect::<Vec<f32>>(), [0.0, 0.3, 0.6, 0.9]);
        assert!(SmoothQuantPlus { step: 0.0, ..SmoothQuantPlus::default() }.recipe().is_err());
    }
}
