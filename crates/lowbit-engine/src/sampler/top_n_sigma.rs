//! Top-nσ (Tang et al., "Top-nσ: Not All Logits Are You Need", arXiv 2411.07641).
//!
//! # Method
//! With M the largest logit and σ the standard deviation of the logits, keeps the tokens with l ≥ M − n·σ
//! (algorithm 1). Temperature scales M − l and σ alike, so the set does not depend on it.
//!
//! # Departures
//! As in llama.cpp, σ is taken over the tokens still in the running, which in the default order is the whole
//! vocabulary without those at negative infinity.

use super::candidates::Candidates;
use super::error::SamplerError;
use super::numeric::lane_sum;
use super::params::{SamplingParams, from_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "top_n_sigma",
    aliases: &["top_nsigma"],
    effect: Effect::TruncatesTail,
    summary: "keeps tokens whose logit is within n standard deviations of the largest",
    example: r#"{"top_n_sigma": 1.0}"#,
    check: |params| within("top_n_sigma", params.top_n_sigma, from_to(0.0, 100.0)),
    same: |a, b| a.top_n_sigma == b.top_n_sigma,
    build,
};

fn build(params: &SamplingParams, _: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    if params.top_n_sigma == 0.0 {
        return Ok(None);
    }
    Ok(Some(Box::new(TopNSigma { n: f64::from(params.top_n_sigma) })))
}

#[derive(Debug)]
struct TopNSigma {
    n: f64,
}

impl Stage for TopNSigma {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step<'_>) {
        let count = candidates.len() as f64;
        let mean = lane_sum(candidates.as_slice(), |c| f64::from(c.logit)) / count;
        let variance = lane_sum(candidates.as_slice(), |c| (f64::from(c.logit) - mean).powi(2)) / count;
        let lowest = f64::from(candidates.max_logit()) - self.n * variance.sqrt();
        candidates.retain_from(lowest as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ids_after, plain};
    use super::*;

    #[test]
    fn keeps_what_is_within_n_deviations() {
        // Mean 2, deviations −2 −1 0 0 3: variance 14/5, σ = 1.673.
        let logits = [0.0, 1.0, 2.0, 2.0, 5.0];
        for (n, expected) in [(1.0, &[4u32][..]), (1.79, &[4]), (1.80, &[2, 3, 4]), (2.4, &[1, 2, 3, 4])] {
            assert_eq!(ids_after(&SamplingParams { top_n_sigma: n, ..plain() }, &logits), expected, "{n}");
        }
    }

    #[test]
    fn equal_logits_all_stay() {
        assert_eq!(ids_after(&SamplingParams { top_n_sigma: 1.0, ..plain() }, &[4.0; 3]), [0, 1, 2]);
    }
}
