//! Fast 2-bit LLM.
//!
//! # What it does
//! Rounds to 2 bits, and gives 4 bits to the small share of the groups whose weights lie furthest apart: their errors are most of the
//! whole.
//!
//! # Method
//! Groups are ordered by the range of their weights; the `wide` share with the largest gets 4 bits, all others 2 (section 3.1 of the paper).
//! Scales are rounded as well, to 4 bits in units of one for a row.
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / 16], wide groups one by one with their place in the row.
//!
//! # Departures
//! The 4 bits of a wide group are its 2-bit codes and 2 bits of what these leave, with a scale of their own: the groups of 2 bits stay one
//! aligned array, which is what the paper's layout is for. Its few sparse outliers in 16 bits are left out, and so is what it does for GPUs (asynchronous dequantization).
//!
//! # Cost
//! That of the method under it.
//!
//! # Reference
//! J. Li, S. Li, J. Xu, G. Dai, Y. Wang: Enabling Fast 2-bit LLM on GPUs: Memory Alignment and Asynchronous Dequantization, 2023,
//! arXiv:2311.16442.

use super::{Method, Recipe, wrong};
use crate::{Base, Card, Claim, Paper, QuantError, solve::MoreBits};
use lowbit_format::Bits;
use serde::{Deserialize, Serialize};

/// Settings of `fast_2bit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fast2Bit {
    /// The method that rounds, and its settings where they are not its defaults.
    pub base: Base,
    /// Share of the groups that get 4 bits, 0 to 1.
    pub wide: f64,
}

impl Default for Fast2Bit {
    fn default() -> Self {
        Self { base: Base::named("gptq"), wide: 0.1 }
    }
}

impl Method for Fast2Bit {
    const CARD: Card = Card {
        name: "fast_2bit",
        summary: "2 bits, and 4 for the groups with the widest range",
        formats: "groups of integers",
        default_format: "int2-asym-g16-int4-row",
        paper: Some(Paper {
            title: "Enabling Fast 2-bit LLM on GPUs: Memory Alignment and Asynchronous Dequantization",
            source: "arXiv:2311.16442",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "Llama2-7b, 2.85 bits, tokens a second over 16 bits",
            metric: "speed-up",
            published: 1.74,
            baseline: ("f16", 1.0),
            source: "abstract",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(0.0..=1.0).contains(&self.wide) {
            return Err(wrong::<Self>(format!("wide is {}, expected 0 to 1", self.wide)));
        }
        let recipe = self.base.recipe::<Self>()?;
        let solve = MoreBits { inner: recipe.solve, share: self.wide, bits: Bits::new(2)? };
        Ok(Recipe { solve: Box::new(solve), ..recipe })
    }
}
