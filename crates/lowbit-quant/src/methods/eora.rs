//! EoRA.
//!
//! # What it does
//! Adds to the rounded weights the product of two thin matrices that gives back most of what their error takes from the layer's
//! outputs. Nothing is trained.
//!
//! # Method
//! With ΔW = W − Ŵ and the inputs' X Xᵀ = Q Λ Qᵀ, the error is taken into the eigenspace of the inputs, ΔW' = ΔW Q Λ^½, decomposed
//! there, ΔW' ≈ B' A' by its first r singular values, and taken back, A = A' (Q Λ^½)⁻¹ (algorithm 1): of all matrices of rank r
//! B A is the one that makes ‖(ΔW − B A) X‖ least.
//!
//! # Shapes
//! W [N, K], X [K, tokens], B [N, r], A [r, K].
//!
//! # Departures
//! Any root of X Xᵀ gives the same B A, so the Cholesky factor R stands for Q Λ^½: U being the first left singular vectors of ΔW R, B A =
//! U Uᵀ ΔW, and nothing is decomposed or inverted but for that. The vectors come from ten block power iterations of r + 8. All
//! tokens are kept apart in X Xᵀ, where the released code averages over samples first. Every token counts the same
//! (`equal_tokens`), as in `gptq` here.
//!
//! # Cost
//! The method under it, the Cholesky factor, and some 40 (N K + K²) (r + 8) multiplications a matrix; N r + r K floats more.
//!
//! # Reference
//! S.-Y. Liu, M. Khadkevich, N. C. Fung, C. Sakr, C.-H. H. Yang, C.-Y. Wang, S. Muralidharan, H. Yin, K.-T. Cheng, J. Kautz, Y.-C. F. Wang,
//! P. Molchanov, M.-H. Chen: EoRA: Fine-tuning-free Compensation for Compressed LLM with Eigenspace Low-Rank Approximation, 2024,
//! arXiv:2410.21271.

use super::{Method, Recipe, check_damp};
use crate::{Base, Card, Claim, Paper, QuantError, solve::Lost};
use lowbit_format::{FloatFormat, WeightSpec};
use serde::{Deserialize, Serialize};

/// Settings of `eora`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eora {
    /// The method that rounds, and its settings where they are not its defaults.
    pub base: Base,
    /// r, 1 to 4096.
    pub rank: u32,
    /// Format of both matrices.
    pub low_rank_format: WeightSpec,
    /// What is added to the diagonal of X Xᵀ, in parts of its mean, above 0 and at most 1; where the method under it has a factor of
    /// it already, that is taken.
    pub damp: f64,
}

impl Default for Eora {
    fn default() -> Self {
        let low_rank_format = WeightSpec::Float(FloatFormat::F16);
        Self { base: Base::named("gptq"), rank: 128, low_rank_format, damp: 0.01 }
    }
}

impl Method for Eora {
    const CARD: Card = Card {
        name: "eora",
        summary: "another method, and the low-rank matrix that makes up for most of its output error",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "EoRA: Fine-tuning-free Compensation for Compressed LLM with Eigenspace Low-Rank Approximation",
            source: "arXiv:2410.21271",
            year: 2024,
        }),
        claims: &[Claim {
            setting: "LLaMA3-8B, 3 bits, rank 128, points gained",
            metric: "ARC-Challenge",
            published: 10.84,
            baseline: ("gptq", 0.0),
            source: "abstract",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        check_damp::<Self>(self.damp)?;
        self.base.with_low_rank::<Self>(self.rank, &self.low_rank_format, Lost::Outputs(self.damp))
    }
}
