//! Top-p, or nucleus sampling (Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv 1904.09751).
//!
//! # Method
//! Keeps the smallest set of most probable tokens V with Σ_{x ∈ V} P(x) ≥ p (equation 2), at least one token.
//!
//! # Cost
//! Two passes over the candidates. No full sort: n tokens of less than (1 − p)/n each weigh less than 1 − p
//! together, so all others hold the nucleus; they are sorted from the best downwards only as far as needed.

use super::candidates::Candidates;
use super::error::SamplerError;
use super::numeric::ln;
use super::params::{SamplingParams, above_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "top_p",
    aliases: &["nucleus"],
    effect: Effect::TruncatesTail,
    summary: "keeps the smallest set of most probable tokens with probability p",
    example: r#"{"top_p": 0.7}"#,
    check: |params| within("top_p", params.top_p, above_to(0.0, 1.0)),
    same: |a, b| a.top_p == b.top_p,
    build,
};

fn build(params: &SamplingParams, _: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    if params.top_p == 1.0 {
        return Ok(None);
    }
    Ok(Some(Box::new(TopP { p: f64::from(params.top_p) })))
}

#[derive(Debug)]
struct TopP {
    p: f64,
}

impl Stage for TopP {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step<'_>) {
        // Covers the rounding of weights and sums, some 1e-6, many times over.
        const SLACK: f64 = 0.01;
        let mass = candidates.mass();
        let negligible = ln((1.0 - self.p) * mass.total / candidates.len() as f64) - SLACK;
        candidates.retain_from((f64::from(mass.max) + negligible.min(0.0)) as f32);
        candidates.keep_head_of_weight(self.p * mass.total, &mass);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ids_after, logits_of, plain};
    use super::*;

    #[test]
    fn keeps_the_token_that_crosses_p() {
        let logits = logits_of(&[0.1, 0.5, 0.15, 0.25]);
        for (top_p, expected) in
            [(0.4, &[1u32][..]), (0.6, &[1, 3]), (0.76, &[1, 3, 2]), (0.95, &[1, 3, 2, 0])]
        {
            assert_eq!(ids_after(&SamplingParams { top_p, ..plain() }, &logits), expected, "{top_p}");
        }
    }

    #[test]
    fn a_tiny_p_keeps_one_token() {
        assert_eq!(ids_after(&SamplingParams { top_p: 1e-30, ..plain() }, &[0.0; 50]), [0]);
    }

    #[test]
    fn a_flat_distribution_keeps_its_share() {
        let kept = ids_after(&SamplingParams { top_p: 0.5, ..plain() }, &[0.0; 5000]);
        assert_eq!(kept, (0..2500).collect::<Vec<u32>>());
    }
}
