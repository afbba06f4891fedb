//! LLM.int8().
//!
//! # What it does
//! Multiplies 8-bit weights with 8-bit activations, and the few activations that are far larger than all others apart in 16 bits, so that
//! they do not coarsen the rest. Needs no data: outliers are found when they are there.
//!
//! # Method
//! Weights have one scale for each output, activations one for each token, max|x| / 127 ("vector-wise", equation 7 of the paper). Activations
//! of at least α = 6 are taken out and multiplied in 16 bits, and the two products are added (mixed-precision decomposition, equation 8).
//!
//! # Shapes
//! W [N, K], scales [N].
//!
//! # Departures
//! An outlier is an activation of one token, where the paper takes a feature out for all tokens of a batch as soon as one has it: so what is
//! computed for a token does not depend on its neighbours. Outliers are rounded to two terms of 8 bits by groups of features, and meet
//! weights of 8 bits, as in the released code when weights are stored so.
//!
//! # Cost
//! One pass over the weights. A product has three rows for each token in place of one, and reads the same bytes.
//!
//! # Reference
//! T. Dettmers, M. Lewis, Y. Belkada, L. Zettlemoyer: LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, NeurIPS 2022,
//! arXiv:2208.07339.

use super::{Activations, Method, Recipe};
use crate::{Card, Claim, Paper, QuantError, fit::Range};
use lowbit_format::{ActSpec, ElementFormat, GroupShape, GroupedSpec, ZeroPoint};
use serde::{Deserialize, Serialize};

/// Settings of `llm_int8`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlmInt8 {
    /// In which numbers activations are multiplied when the model runs; `int8-token` is the same without the decomposition.
    pub activations: Activations,
}

impl Default for LlmInt8 {
    fn default() -> Self {
        Self { activations: Activations(Some(ActSpec::Int8TokenOutliers)) }
    }
}

impl Method for LlmInt8 {
    const CARD: Card = Card {
        name: "llm_int8",
        summary: "8-bit weights and activations, outliers of activations apart in 16 bits",
        formats: "int8-sym-row",
        default_format: "int8-sym-row",
        paper: Some(Paper {
            title: "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale",
            source: "arXiv:2208.07339",
            year: 2022,
        }),
        claims: &[Claim {
            setting: "13B transformer, C4",
            metric: "perplexity",
            published: 12.45,
            baseline: ("int8 absmax", 19.08),
            source: "Table 1",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        let check = |spec: &GroupedSpec| match (spec.element(), spec.levels()) {
            (ElementFormat::Int { bits, zero: ZeroPoint::Symmetric }, [level])
                if bits.get() == 8 && level.shape == GroupShape::Row =>
            {
                Ok(())
            }
            _ => Err("it has one scale for each output and eight bits; take int8-sym-row"),
        };
        Ok(Recipe { activations: self.activations.0, check, ..Recipe::nearest(&Self::CARD, Range) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_format::{NK, QuantTensor, WeightSpec};
    use lowbit_kernels::{Act, ActPrecision, ActRounding, Ctx, Isa, MatMut, MatRef, mpgemm};

    #[test]
    fn products_lose_no_more_than_by_the_papers_own_way() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/llm_int8.json")).unwrap();
        let number = |name: &str| golden[name].as_f64().unwrap();
        let numbers = |name: &str| -> Vec<f32> {
            golden[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
        };
        let shape = NK { n: number("n") as usize, k: number("k") as usize };
        let (w, x) = (numbers("w"), numbers("x"));
        let tokens = x.len() / shape.k;
        let spec = WeightSpec::parse(LlmInt8::CARD.default_format).unwrap();
        let weight = QuantTensor::quantize_nearest(&spec, &w, shape).unwrap();
        let lost = |rounding: ActRounding| {
            let mut out = vec![0.0; tokens * shape.n];
            let to = MatMut::new(&mut out, tokens, shape.n);
            let act = Act::new(MatRef::new(&x, tokens, shape.k));
            mpgemm(&Ctx::new(Isa::detect(), 1), &weight, &act, ActPrecision::Int8(rounding), to);
            let pairs = x.chunks_exact(shape.k).flat_map(|x| w.chunks_exact(shape.k).map(move |w| (x, w)));
            let exact =
                pairs.map(|(x, w)| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>());
            out.iter().zip(exact).map(|(made, exact)| (f64::from(*made) - exact).powi(2)).sum::<f64>()
        };
        let (plain, apart) = (lost(ActRounding::Token), lost(ActRounding::TokenOutliers));
        assert!((plain / number("plain") - 1.0).abs() < 0.02, "{plain} {}", number("plain"));
        assert!(apart < 1.01 * number("apart"), "{apart} {}", number("apart"));
    }
}
