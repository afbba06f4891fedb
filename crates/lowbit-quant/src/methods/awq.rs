//! AWQ.
//!
//! # What it does
//! Scales up the columns of weights that meet large inputs before they are rounded, and takes the scale back where the
//! inputs are made: those weights lose less, and the model computes the same. Nothing is left to do at run time.
//!
//! # Method
//! Scales are s = mean|x|^α (equations 4 and 5), for α on a grid from 0 to 1 the one with the least error of what the layers
//! that read there give, ‖(W − Q(W diag(s)) diag(s)⁻¹) X‖² over sampled tokens. Then the range of each group is clipped
//! for the least error of its products; not that of queries and keys, whose errors the softmax does not forgive.
//!
//! # Shapes
//! W [N, K], s [K], X [K, samples], scales and zero points [N, K / group_size].
//!
//! # Departures
//! The released code measures the output of the whole attention or feed-forward part; here it is that of the linear
//! layers that share the scale. Ranges are clipped at 3 bits and fewer (`clip_bits`), where the released code clips at all: at 4 bits the
//! two small models measured here are nearer to their source without. Every token counts the same (`equal_tokens`; the released code's is `false`): some models have
//! a token or two a text with inputs so large that they alone would choose the scales. Norms are rounded to single precision after they were divided.
//!
//! # Cost
//! `grid` roundings and products of every matrix with `samples` tokens; one pass of the model over the calibration.
//!
//! # Reference
//! J. Lin, J. Tang, H. Tang, S. Yang, W.-M. Chen, W.-C. Wang, G. Xiao, X. Dang, C. Gan, S. Han: AWQ: Activation-aware Weight
//! Quantization for LLM Compression and Acceleration, MLSys 2024, arXiv:2306.00978.

use super::{Method, Recipe, wrong};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::{Clip, Range},
    stats::{Inputs, Needs},
    transform::{FindScale, Place, Seam, output_error},
};
use lowbit_model::Role;
use serde::{Deserialize, Serialize};

/// Settings of `awq`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Awq {
    /// Steps of α, 1 to 1000.
    pub grid: u32,
    /// The most bits at which ranges are clipped; 0 for never, 8 for always.
    pub clip_bits: u8,
    /// Tokens that errors are measured on, 1 to 65536.
    pub samples: usize,
    /// Whether every token counts the same: its inputs are divided by their root mean square.
    pub equal_tokens: bool,
}

impl Default for Awq {
    fn default() -> Self {
        Self { grid: 20, clip_bits: 3, samples: 512, equal_tokens: true }
    }
}

impl Method for Awq {
    const CARD: Card = Card {
        name: "awq",
        summary: "columns that meet large inputs scaled up before rounding, ranges clipped by output error",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration",
            source: "arXiv:2306.00978",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "Llama-2-7B, 3 bits, groups of 128, WikiText-2",
            metric: "perplexity",
            published: 6.24,
            baseline: ("rtn", 6.66),
            source: "Table 4",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(1..=1000).contains(&self.grid) {
            return Err(wrong::<Self>(format!("grid is {}, expected 1 to 1000", self.grid)));
        }
        if !(1..=65_536).contains(&self.samples) {
            return Err(wrong::<Self>(format!("samples is {}, expected 1 to 65536", self.samples)));
        }
        let mut recipe = Recipe::nearest(&Self::CARD, Range);
        recipe.scales.push(Box::new(Search {
            grid: self.grid,
            samples: self.samples,
            equal_tokens: self.equal_tokens,
        }));
        if self.clip_bits > 8 {
            return Err(wrong::<Self>(format!("clip_bits is {}, expected 0 to 8", self.clip_bits)));
        }
        if self.clip_bits > 0 {
            let most_bits = self.clip_bits;
            recipe.fit = Box::new(Clip { grid: 20, max_shrink: 0.5, samples: self.samples, most_bits });
            recipe.fit_for.push((&[Role::Query, Role::Key], Box::new(Range)));
        }
        Ok(recipe)
    }
}

struct Search {
    grid: u32,
    samples: usize,
    equal_tokens: bool,
}

impl FindScale for Search {
    fn needs(&self) -> Needs {
        Needs {
            inputs: Inputs::Magnitudes,
            samples: self.samples,
            equal_tokens: self.equal_tokens,
            ..Needs::NONE
        }
    }

    fn places(&self) -> &[Place] {
        &Place::ALL
    }

    fn find(&self, seam: &Seam<'_>) -> Option<Vec<f32>> {
        let candidates = (0..self.grid).map(|step| {
            let alpha = step as f32 / self.grid as f32;
            let scales: Vec<f32> = seam.stats.abs_mean.iter().map(|x| x.powf(alpha).max(1e-4)).collect();
            let (low, high) = scales.iter().fold((f32::MAX, 0f32), |(l, h), s| (l.min(*s), h.max(*s)));
            let middle = (low * high).sqrt();
            scales.into_iter().map(|s| s / middle).collect::<Vec<f32>>()
        });
        let measured = candidates.map(|scales| (output_error(seam, &scales), scales));
        measured.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, scales)| scales)
    }
}
