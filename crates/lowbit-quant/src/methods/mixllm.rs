//! MixLLM.
//!
//! # What it does
//! Gives 8 bits to the rows of weight matrices that the loss of the model depends on most, wherever in the model they are, and leaves
//! all others at 4. Matrices that matter get many such rows, others none.
//!
//! # Method
//! A row makes one output feature. Rounding it alone changes the loss of a sample by d = Σ g (Δw · x) over the tokens in first order, g the
//! gradient of the feature, and by ½ d² in second order with the empirical Fisher information gᵀg in place of the Hessian; its
//! salience is the mean of |d + ½ d²| over samples. The rows of all blocks are ranked together and the first `share` of them
//! get 8 bits. `global=false` ranks the rows of each matrix by themselves:
//! what the paper compares with, at the same size.
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / group_size]; c rows more [c, K] with scales [c, K / group_size]; gradients [tokens, N].
//!
//! # Departures
//! The formula is that of the released code (`mixllm/quantization/searcher.py`); of the paper only the abstract was at hand. The 8 bits of a row are its 4-bit codes, and 4 bits of what these leave, with a scale of their own: as many bytes as
//! 8 bits take with a second scale. The share is of weights, in place of rows, so that the size is known before. The method that rounds is `gptq` with
//! clipped ranges, or any other that changes no weights before it rounds them. Groups are of 64 weights, in place of 128, so that
//! they divide the rows of small models. Activations are as a run says; the paper's are of 8 bits in groups. Salience is found with 8 samples by default.
//!
//! # Cost
//! The method under it, and for every sample of salience four passes in f32: forward twice, the gradient of inputs, and that of rows. Memory
//! for the streams of one sample before every block.
//!
//! # Reference
//! Z. Zheng, X. Song, C. Liu: MixLLM: LLM Quantization with Global Mixed-precision between Output-features and Highly-efficient
//! System Design, 2024, arXiv:2412.14590.

use super::{Method, Recipe, wrong};
use crate::{
    Base, Card, Claim, Paper, QuantError,
    solve::{Among, MoreRows},
};
use serde::{Deserialize, Serialize};

/// Settings of `mixllm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixLlm {
    /// The method that rounds, and its settings where they are not its defaults.
    pub base: Base,
    /// Share of the weights that get 8 bits, 0 to 1.
    pub share: f64,
    /// Whether the rows of all matrices are ranked together, and not those of each by themselves.
    pub global: bool,
    /// Samples of the calibration that salience is found with, at least 1.
    pub salience_samples: usize,
}

impl Default for MixLlm {
    fn default() -> Self {
        Self { base: Base::named("gptq"), share: 0.1, global: true, salience_samples: 8 }
    }
}

impl Method for MixLlm {
    const CARD: Card = Card {
        name: "mixllm",
        summary: "8 bits for the rows of all matrices that the loss depends on most, by gradients, and 4 for the others",
        formats: "those of the method under it, of dense models",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "MixLLM: LLM Quantization with Global Mixed-precision between Output-features and Highly-efficient System Design",
            source: "arXiv:2412.14590",
            year: 2024,
        }),
        claims: &[Claim {
            setting: "Llama 3.1 70B, 10 % more bits, within",
            metric: "increase of perplexity",
            published: 0.2,
            baseline: ("best of others, about", 0.5),
            source: "abstract",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(wrong::<Self>(format!("share is {}, expected 0 to 1", self.share)));
        }
        if self.salience_samples == 0 {
            return Err(wrong::<Self>("salience_samples is 0, expected at least 1"));
        }
        let recipe = self.base.recipe::<Self>()?;
        if recipe.rotate.is_some() || recipe.folds() {
            let next = "give one that only rounds, such as gptq or rtn";
            return Err(wrong::<Self>(format!("base changes weights before it rounds them; {next}")));
        }
        let among = if self.global { Among::Model } else { Among::Matrix };
        let (share, samples) = (self.share, self.salience_samples);
        Ok(Recipe { rows: Some(MoreRows { share, among, samples, salience }), ..recipe })
    }
}

/// |d + ½ d²|.
fn salience(change: f64) -> f64 {
    (change + 0.5 * change * change).abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (settings, why) in [
            (json!({"share": 1.5}), "share is 1.5"),
            (json!({"salience_samples": 0}), "salience_samples is 0"),
            (json!({"base": "awq"}), "base changes weights"),
            (json!({"base": "quarot"}), "base changes weights"),
            (json!({"base": "mixllm"}), "base is mixllm itself"),
        ] {
            let error = (crate::method("mixllm").unwrap().recipe)(&settings).err().unwrap().to_string();
            assert!(error.contains(why), "{settings} {error}");
        }
    }

    #[test]
    fn salience_is_of_first_and_second_order() {
        assert_eq!([0.0, 1.0, -1.0, 2.0, -2.0].map(salience), [0.0, 1.5, 0.5, 4.0, 0.0]);
    }
}
