//! Clip search.
//!
//! # What it does
//! Clips the range of every group where that makes its error smaller. Needs no data. A smaller squared error of weights
//! is not always a smaller one of the model: large weights that are clipped may be those that matter. So fourth powers
//! are summed unless `norm=2` is set.
//!
//! # Method
//! For shrink factors p = 1, 1 − 1/grid, …, 1 − max_shrink the scale is p · s with the zero point of the whole range; the
//! one with the smallest sum of |w − ŵ|ᵖ is kept, p being `norm`.
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / group_size].
//!
//! # Departures
//! The released code of GPTQ has p = 2.4 over whole rows; here it is 4 or 2, over a group. Errors are those of scales as
//! they are stored.
//!
//! # Cost
//! `grid · max_shrink` passes over the weights.
//!
//! # Reference
//! E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh: GPTQ, ICLR 2023, arXiv:2210.17323; option `mse` of the released code.

use super::{Gptq, Method, Recipe, wrong};
use crate::{
    Card, QuantError,
    fit::{Counts, MseGrid},
};
use serde::{Deserialize, Serialize};

/// Settings of `mse`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mse {
    /// Steps into which the range is cut, 1 to 10000.
    pub grid: u32,
    /// Part of the range that may be cut off, 0 to 1.
    pub max_shrink: f64,
    /// Power of errors that are summed, 2 or 4.
    pub norm: u32,
}

impl Default for Mse {
    fn default() -> Self {
        Self { grid: 100, max_shrink: 0.8, norm: 4 }
    }
}

impl Method for Mse {
    const CARD: Card = Card {
        name: "mse",
        summary: "nearest codes, the range of each group clipped for the least error",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Gptq::CARD.paper,
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        let counts = match self.norm {
            2 => Counts::Square,
            4 => Counts::Fourth,
            other => return Err(wrong::<Self>(format!("norm is {other}, expected 2 or 4"))),
        };
        let fit = MseGrid::new(self.grid, self.max_shrink, counts);
        Ok(Recipe::nearest(&Self::CARD, fit.map_err(wrong::<Self>)?))
    }
}
