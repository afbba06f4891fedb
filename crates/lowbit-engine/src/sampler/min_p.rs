//! Min-p (Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs",
//! arXiv 2407.01082).
//!
//! # Method
//! Keeps the tokens with P(x) ≥ p_base · p_max, where p_max is the probability of the best. In logits this is
//! l ≥ l_max + ln p_base, so no softmax is needed.

use super::candidates::Candidates;
use super::error::SamplerError;
use super::numeric::ln;
use super::params::{SamplingParams, from_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "min_p",
    aliases: &[],
    effect: Effect::TruncatesTail,
    summary: "keeps tokens with at least this share of the best token's probability",
    example: r#"{"min_p": 0.2}"#,
    check: |params| within("min_p", params.min_p, from_to(0.0, 1.0)),
    same: |a, b| a.min_p == b.min_p,
    build,
};

fn build(params: &SamplingParams, _: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    if params.min_p == 0.0 {
        return Ok(None);
    }
    Ok(Some(Box::new(MinP { ln_share: ln(f64::from(params.min_p)) })))
}

#[derive(Debug)]
struct MinP {
    ln_share: f64,
}

impl Stage for MinP {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step<'_>) {
        candidates.retain_from((f64::from(candidates.max_logit()) + self.ln_share) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ids_after, logits_of, plain};
    use super::*;

    #[test]
    fn keeps_what_reaches_the_share_of_the_best() {
        let logits = logits_of(&[0.08, 0.5, 0.12, 0.3]);
        assert_eq!(ids_after(&SamplingParams { min_p: 0.2, ..plain() }, &logits), [1, 2, 3]);
        assert_eq!(ids_after(&SamplingParams { min_p: 0.5, ..plain() }, &logits), [1, 3]);
    }

    #[test]
    fn one_keeps_the_best_and_its_equals() {
        assert_eq!(ids_after(&SamplingParams { min_p: 1.0, ..plain() }, &[3.0, 1.0, 3.0]), [0, 2]);
    }
}
