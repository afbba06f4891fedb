//! QLLM.
//!
//! # What it does
//! Takes outliers of activations apart: an input feature that is far larger than others becomes several equal ones, and as many pairs of
//! features that are much alike become one each. A layer reads as many inputs as before, whose range is smaller.
//!
//! # Method
//! An input whose largest magnitude is above θ is split into T = ⌈max |x| / θ⌉ parts x / T, which keep its weights (channel
//! disassembly, section 4.1.1 of the paper). Σ (T − 1) pairs i, j are replaced by (x_i + x_j) / 2, with the sum of their weights
//! (channel assembly, section 4.1.2): those that change the outputs the least, ‖(x_i − x_j)(w_i − w_j)‖² / 4, each from one half of the
//! features into the other (bipartite soft matching). θ is the one that loses the least of the layers' outputs with inputs and weights
//! rounded (adaptive reassembly, section 4.1.3). Inputs are split and merged at run time.
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / group_size], pairs [2, K].
//!
//! # Departures
//! θ is tried for 1, 2, 4, … more inputs up to K / 8, and none, on a sample of tokens. A feature is merged once at most. Its tuning of low-rank weights is left
//! out: it is a training method. Weights have groups, as everywhere for small models, in place of one scale a row.
//!
//! # Cost
//! For every θ a product of the sampled tokens with the layer; K² / 4 comparisons of features.
//!
//! # Reference
//! J. Liu, R. Gong, X. Wei, Z. Dong, J. Cai, B. Zhuang: QLLM: Accurate and Efficient Low-Bitwidth Quantization for Large Language Models,
//! ICLR 2024, arXiv:2310.08041.

use super::{Activations, Method, Recipe, wrong};
use crate::{Card, Claim, Paper, QuantError, fit::Range, transform::Reassemble};
use lowbit_format::ActSpec;
use serde::{Deserialize, Serialize};

/// Settings of `qllm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Qllm {
    /// Tokens that thresholds are tried on, 1 to 65536.
    pub samples: usize,
    /// In which numbers activations are multiplied when the model runs, which the file prescribes then.
    pub activations: Activations,
}

impl Default for Qllm {
    fn default() -> Self {
        Self { samples: 128, activations: Activations(Some(ActSpec::Int8Token)) }
    }
}

impl Method for Qllm {
    const CARD: Card = Card {
        name: "qllm",
        summary: "outliers of activations split into several inputs, and similar inputs merged; activations in 8 bits a token",
        formats: "all but groups in columns",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "QLLM: Accurate and Efficient Low-Bitwidth Quantization for Large Language Models",
            source: "arXiv:2310.08041",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "LLaMA-2-70B, 4 bits and 4-bit activations, tuned, points above the best before, five tasks",
            metric: "mean accuracy",
            published: 7.89,
            baseline: ("best before", 0.0),
            source: "abstract",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(1..=65_536).contains(&self.samples) {
            return Err(wrong::<Self>(format!("samples is {}, expected 1 to 65536", self.samples)));
        }
        let activations = self.activations.0;
        Ok(Recipe {
            activations,
            reassemble: Some(Reassemble { samples: self.samples, activations }),
            ..Recipe::nearest(&Self::CARD, Range)
        })
    }
}
