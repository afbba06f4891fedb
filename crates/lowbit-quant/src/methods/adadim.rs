//! AdaDim.
//!
//! # What it does
//! Groups weights along the input feature in place of along the row where that loses less: inputs with outliers then spoil only the
//! groups of their own columns. Works on any method that rounds.
//!
//! # Method
//! Each layer is rounded with groups of g neighbours in a row, and with groups of g neighbours in a column (per-input-channel groups, section 3
//! of the paper); of the two the one is kept whose outputs are nearer to the layer's, ‖W X − Ŵ X‖² (section 4).
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / g] or [N / g, K].
//!
//! # Departures
//! Outputs are compared on 512 tokens of the calibration.
//!
//! # Cost
//! The method under it twice, and 2 N K products for each of the 512 tokens.
//!
//! # Reference
//! J. H. Heo, J. Kim, B. Kwon, B. Kim, S. J. Kwon, D. Lee: Rethinking Channel Dimensions to Isolate Outliers for Low-bit Weight
//! Quantization of Large Language Models, ICLR 2024, arXiv:2309.15531.

use super::{Method, Recipe};
use crate::{Base, Card, Claim, Paper, QuantError, solve::EitherAxis};
use serde::{Deserialize, Serialize};

/// Settings of `adadim`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaDim {
    /// The method that rounds, and its settings where they are not its defaults.
    pub base: Base,
}

impl Default for AdaDim {
    fn default() -> Self {
        Self { base: Base::named("gptq") }
    }
}

impl Method for AdaDim {
    const CARD: Card = Card {
        name: "adadim",
        summary: "another method, with groups along rows or along input features, whichever loses less",
        formats: "one level of groups",
        default_format: "int3-asym-g64",
        paper: Some(Paper {
            title: "Rethinking Channel Dimensions to Isolate Outliers for Low-bit Weight Quantization of Large Language Models",
            source: "arXiv:2309.15531",
            year: 2023,
        }),
        claims: &[
            Claim {
                setting: "base models, 3 and 4 bits, most points gained",
                metric: "MMLU",
                published: 4.7,
                baseline: ("without it", 0.0),
                source: "abstract",
            },
            Claim {
                setting: "instruction-tuned models, most points gained",
                metric: "HumanEval",
                published: 10.0,
                baseline: ("without it", 0.0),
                source: "abstract",
            },
        ],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        let recipe = self.base.recipe::<Self>()?;
        Ok(Recipe { solve: Box::new(EitherAxis { inner: recipe.solve }), ..recipe })
    }
}
