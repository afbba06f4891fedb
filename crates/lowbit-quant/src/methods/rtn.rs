//! Round to nearest.
//!
//! # What it does
//! Takes the range of every group as it is. Fast, needs no data, and what every other method is measured against:
//! good at 8 bits, usable at 4, poor below.
//!
//! # Method
//! Scale s and zero point z from the range of a group ([`lowbit_format::GroupFit::of_range`]), then for every weight the
//! code round(w / s + z).
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / group_size].
//!
//! # Cost
//! One pass over the weights.

use super::{Method, Recipe};
use crate::{Card, QuantError, fit::Range};
use serde::{Deserialize, Serialize};

/// Settings of `rtn`: none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rtn {}

impl Method for Rtn {
    const CARD: Card = Card {
        name: "rtn",
        summary: "nearest codes, scales from the range of each group",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: None,
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        Ok(Recipe::nearest(&Self::CARD, Range))
    }
}
