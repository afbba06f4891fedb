//! QuaRot.
//!
//! # What it does
//! Turns what every layer reads by a random rotation, and its weights along, which changes nothing but that no weight and no
//! activation is an outlier any more; then rounds by GPTQ. Helps where few bits or short activations meet models with
//! outliers.
//!
//! # Method
//! Randomized Hadamard matrices Q = H diag(s): the layer computes (W Qᵀ)(Q x). W Qᵀ is rounded column by column
//! (section 4, stages 1 and 2).
//!
//! # Shapes
//! W [N, K], s [K]; H has blocks of the largest power of two that divides K.
//!
//! # Departures
//! The paper folds the rotation of the residual stream into embeddings and output layers, and rotates keys and values.
//! Here the inputs of every layer are rotated when they are there: K log₂ K additions a token beside N · K products,
//! and any architecture will do, whatever its norms. Activations keep their precision unless `activations` or a run asks for
//! less: `int4-token` is the paper's W4A4, with all of a token's codes from -7 to 7 (the paper clips its range to 0.9 of that).
//! Keys and values keep theirs.
//!
//! # Cost
//! As `gptq`.
//!
//! # Reference
//! S. Ashkboos, A. Mohtashami, M. L. Croci, B. Li, P. Cameron, M. Jaggi, D. Alistarh, T. Hoefler, J. Hensman: QuaRot:
//! Outlier-Free 4-Bit Inference in Rotated LLMs, NeurIPS 2024, arXiv:2404.00456.

use super::{Activations, Gptq, Method, Recipe};
use crate::{
    Card, Paper, QuantError,
    transform::{Place, Rotate},
};
use serde::{Deserialize, Serialize};

/// Settings of `quarot`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuaRot {
    /// Of the random signs.
    pub seed: u64,
    /// As of `gptq`.
    pub damp: f64,
    /// As of `gptq`.
    pub act_order: super::gptq::ActOrder,
    /// As of `gptq`.
    pub mse: bool,
    /// As of `gptq`.
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk by their number over itself and that of tokens, as in `gptq`.
    pub shrink: bool,
    /// In which numbers rotated activations are multiplied when the model runs, which the file prescribes then.
    pub activations: Activations,
}

impl Default for QuaRot {
    fn default() -> Self {
        let Gptq { damp, act_order, mse, equal_tokens, shrink, .. } = Gptq::default();
        Self { seed: 0, damp, act_order, mse, equal_tokens, shrink, activations: Activations(None) }
    }
}

impl Method for QuaRot {
    const CARD: Card = Card {
        name: "quarot",
        summary: "inputs and weights rotated at random, then as gptq; activations in 4 bits on request",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs",
            source: "arXiv:2404.00456",
            year: 2024,
        }),
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        let Self { damp, act_order, mse, equal_tokens, shrink, .. } = *self;
        let gptq = Gptq { damp, act_order, mse, equal_tokens, shrink, ..Gptq::default() };
        Ok(Recipe {
            card: &Self::CARD,
            rotate: Some(Rotate { seed: self.seed, places: &Place::ALL }),
            activations: self.activations.0,
            ..gptq.recipe()?
        })
    }
}
