//! Ternary weights by the mean magnitude.
//!
//! # What it does
//! Makes −1, 0 and +1 with one scale. For models that were trained so (BitNet); an ordinary model does not survive it.
//!
//! # Method
//! s = mean |w| and code = RoundClip(w / s, −1, 1): equations 1 to 3 of the paper.
//!
//! # Shapes
//! W [N, K], scales [1, 1] for `ternary-tensor`, [N, K / group_size] for groups.
//!
//! # Departures
//! The paper has one scale a matrix, which is `ternary-tensor`; a row or a group may have its own here.
//!
//! # Cost
//! One pass over the weights. `ternary-tensor` needs a whole matrix in memory, four bytes a weight.
//!
//! # Reference
//! S. Ma et al.: The Era of 1-bit LLMs: All Large Language Models are in 1.58 Bits, 2024, arXiv:2402.17764.

use super::{Method, Recipe};
use crate::{Card, Paper, QuantError, fit::Range};
use lowbit_format::ElementFormat;
use serde::{Deserialize, Serialize};

/// Settings of `absmean`: none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbsMean {}

impl Method for AbsMean {
    const CARD: Card = Card {
        name: "absmean",
        summary: "-1, 0 and +1 times the mean magnitude, for models that were trained so",
        formats: "ternary",
        default_format: "ternary-tensor",
        paper: Some(Paper {
            title: "The Era of 1-bit LLMs: All Large Language Models are in 1.58 Bits",
            source: "arXiv:2402.17764",
            year: 2024,
        }),
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        // The range of a ternary group is its mean magnitude.
        let check = |spec: &lowbit_format::GroupedSpec| match spec.element() {
            ElementFormat::Ternary => Ok(()),
            _ => Err("it makes ternary formats such as ternary-tensor"),
        };
        Ok(Recipe { check, ..Recipe::nearest(&Self::CARD, Range) })
    }
}
