//! Don't repeat yourself, DRY (p-e-w, text-generation-webui pull request 5677).
//!
//! # What it does
//! Penalizes a token by the length of the repetition it would continue: words and names may recur, sentences not.
//!
//! # Method
//! Let n(x) be the length of the longest suffix of the history that occurred before and was followed by x there. For
//! n(x) ≥ `allowed_length` the logit of x falls by
//!
//! ```text
//! multiplier · base ^ (n(x) − allowed_length)
//! ```
//!
//! A match does not reach back over a sequence breaker, and a token that is one by itself is never penalized. For
//! all lengths at once: the Z function of the reversed window, `z[k]` being the length of the common suffix of the
//! history and the history without its last k tokens (Gusfield, "Algorithms on Strings, Trees, and Sequences", 1.4).
//!
//! # Departures
//! One from llama.cpp (`llama_sampler_dry`): a breaker longer than 40 bytes is an error here and is cut short there. The exponent is limited, as there, so that the penalty stays finite.
//!
//! # Cost
//! Linear in the window for each token, which by default is the whole history.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use super::dry_breakers::Breakers;
use super::error::SamplerError;
use super::numeric::{ln, pow};
use super::params::{SamplingParams, from_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

/// Settings of DRY; off by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dry {
    /// Penalty of the shortest repetition that is penalized; 0 is off, 0.8 is usual. 0 to 100, default 0.
    pub multiplier: f32,
    /// Growth of the penalty with each further token. 1 to 10, default 1.75.
    pub base: f32,
    /// Length of the repetition that is continued, from which on it is penalized. 0 to 65535, default 2.
    pub allowed_length: u32,
    /// How many tokens to look back; `None` is the whole history, 0 switches DRY off. Default `None`.
    pub last_n: Option<u32>,
    /// Texts that no repetition reaches across, each of 1 to 40 bytes.
    /// Default: line feed, colon, double quote, asterisk.
    pub sequence_breakers: Vec<String>,
}

impl Default for Dry {
    fn default() -> Self {
        let sequence_breakers = ["\n", ":", "\"", "*"].map(str::to_owned).to_vec();
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, last_n: None, sequence_breakers }
    }
}

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "dry",
    aliases: &[],
    effect: Effect::Penalizes,
    summary: "penalizes tokens that would continue a repetition, growing with its length",
    example: r#"{"dry": {"multiplier": 0.8, "allowed_length": 1, "sequence_breakers": []}}"#,
    check,
    same: |a, b| a.dry == b.dry,
    build,
};

fn check(params: &SamplingParams) -> Result<(), SamplerError> {
    const LONGEST_BREAKER: usize = 40;
    let dry = &params.dry;
    within("dry.multiplier", dry.multiplier, from_to(0.0, 100.0))?;
    within("dry.base", dry.base, from_to(1.0, 10.0))?;
    within("dry.allowed_length", dry.allowed_length, from_to(0, u32::from(u16::MAX)))?;
    let wrong_length = |text: &&String| text.is_empty() || text.len() > LONGEST_BREAKER;
    match dry.sequence_breakers.iter().find(wrong_length) {
        None => Ok(()),
        Some(text) => Err(SamplerError::OutOfRange {
            field: "dry.sequence_breakers",
            found: format!("a text of {} bytes", text.len()),
            expected: format!("1 to {LONGEST_BREAKER}"),
        }),
    }
}

fn build(params: &SamplingParams, vocab: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    let dry = &params.dry;
    if dry.multiplier == 0.0 || dry.last_n == Some(0) {
        return Ok(None);
    }
    Ok(Some(Box::new(DryStage {
        multiplier: f64::from(dry.multiplier),
        base: f64::from(dry.base),
        allowed_length: dry.allowed_length as usize,
        last_n: dry.last_n.map_or(usize::MAX, |n| n as usize),
        breakers: Breakers::resolve(&dry.sequence_breakers, vocab)?,
        z: Vec::new(),
        longest: HashMap::new(),
    })))
}

#[derive(Debug)]
struct DryStage {
    multiplier: f64,
    base: f64,
    allowed_length: usize,
    last_n: usize,
    breakers: Breakers,
    z: Vec<usize>,
    /// Longest repetition each token would continue. Each entry edits its own token, so their order is no matter.
    longest: HashMap<u32, usize>,
}

impl Stage for DryStage {
    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step<'_>) {
        let window = &step.history[step.history.len().saturating_sub(self.last_n)..];
        if window.len() <= self.allowed_length {
            return;
        }
        let longest_match = self.breakers.tokens_after_last(window);
        if longest_match < self.allowed_length {
            return;
        }
        suffix_matches(window, &mut self.z);
        self.longest.clear();
        for (back, &length) in self.z.iter().enumerate().skip(1) {
            let length = length.min(longest_match);
            if length >= self.allowed_length {
                let next = window[window.len() - back];
                let longest = self.longest.entry(next).or_insert(0);
                *longest = length.max(*longest);
            }
        }

        candidates.order_by_id();
        for (&id, &length) in &self.longest {
            if !self.breakers.is_one_token(id) {
                let penalty = self.penalty(length - self.allowed_length);
                candidates.edit(id, |logit| (f64::from(logit) - penalty) as f32);
            }
        }
    }
}

impl DryStage {
    fn penalty(&self, excess: usize) -> f64 {
        // ln of the largest f32: beyond it the logit could not be told from negative infinity.
        const LARGEST_LN: f64 = 88.722_839;
        let limit = if self.base > 1.000_001 { (LARGEST_LN / ln(self.base)).floor() } else { f64::MAX };
        self.multiplier * pow(self.base, (excess as f64).min(limit))
    }
}

/// `z[k]`: how many tokens the end of `window` and the end of `window` without its last k tokens have in common.
/// `z[0]` is 0. Linear: `right` only grows, and each comparison of the inner loop but one moves it.
fn suffix_matches(window: &[u32], z: &mut Vec<usize>) {
    let n = window.len();
    let from_end = |i: usize| window[n - 1 - i];
    z.clear();
    z.resize(n, 0);
    // Reversed positions left..right equal 0..right − left, with right the furthest found so far.
    let (mut left, mut right) = (0, 0);
    for k in 1..n {
        let mut length = if k < right { z[k - left].min(right - k) } else { 0 };
        while k + length < n && from_end(length) == from_end(k + length) {
            length += 1;
        }
        z[k] = length;
        if k + length > right {
            (left, right) = (k, k + length);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{logits_after, plain};
    use super::*;

    fn penalties(dry: Dry, vocab: usize, history: &[u32]) -> Vec<f32> {
        let params = SamplingParams { dry, ..plain() };
        logits_after(&params, &vec![0.0; vocab], history).into_iter().map(|(_, logit)| -logit).collect()
    }

    fn dry(allowed_length: u32) -> Dry {
        Dry { multiplier: 1.0, base: 2.0, allowed_length, sequence_breakers: Vec::new(), ..Dry::default() }
    }

    #[test]
    fn penalties_by_hand() {
        // Before: "1 2 3 4", "9 2 3 5". The end "1 2 3" continues by 4 (3 tokens matched) or by 5 (2 matched).
        let history = [1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3];
        let expected = [0.0, 0.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(penalties(dry(2), 10, &history), expected);
        assert_eq!(
            penalties(Dry { last_n: Some(7), ..dry(2) }, 10, &history)[4],
            0.0,
            "4 has left the window"
        );
        assert_eq!(penalties(dry(4), 10, &history), [0.0; 10]);
    }

    #[test]
    fn the_longest_of_several_matches_counts() {
        // 5 follows "3" and later "2 3"; the second match is the longer one.
        assert_eq!(penalties(dry(1), 10, &[9, 3, 5, 7, 2, 3, 5, 8, 2, 3])[5], 2.0);
    }

    #[test]
    fn a_long_repetition_stays_finite() {
        let params = SamplingParams { dry: dry(1), ..plain() };
        let after = logits_after(&params, &[0.0; 4], &[1; 5000]);
        assert!(after[1].1 < -1e38 && after[1].1.is_finite(), "{after:?}");
    }

    fn naive_suffix_matches(window: &[u32]) -> Vec<usize> {
        let common = |k: usize| {
            let (a, b) = (window.iter().rev(), window[..window.len() - k].iter().rev());
            a.zip(b).take_while(|(a, b)| a == b).count()
        };
        (0..window.len()).map(|k| if k == 0 { 0 } else { common(k) }).collect()
    }

    proptest! {
        #[test]
        fn suffix_matches_agree_with_comparing_every_pair(window in prop::collection::vec(0u32..3, 0..60)) {
            let mut z = vec![7; 3];
            suffix_matches(&window, &mut z);
            prop_assert_eq!(z, naive_suffix_matches(&window));
        }
    }
}
