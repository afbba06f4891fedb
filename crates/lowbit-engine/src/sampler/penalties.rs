//! Repetition, frequency and presence penalties.
//!
//! # Method
//! For a token that occurs c > 0 times in the last `last_n` tokens of the history, prompt included, its logit l
//! becomes
//!
//! ```text
//! l' = (l > 0 ? l / repeat : l · repeat) − c · frequency − presence
//! ```
//!
//! The repetition penalty is that of CTRL (Keskar et al., arXiv 1909.05858, equation 1), which only divides; the
//! multiplication of negative logits is the usual repair, as a division would make them more likely. Frequency and
//! presence penalties are those of OpenAI's API.
//!
//! # Departures
//! OpenAI counts the answer only; as in llama.cpp the prompt counts as well, which is what `accept` makes possible.
//!
//! # Cost
//! One hash look-up for each distinct token of the window and step; the counts follow the window incrementally.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use super::error::SamplerError;
use super::params::{SamplingParams, above_to, from_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

/// Settings of the penalties; all three are off by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Penalties {
    /// Divides positive and multiplies negative logits of tokens seen; 1 is off. Above 0, to 10, default 1.
    pub repeat: f32,
    /// Subtracted once for each occurrence; 0 is off. −2 to 2, default 0.
    pub frequency: f32,
    /// Subtracted if the token occurs at all; 0 is off. −2 to 2, default 0.
    pub presence: f32,
    /// How many tokens to look back; `None` is the whole history, 0 switches the penalties off. Default 64.
    pub last_n: Option<u32>,
}

impl Default for Penalties {
    fn default() -> Self {
        Self { repeat: 1.0, frequency: 0.0, presence: 0.0, last_n: Some(64) }
    }
}

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "penalties",
    aliases: &["repeat_penalty"],
    effect: Effect::Penalizes,
    summary: "lowers the logits of tokens that occur in the recent text",
    example: r#"{"penalties": {"repeat": 1.2, "frequency": 0.3, "presence": 0.5}}"#,
    check,
    same: |a, b| a.penalties == b.penalties,
    build,
};

fn check(params: &SamplingParams) -> Result<(), SamplerError> {
    within("penalties.repeat", params.penalties.repeat, above_to(0.0, 10.0))?;
    within("penalties.frequency", params.penalties.frequency, from_to(-2.0, 2.0))?;
    within("penalties.presence", params.penalties.presence, from_to(-2.0, 2.0))
}

fn build(params: &SamplingParams, _: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    let settings = &params.penalties;
    let neutral = settings.repeat == 1.0 && settings.frequency == 0.0 && settings.presence == 0.0;
    if neutral || settings.last_n == Some(0) {
        return Ok(None);
    }
    Ok(Some(Box::new(PenaltyStage { settings: settings.clone(), counts: HashMap::new() })))
}

#[derive(Debug)]
struct PenaltyStage {
    settings: Penalties,
    /// Occurrences in the window. The order of iteration does not matter: each entry edits its own token.
    counts: HashMap<u32, u32>,
}

impl Stage for PenaltyStage {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step<'_>) {
        candidates.order_by_id();
        let Penalties { repeat, frequency, presence, .. } = self.settings;
        for (&id, &count) in &self.counts {
            candidates.edit(id, |logit| {
                let scaled = if logit > 0.0 { logit / repeat } else { logit * repeat };
                scaled - count as f32 * frequency - presence
            });
        }
    }

    fn accept(&mut self, history: &[u32]) {
        let Some((&newest, earlier)) = history.split_last() else { return };
        *self.counts.entry(newest).or_insert(0) += 1;
        let Some(last_n) = self.settings.last_n else { return };
        if let Some(left) = earlier.len().checked_sub(last_n as usize) {
            let oldest = earlier[left];
            if let Some(count) = self.counts.get_mut(&oldest) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&oldest);
                }
            }
        }
    }

    fn reset(&mut self) {
        self.counts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{logits_after, plain};
    use super::*;

    #[test]
    fn penalties_by_hand() {
        let penalties = Penalties { repeat: 2.0, frequency: 0.25, presence: 0.5, last_n: Some(4) };
        let params = SamplingParams { penalties, ..plain() };
        // The leading 3 has left the window; 0 occurs twice, 1 and 2 once.
        let after = logits_after(&params, &[4.0, -1.0, 0.0, 5.0], &[3, 0, 1, 0, 2]);
        assert_eq!(after, [(0, 2.0 - 0.5 - 0.5), (1, -2.0 - 0.25 - 0.5), (2, 0.0 - 0.75), (3, 5.0)]);
    }

    #[test]
    fn the_window_is_exactly_last_n_tokens() {
        for (last_n, expected) in [(Some(1), [9.0, 8.0]), (Some(2), [8.0, 8.0]), (None, [7.0, 8.0])] {
            let penalties = Penalties { frequency: 1.0, last_n, ..Penalties::default() };
            let after = logits_after(&SamplingParams { penalties, ..plain() }, &[9.0, 9.0], &[0, 0, 1]);
            assert_eq!([after[0].1, after[1].1], expected, "{last_n:?}");
        }
    }
}
