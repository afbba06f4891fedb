//! LoRC.
//!
//! # What it does
//! Adds to the rounded weights the product of two thin matrices that is nearest to their error. Needs no data beyond what the
//! method under it does.
//!
//! # Method
//! The error E = W − Ŵ is decomposed, E = U Σ V, and Û V̂ with Û = U_m Σ_m^½ and V̂ = Σ_m^½ V_m, the first m singular values, is
//! added (section 5 of the paper): y = Ŵ x + Û (V̂ x). Both are stored in 8 bits.
//!
//! # Shapes
//! W [N, K], Û [N, m], V̂ [m, K].
//!
//! # Departures
//! The first singular vectors come from ten block power iterations of m + 8 vectors in place of the whole decomposition. 8 bits are
//! integers with one scale a row. The method under it is `rtn` by default, and any other may be named.
//!
//! # Cost
//! The method under it, and some 40 N K (m + 8) multiplications a matrix; N m + m K weights of 8 bits more.
//!
//! # Reference
//! Z. Yao, X. Wu, C. Li, S. Youn, Y. He: ZeroQuant-V2: Exploring Post-training Quantization in LLMs from Comprehensive Study to
//! Low Rank Compensation, 2023, arXiv:2303.08302.

use super::{Method, Recipe};
use crate::{Base, Card, Paper, QuantError, solve::Lost};
use lowbit_format::WeightSpec;
use serde::{Deserialize, Serialize};

/// Settings of `lorc`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lorc {
    /// The method that rounds, and its settings where they are not its defaults.
    pub base: Base,
    /// m, 1 to 4096.
    pub rank: u32,
    /// Format of both matrices.
    pub low_rank_format: WeightSpec,
}

impl Default for Lorc {
    fn default() -> Self {
        let eight_bits = WeightSpec::parse("int8-sym-row").expect("a format of the list");
        Self { base: Base::named("rtn"), rank: 8, low_rank_format: eight_bits }
    }
}

impl Method for Lorc {
    const CARD: Card = Card {
        name: "lorc",
        summary: "another method, and the low-rank matrix nearest to its error in 8 bits",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "ZeroQuant-V2: Exploring Post-training Quantization in LLMs from Comprehensive Study to Low Rank Compensation",
            source: "arXiv:2303.08302",
            year: 2023,
        }),
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        self.base.with_low_rank::<Self>(self.rank, &self.low_rank_format, Lost::Weights)
    }
}
