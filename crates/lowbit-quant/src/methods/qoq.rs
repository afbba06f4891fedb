//! QoQ, the algorithm of QServe.
//!
//! # What it does
//! Rounds weights to 8 bits a row and these to 4 bits in groups, so that nothing on the way back leaves 8 bits, and meets them with
//! activations of 8 bits. What makes rounding hard is taken away first: inputs of blocks are rotated, those of the
//! layers at the end of a part are scaled and sorted, keys are made even for a cache of few bits, and ranges are clipped.
//!
//! # Method
//! Progressive groups (section 4.1): q₈ = ⌊W / s₈⌉ with s₈ = max|W| / 119 for each row, then s₄ = ⌊(max q₈ − min q₈) / 15⌉,
//! z = ⌊−min q₈ / s₄⌉ and q = ⌊q₈ / s₄⌉ + z for each group: (q − z) · s₄ is at most s₄ / 2 ≤ 8 away from q₈, and 119 + 8 = 127.
//! SmoothAttention (section 4.2): λᵢ = λᵢ₊ d/2 = max(|Kᵢ|, |Kᵢ₊ d/2|)^α divides keys and multiplies queries, in their
//! projections. Section 4.3: query, key, value, gate and up read rotated inputs; output and down read inputs that are
//! smoothed as by SmoothQuant with an α near 0 and sorted by max|Xⱼ|, so that a group holds columns of like salience; the
//! range of a group is clipped at the ratio that loses the least of its products.
//!
//! # Shapes
//! W [N, K], s₄ and z [N, K / group_size], s₈ [N], λ [key channels], s and the order [K].
//!
//! # Departures
//! W4A8: the paper's 4-bit keys and values follow with the codecs of the cache. Groups of 64 by default, as all methods here
//! have; the paper's are of 128 (`--format int4-asym-g128-int8-row`). Rotation and order are applied to inputs when they are
//! there, where the paper folds them into the layers before; the output projection is smoothed only where every query head
//! has a value head of its own. Experts are not sorted. λ is found on keys of sampled tokens, before their positions are
//! turned in. Ranges of queries and keys are not clipped; the paper measures the error of the block's output for them. α of
//! the smoothing is that of the released settings for groups of 128; their GPTQ is left out. Every token counts the same in
//! errors (`equal_tokens`).
//!
//! # Cost
//! 11 roundings of every group with its products; one pass of the model over the calibration. At run time
//! K log₂ K additions and two permutations a block and token.
//!
//! # Reference
//! Y. Lin, H. Tang, S. Yang, Z. Zhang, G. Xiao, C. Gan, S. Han: QServe: W4A8KV4 Quantization and System Co-design for
//! Efficient LLM Serving, MLSys 2025, arXiv:2405.04532.

use super::{Activations, Method, Recipe, wrong};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::{Fit, Range, Shrink},
    solve::{Coarse, TwoLevel},
    stats::{Inputs, Needs},
    transform::{FindScale, Migrate, Place, Reorder, Rotate, Seam, SmoothAttention},
};
use lowbit_format::ActSpec;
use lowbit_model::Role;
use serde::{Deserialize, Serialize};

/// The largest 8-bit integer of a row: 8 less than 127.
const PROTECTED: u8 = 119;
/// What the blocks read, and what the layers at the end of their parts do.
const BLOCK_IN: &[Place] = &[Place::AttentionIn, Place::FfnIn];
const BLOCK_OUT: &[Place] = &[Place::ValueOut, Place::DownIn];

/// Settings of `qoq`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Qoq {
    /// Whether the inputs of blocks are rotated.
    pub rotate: bool,
    /// Of the rotation's random signs.
    pub seed: u64,
    /// α of SmoothAttention, from 0 (none) to 1.
    pub attention: f64,
    /// α of the smoothing of what output and down projections read, from 0 to 1.
    pub smooth: f64,
    /// Whether what output and down projections read is sorted.
    pub reorder: bool,
    /// Whether ranges are clipped.
    pub clip: bool,
    /// Tokens that keys and errors are measured on, 1 to 65536.
    pub samples: usize,
    /// Whether every token counts the same: its inputs are divided by their root mean square.
    pub equal_tokens: bool,
    /// In which numbers activations are multiplied when the model runs, which the file prescribes then.
    pub activations: Activations,
}

impl Default for Qoq {
    fn default() -> Self {
        Self {
            rotate: true,
            seed: 0,
            attention: 0.5,
            smooth: 0.3,
            reorder: true,
            clip: true,
            samples: 512,
            equal_tokens: true,
            activations: Activations(Some(ActSpec::Int8Token)),
        }
    }
}

impl Method for Qoq {
    const CARD: Card = Card {
        name: "qoq",
        summary: "8 bits a row, then 4 bits in groups that stay in them; rotated, smoothed and sorted inputs, even keys",
        formats: "integers of 2 to 6 bits with integer scales over a scale of rows",
        default_format: "int4-asym-g64-int8-row",
        paper: Some(Paper {
            title: "QServe: W4A8KV4 Quantization and System Co-design for Efficient LLM Serving",
            source: "arXiv:2405.04532",
            year: 2024,
        }),
        claims: &[
            Claim {
                setting: "Llama-2-7B, W4A8KV4 in groups of 128 against W4A16 in such groups, WikiText-2",
                metric: "perplexity",
                published: 5.70,
                baseline: ("awq", 5.60),
                source: "Table 2",
            },
            Claim {
                setting: "Llama-2-7B, W4A8KV4 in groups of 128 against W4A4, WikiText-2",
                metric: "perplexity",
                published: 5.70,
                baseline: ("quarot", 6.19),
                source: "Table 2",
            },
        ],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        for (name, value) in [("attention", self.attention), ("smooth", self.smooth)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(wrong::<Self>(format!("{name} is {value}, expected 0 to 1")));
            }
        }
        if !(1..=65_536).contains(&self.samples) {
            return Err(wrong::<Self>(format!("samples is {}, expected 1 to 65536", self.samples)));
        }
        let Self { samples, equal_tokens, .. } = *self;
        let shrink = Shrink { grid: 20, max_shrink: 0.5, samples, equal_tokens };
        let fit: Box<dyn Fit> = if self.clip { Box::new(shrink) } else { Box::new(Range) };
        let mut recipe = Recipe {
            activations: self.activations.0,
            rotate: self.rotate.then_some(Rotate { seed: self.seed, places: BLOCK_IN }),
            scales: vec![Box::new(BlockOutputs(Migrate { alpha: self.smooth as f32 }))],
            reorder: self.reorder.then_some(Reorder { places: BLOCK_OUT }),
            fit,
            solve: Box::new(TwoLevel { coarse: Coarse::Bounded { limit: PROTECTED } }),
            ..Recipe::nearest(&Self::CARD, Range)
        };
        if self.attention > 0.0 {
            recipe.attention = Some(SmoothAttention { alpha: self.attention as f32, samples });
        }
        if self.clip {
            recipe.fit_for.push((&[Role::Query, Role::Key], Box::new(Range)));
        }
        Ok(recipe)
    }
}

/// SmoothQuant's scales at the end of both parts of a block.
struct BlockOutputs(Migrate);

impl FindScale for BlockOutputs {
    fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, ..Needs::NONE }
    }

    fn places(&self) -> &[Place] {
        BLOCK_OUT
    }

    fn find(&self, seam: &Seam<'_>) -> Option<Vec<f32>> {
        Some(self.0.scales(seam))
    }
}
