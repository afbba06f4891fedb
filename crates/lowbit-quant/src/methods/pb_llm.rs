//! PB-LLM.
//!
//! # What it does
//! Keeps a small share of the weights in 8 bits and makes signs of all others, and lets later columns make up for the error of
//! earlier ones.
//!
//! # Method
//! The salient weights are those of largest magnitude, or of largest w² / [H⁻¹]²ⱼⱼ (section 3.2 of the paper). The others become
//! ±α, α the mean of their magnitudes in a group (equation 3), column after column as in GPTQ (section 3.3).
//!
//! # Shapes
//! W [N, K], α [N, K / group_size], salient weights one by one with their column.
//!
//! # Departures
//! Every weight has a sign; of a salient one 8 bits hold what its sign leaves, with one scale for the matrix in place of one for a
//! row, beside 16 bits that say its column: 3.5 bits a weight at a share of 0.1, where the paper counts 1.7 and a bit map besides.
//! Columns with the largest inputs come first, as in `gptq` here.
//!
//! # Cost
//! That of `gptq`.
//!
//! # Reference
//! Y. Shang, Z. Yuan, Q. Wu, Z. Dong: PB-LLM: Partially Binarized Large Language Models, ICLR 2024, arXiv:2310.00034.

use super::{Method, Recipe, check_damp, wrong};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::Range,
    solve::{Keep, Kept, Matrix},
};
use lowbit_format::{ElementFormat, GroupedSpec, WeightSpec, ZeroPoint};
use serde::{Deserialize, Serialize};

/// Settings of `pb_llm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PbLlm {
    /// Share of the weights in 8 bits, 0 to 0.5.
    pub salient: f64,
    /// What makes a weight salient.
    pub metric: Metric,
    /// What is added to the diagonal of H, in parts of its mean, above 0 and at most 1.
    pub damp: f64,
    /// Whether all tokens count the same, as in `gptq`.
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk by their number over itself and that of tokens, as in `gptq`.
    pub shrink: bool,
}

/// What makes a weight salient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Its magnitude.
    Magnitude,
    /// Its square over that of the diagonal of H⁻¹.
    Hessian,
}

impl Default for PbLlm {
    fn default() -> Self {
        Self { salient: 0.1, metric: Metric::Magnitude, damp: 0.01, equal_tokens: true, shrink: true }
    }
}

impl Method for PbLlm {
    const CARD: Card = Card {
        name: "pb_llm",
        summary: "signs, but for a salient share of the weights in 8 bits, column by column",
        formats: "int1-sym",
        default_format: "int1-sym-g64",
        paper: Some(Paper {
            title: "PB-LLM: Partially Binarized Large Language Models",
            source: "arXiv:2310.00034",
            year: 2023,
        }),
        claims: &[Claim {
            setting: "LLaMA-7B, 1.7 bits against 2, WikiText-2",
            metric: "perplexity",
            published: 102.36,
            baseline: ("gptq", 152.31),
            source: "as measured in arXiv:2402.04291",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        if !(0.0..=0.5).contains(&self.salient) {
            return Err(wrong::<Self>(format!("salient is {}, expected 0 to 0.5", self.salient)));
        }
        check_damp::<Self>(self.damp)?;
        let format = WeightSpec::parse("int8-sym-tensor-f32").expect("a format of the grammar");
        let kept = Kept {
            damp: self.damp,
            equal_tokens: self.equal_tokens,
            shrink: self.shrink,
            share: self.salient,
            keep: Box::new(self.metric),
            format,
        };
        let check = |spec: &GroupedSpec| match spec.element() {
            ElementFormat::Int { bits, zero: ZeroPoint::Symmetric } if bits.get() == 1 => Ok(()),
            _ => Err("it makes signs; take an int1-sym format"),
        };
        Ok(Recipe { check, ..Recipe::sweep(&Self::CARD, Range, kept) })
    }
}

impl Keep for Metric {
    fn name(&self) -> &'static str {
        "column sweep, salient weights kept"
    }

    fn worth(&self, matrix: &Matrix<'_>) -> Vec<f32> {
        match self {
            Self::Magnitude => matrix.weights.iter().map(|w| w.abs()).collect(),
            Self::Hessian => {
                let columns = matrix.curvature.iter().cycle();
                matrix.weights.iter().zip(columns).map(|(w, c)| (w * c).powi(2)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::testing::lost;
    use lowbit_format::NK;

    #[test]
    fn a_layer_loses_no_more_than_by_the_papers_own_way() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/pb_llm.json")).unwrap();
        let number = |name: &str| golden[name].as_f64().unwrap();
        let numbers = |name: &str| -> Vec<f32> {
            golden[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
        };
        let shape = NK { n: number("n") as usize, k: number("k") as usize };
        let (w, x) = (numbers("w"), numbers("x"));
        let lost = |salient: f64| {
            let recipe = PbLlm { salient, ..PbLlm::default() }.recipe().unwrap();
            lost(&*recipe.solve, (&w, &x, shape), "int1-sym-row-f32")[1]
        };
        assert!(lost(0.1) < 1.01 * number("lost"), "{} {}", lost(0.1), number("lost"));
        assert!(lost(0.1) < lost(0.0) && lost(0.0) < number("plain"), "{} {}", lost(0.0), number("plain"));
    }
}
