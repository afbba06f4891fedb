//! GPTQ.
//!
//! # What it does
//! Rounds a layer column by column, and lets the columns that are left make up for the error of those that are done,
//! as far as the inputs of the layer go together. The best there is at 3 and 4 bits for a few minutes of work.
//!
//! # Method
//! With H = Σ x xᵀ over the calibration (equation 1's Hessian), column q is rounded to the grid of its group and the others
//! change by −(w_q − ŵ_q) / [H⁻¹]_qq · (H⁻¹)_q,: (equation 2); all rows in the same order, in blocks of columns, through
//! a Cholesky factor (section 3.3, steps 1 to 3). Scales of a group are those of its weights when the sweep reaches it. Blocks
//! of the model come one after the other, each reading what the rounded ones before it give.
//!
//! # Shapes
//! W [N, K], H [K, K], scales and zero points [N, K / group_size].
//!
//! # Departures
//! The factor is that of H from the last column to the first, not that of H⁻¹; the results are the same, nothing is
//! inverted. By default ranges are clipped for the least error (`mse`), `act_order` keeps columns where they are and takes
//! scales from the weights before the sweep (`static`), every token counts the same in H (`equal_tokens`), and what is not on
//! its diagonal is shrunk, the more the fewer tokens there are (`shrink`); the paper's
//! own are `mse=false`, `act_order=none`, `equal_tokens=false`, `shrink=false`. A factorization that fails is tried again with ten times
//! the damping.
//!
//! # Cost
//! K² · tokens for H, K³ / 6 for the factor, N · K² / 2 for the sweep; two passes of the model over the calibration.
//!
//! # Reference
//! E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh: GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
//! Transformers, ICLR 2023, arXiv:2210.17323; options as in the released code.

use super::{Method, Propagate, Recipe, check_damp};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::{Counts, Fit, MseGrid, Range},
    solve::{ColumnSweep, Order},
};
use serde::{Deserialize, Serialize};

/// Settings of `gptq`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gptq {
    /// What is added to the diagonal of H, in parts of its mean, above 0 and at most 1.
    pub damp: f64,
    /// Whether columns with large inputs are rounded first, and to which groups they belong then.
    pub act_order: ActOrder,
    /// Whether query, key and value are rounded before the inputs of the output projection are collected, and so on.
    pub true_sequential: bool,
    /// Whether ranges are clipped for the least squared error, counted by the mean square of inputs and the size of weights.
    pub mse: bool,
    /// Whether all tokens count the same, each input divided by its root mean square. The first tokens of a text make
    /// inputs of some layers far larger than others do, and would alone decide how these are rounded.
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk by K / (K + tokens). With few tokens for many inputs most of
    /// them are chance, and what makes up for an error on these tokens adds to it on others.
    pub shrink: bool,
}

/// Whether columns with large inputs are rounded first ("act-order").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActOrder {
    /// No: from the first to the last.
    None,
    /// Yes; groups are those of the weights as they lie, their scales chosen before ("static groups").
    Static,
    /// Yes; groups are of columns that are rounded one after the other, as the paper's code has it. The input is permuted
    /// at run time.
    Permuted,
}

impl Default for Gptq {
    fn default() -> Self {
        Self {
            damp: 0.01,
            act_order: ActOrder::Static,
            true_sequential: false,
            mse: true,
            equal_tokens: true,
            shrink: true,
        }
    }
}

impl Method for Gptq {
    const CARD: Card = Card {
        name: "gptq",
        summary: "column by column, later columns making up for the error of earlier ones",
        formats: "all",
        default_format: "int4-asym-g64",
        paper: Some(Paper {
            title: "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
            source: "arXiv:2210.17323",
            year: 2022,
        }),
        claims: &[
            Claim {
                setting: "OPT-125M, 4 bits, WikiText-2",
                metric: "perplexity",
                published: 31.12,
                baseline: ("rtn", 37.28),
                source: "Table 3",
            },
            Claim {
                setting: "OPT-125M, 3 bits, WikiText-2",
                metric: "perplexity",
                published: 53.85,
                baseline: ("rtn", 1.3e3),
                source: "Table 3",
            },
        ],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        check_damp::<Self>(self.damp)?;
        let order = match self.act_order {
            ActOrder::None => Order::Natural,
            ActOrder::Static => Order::LargestFirst,
            ActOrder::Permuted => Order::Permuted,
        };
        let grid = MseGrid { grid: 50, max_shrink: 0.6, counts: Counts::ByInputsAndSize };
        let fit: Box<dyn Fit> = if self.mse { Box::new(grid) } else { Box::new(Range) };
        Ok(Recipe {
            fit,
            solve: Box::new(ColumnSweep {
                damp: self.damp,
                order,
                equal_tokens: self.equal_tokens,
                shrink: self.shrink,
            }),
            propagate: Propagate::Quantized,
            sequential: self.true_sequential,
            ..Recipe::nearest(&Self::CARD, Range)
        })
    }
}
