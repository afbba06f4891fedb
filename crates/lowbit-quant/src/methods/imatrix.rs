//! Importance matrix.
//!
//! # What it does
//! Chooses the scale of every group for the least error of what the layer gives rather than of its weights: weights whose
//! inputs are large count more. Cheap, and the usual way for files of llama.cpp.
//!
//! # Method
//! With mᵢ the mean square of input i over the calibration, Σ mᵢ (wᵢ − ŵᵢ)² is minimized over shrunken ranges, each
//! candidate's scale fitted to its codes by least squares, s = Σ m w c / Σ m c² with c the code less the zero point.
//!
//! # Shapes
//! W [N, K], m [K], scales and zero points [N, K / group_size].
//!
//! # Departures
//! llama.cpp multiplies mᵢ by √(σ² + wᵢ²) for some of its types, and searches in units of its blocks.
//!
//! # Cost
//! `2 · grid · max_shrink` passes over the weights, one pass of the model over the calibration.
//!
//! # Reference
//! llama.cpp, pull requests 4861 and 4930 (2024): importance matrix calculations.

use super::{Method, Recipe, wrong};
use crate::{
    Card, Paper, QuantError,
    fit::{Counts, MseGrid},
};
use serde::{Deserialize, Serialize};

/// Settings of `imatrix`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Imatrix {
    /// Steps into which the range is cut, 1 to 10000.
    pub grid: u32,
    /// Part of the range that may be cut off, 0 to 1.
    pub max_shrink: f64,
}

impl Default for Imatrix {
    fn default() -> Self {
        Self { grid: 50, max_shrink: 0.7 }
    }
}

impl Method for Imatrix {
    const CARD: Card = Card {
        name: "imatrix",
        summary: "nearest codes, ranges clipped for the least squared error counted by the mean square of inputs",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "Importance matrix calculations (llama.cpp)",
            source: "https://github.com/ggml-org/llama.cpp/pull/4861",
            year: 2024,
        }),
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        let fit = MseGrid::new(self.grid, self.max_shrink, Counts::ByInputs);
        Ok(Recipe::nearest(&Self::CARD, fit.map_err(wrong::<Self>)?))
    }
}
