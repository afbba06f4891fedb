//! Half-quadratic quantization.
//!
//! # What it does
//! Moves the zero point of every group so that a sparse few weights may be far off and the others are near. Needs no
//! data.
//!
//! # Method
//! The scale s is that of the group's range. Minimized is ‖W − Q⁻¹(Q(W))‖ₚ with p < 1, split by an extra variable Wₑ
//! (equation 3) and solved in turns: Wₑ ← shrinkₚ(W − Ŵ, β) (equation 4), z ← mean(code − (W − Wₑ) / s) (equation 5),
//! β ← κ β, until the mean error grows.
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / group_size].
//!
//! # Departures
//! Every group stops by itself, the released code when the whole matrix does; the best zero point seen is kept, by the
//! error of what is stored. Where the format has integer zero points (`asym`) they are rounded; `fzero` is the method's own.
//!
//! # Cost
//! At most `iterations` passes over the weights.
//!
//! # Reference
//! H. Badri, A. Shaji: Half-Quadratic Quantization of Large Machine Learning Models, 2023, mobiusml.github.io/hqq_blog.

use super::{Method, Recipe, wrong};
use crate::{
    Card, Paper, QuantError,
    fit::{Fit, Group, Range, highest, round},
};
use lowbit_format::{ElementFormat, GroupFit, GroupedSpec, ZeroPoint};
use serde::{Deserialize, Serialize};

/// Settings of `hqq`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hqq {
    /// p of the norm, above 0 and at most 1.
    pub norm: f64,
    /// β at the start, above 0.
    pub beta: f64,
    /// What β grows by each time, at least 1.
    pub kappa: f64,
    /// Most iterations, at most 1000.
    pub iterations: u32,
}

impl Default for Hqq {
    fn default() -> Self {
        Self { norm: 0.7, beta: 10.0, kappa: 1.01, iterations: 20 }
    }
}

impl Method for Hqq {
    const CARD: Card = Card {
        name: "hqq",
        summary: "nearest codes, zero points by half-quadratic splitting of a sparse error",
        formats: "asym, fzero",
        default_format: "int4-fzero-g64",
        paper: Some(Paper {
            title: "Half-Quadratic Quantization of Large Machine Learning Models",
            source: "https://mobiusml.github.io/hqq_blog",
            year: 2023,
        }),
        claims: &[],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        let refuse = |what: &str, found: f64| Err(wrong::<Self>(format!("{what}, found {found}")));
        if !(self.norm > 0.0 && self.norm <= 1.0) {
            return refuse("norm must be above 0 and at most 1", self.norm);
        }
        if !(self.beta > 0.0 && self.beta.is_finite()) {
            return refuse("beta must be above 0", self.beta);
        }
        if !(1.0..=100.0).contains(&self.kappa) {
            return refuse("kappa must be 1 to 100", self.kappa);
        }
        if self.iterations > 1000 {
            return refuse("iterations must be at most 1000", f64::from(self.iterations));
        }
        let check = |spec: &GroupedSpec| match spec.element() {
            ElementFormat::Int { zero: ZeroPoint::Integer | ZeroPoint::Float, .. } => Ok(()),
            _ => Err("it moves zero points, which asym and fzero formats have"),
        };
        Ok(Recipe { check, ..Recipe::nearest(&Self::CARD, HalfQuadratic(self.clone())) })
    }
}

struct HalfQuadratic(Hqq);

impl Fit for HalfQuadratic {
    fn name(&self) -> &'static str {
        "half-quadratic zero points"
    }

    fn fit(&self, spec: &GroupedSpec, group: &Group<'_>) -> GroupFit {
        let (settings, highest) = (&self.0, highest(spec));
        let mut fit = Range.fit(spec, group);
        let (mut best, mut least) = (fit, f32::INFINITY);
        let (norm, kappa) = (settings.norm as f32, settings.kappa as f32);
        let mut beta = settings.beta as f32;
        for _ in 0..=settings.iterations {
            let stored = spec.stored(fit);
            if stored.scale == 0.0 {
                break;
            }
            let (mut error, mut zero) = (0.0, 0.0);
            for w in group.weights {
                let rounded = round(*w, stored, highest);
                let off = w - rounded;
                error += off.abs();
                zero += rounded / stored.scale + stored.zero - (w - shrink(off, beta, norm)) / stored.scale;
            }
            if error >= least {
                break;
            }
            (best, least) = (fit, error);
            fit.zero = zero / group.weights.len() as f32;
            beta *= kappa;
        }
        best
    }
}

/// The generalized soft threshold: sign(x) · max(0, |x| − |x|^(p − 1) / β).
fn shrink(x: f32, beta: f32, p: f32) -> f32 {
    let size = x.abs();
    if size == 0.0 { 0.0 } else { x.signum() * (size - size.powf(p - 1.0) / beta).max(0.0) }
}
