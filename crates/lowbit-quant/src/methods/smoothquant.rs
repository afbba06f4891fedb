//! SmoothQuant.
//!
//! # What it does
//! Makes activations easy to round to 8 bits by moving part of their outliers into the weights, and says in the file that they
//! are to be rounded so: products of 8-bit integers throughout.
//!
//! # Method
//! For the layers behind a norm, sⱼ = max|Xⱼ|^α / max|Wⱼ|^(1 − α) (equation 4); x is divided by s in the norm's gain, and
//! the columns of the weights multiplied by it. Activations get one scale for each token when they are there.
//!
//! # Shapes
//! W [N, K], s [K].
//!
//! # Departures
//! The paper's O1 level: dynamic scales for each token, weights by output channel. Attention's own products stay in floats.
//! Activations of 4 bits (`int4-token`) are not the paper's.
//!
//! # Cost
//! One pass of the model over the calibration, one over the weights.
//!
//! # Reference
//! G. Xiao, J. Lin, M. Seznec, H. Wu, J. Demouth, S. Han: SmoothQuant: Accurate and Efficient Post-Training Quantization for
//! Large Language Models, ICML 2023, arXiv:2211.10438.

use super::{Activations, Method, Recipe, wrong};
use crate::{
    Card, Paper, QuantError,
    fit::Range,
    stats::{Inputs, Needs},
    transform::{FindScale, Migrate, Place, Seam},
};
use lowbit_format::ActSpec;
use serde::{Deserialize, Serialize};

/// Settings of `smoothquant`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothQuant {
    /// α: how much of the outliers is moved, from 0 (none) to 1.
    pub alpha: f64,
    /// In which numbers activations are multiplied when the model runs, which the file prescribes then.
    pub activations: Activations,
}

impl Default for SmoothQuant {
    fn default() -> Self {
        Self { alpha: 0.5, activations: Activations(Some(ActSpec::Int8Token)) }
    }
}

impl Method for SmoothQuant {
    const CARD: Card = Card {
        name: "smoothquant",
        summary: "outliers of activations moved into weights, activations rounded to 8 bits a token",
        formats: "all",
        default_format: "int8-sym-row",
        paper: Some(Paper {
            title: "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
            source: "arXiv:2211.10438",
            year: 2022,
        }),
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(wrong::<Self>(format!("alpha is {}, expected 0 to 1", self.alpha)));
        }
        Ok(Recipe {
            activations: self.activations.0,
            scale: Some(Box::new(BehindNorms(Migrate { alpha: self.alpha as f32 }))),
            ..Recipe::nearest(&Self::CARD, Range)
        })
    }
}

struct BehindNorms(Migrate);

impl FindScale for BehindNorms {
    fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, ..Needs::NONE }
    }

    fn places(&self) -> &[Place] {
        &[Place::AttentionIn, Place::FfnIn]
    }

    fn find(&self, seam: &Seam<'_>) -> Option<Vec<f32>> {
        Some(self.0.scales(seam))
    }
}
