//! Exclude top choices, XTC (p-e-w, text-generation-webui pull request 6335).
//!
//! # Method
//! With the given probability, at each step: of all tokens with P(x) ≥ threshold, removes all but the least
//! probable one. If fewer than two tokens reach the threshold nothing happens, so one viable token always stays.
//!
//! # Departures
//! None. Among equally probable tokens the one with the highest id counts as the least probable. A threshold above
//! one half could never act, as two tokens cannot both reach it, and is refused.

use serde::{Deserialize, Serialize};

use super::candidates::{Candidates, best_first};
use super::error::SamplerError;
use super::params::{SamplingParams, from_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

/// Settings of XTC; off by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xtc {
    /// How often to exclude, as a chance for each token; 0 is off. 0 to 1, default 0.
    pub probability: f32,
    /// Probability from which on a token counts as a top choice. 0 to 0.5, default 0.1.
    pub threshold: f32,
}

impl Default for Xtc {
    fn default() -> Self {
        Self { probability: 0.0, threshold: 0.1 }
    }
}

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "xtc",
    aliases: &[],
    effect: Effect::TruncatesAnywhere,
    summary: "sometimes removes all top choices but the least probable of them",
    example: r#"{"xtc": {"probability": 1.0, "threshold": 0.1}}"#,
    check,
    same: |a, b| a.xtc == b.xtc,
    build,
};

fn check(params: &SamplingParams) -> Result<(), SamplerError> {
    within("xtc.probability", params.xtc.probability, from_to(0.0, 1.0))?;
    within("xtc.threshold", params.xtc.threshold, from_to(0.0, 0.5))
}

fn build(params: &SamplingParams, _: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    if params.xtc.probability == 0.0 {
        return Ok(None);
    }
    Ok(Some(Box::new(XtcStage {
        probability: f64::from(params.xtc.probability),
        threshold: f64::from(params.xtc.threshold),
    })))
}

#[derive(Debug)]
struct XtcStage {
    probability: f64,
    threshold: f64,
}

impl Stage for XtcStage {
    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step<'_>) {
        // The chance is drawn even where nothing could be excluded: one number a step, whatever the logits.
        if step.rng.uniform() >= self.probability {
            return;
        }
        let mass = candidates.mass();
        let reached = self.threshold * mass.total;
        let top_choice = |logit: f32| mass.weight(logit) >= reached;
        let least = candidates.as_slice().iter().copied().filter(|c| top_choice(c.logit)).max_by(best_first);
        if let Some(least) = least {
            candidates.retain(|c| c.id == least.id || !top_choice(c.logit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ids_after, logits_of, plain};
    use super::*;

    fn excluded(probabilities: &[f64], threshold: f32) -> Vec<u32> {
        let xtc = Xtc { probability: 1.0, threshold };
        ids_after(&SamplingParams { xtc, ..plain() }, &logits_of(probabilities))
    }

    #[test]
    fn leaves_the_least_probable_top_choice_and_the_tail() {
        assert_eq!(excluded(&[0.05, 0.45, 0.15, 0.3, 0.05], 0.1), [0, 2, 4]);
    }

    #[test]
    fn a_single_top_choice_stays() {
        assert_eq!(excluded(&[0.1, 0.8, 0.1], 0.3), [0, 1, 2]);
    }

    #[test]
    fn no_top_choice_changes_nothing() {
        assert_eq!(excluded(&[0.25; 4], 0.4), [0, 1, 2, 3]);
    }

    #[test]
    fn threshold_zero_leaves_the_least_probable_token() {
        assert_eq!(excluded(&[0.5, 0.2, 0.3], 0.0), [1]);
    }
}
