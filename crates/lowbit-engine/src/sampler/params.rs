//! What a user may set about sampling, as plain data with ranges.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Bound, RangeBounds};

use serde::{Deserialize, Serialize};

use super::dry::Dry;
use super::error::SamplerError;
use super::logit_bias;
use super::mirostat::Mirostat;
use super::penalties::Penalties;
use super::stage::STAGES;
use super::temperature::DynamicTemperature;
use super::xtc::Xtc;

/// Most alternatives a step can report in [`Sampled::top`](super::Sampled::top).
pub const MAX_TOP_LOGPROBS: u32 = 100;

/// Settings of a [`Sampler`](super::Sampler). Defaults are llama.cpp's; unknown fields are refused.
///
/// Ranges are checked by [`Self::validate`], which [`Sampler::new`](super::Sampler::new) calls. NaN lies in none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Seed of the random numbers. The same seed, settings, prompt and logits give the same text on every platform.
    /// Default 0: the sampler never looks for entropy by itself, the caller who wants variety draws a seed.
    pub seed: u64,
    /// Logits are divided by this; 0 takes the most probable token, among equals the one with the lowest id.
    /// 0 to 10, default 0.8.
    pub temperature: f32,
    /// Temperature that follows the entropy; off by default.
    pub dynamic_temperature: DynamicTemperature,
    /// Keep this many of the most probable tokens; 0 keeps all. Default 40.
    pub top_k: u32,
    /// Keep the smallest set of most probable tokens with at least this probability; 1 keeps all.
    /// Above 0, to 1, default 0.95.
    pub top_p: f32,
    /// Keep tokens with at least this share of the best token's probability; 0 keeps all. 0 to 1, default 0.05.
    pub min_p: f32,
    /// Keep the tokens of most typical surprise with at least this probability; 1 keeps all.
    /// Above 0, to 1, default 1.
    pub typical_p: f32,
    /// Keep tokens whose logit is within this many standard deviations of the largest; 0 keeps all.
    /// 0 to 100, default 0.
    pub top_n_sigma: f32,
    /// Exclusion of the top choices; off by default.
    pub xtc: Xtc,
    /// Repetition, presence and frequency penalties; off by default.
    pub penalties: Penalties,
    /// Penalty for repeating a sequence; off by default.
    pub dry: Dry,
    /// Mirostat 2 in place of the truncating stages; off by default.
    pub mirostat: Option<Mirostat>,
    /// Added to the logits of single tokens before everything else: −100 to 100, where −100 bans the token.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Number of alternatives to report at each step, with the logarithms of their probabilities.
    /// 0 to [`MAX_TOP_LOGPROBS`], default 0.
    pub top_logprobs: u32,
    /// Names of stages in the order they are to run; those not named do not run. Default: the order of [`STAGES`].
    pub order: Option<Vec<String>>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            seed: 0,
            temperature: 0.8,
            dynamic_temperature: DynamicTemperature::default(),
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc: Xtc::default(),
            penalties: Penalties::default(),
            dry: Dry::default(),
            mirostat: None,
            logit_bias: BTreeMap::new(),
            top_logprobs: 0,
            order: None,
        }
    }
}

impl SamplingParams {
    /// Takes the most probable token at each step, and nothing else.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::unmodified() }
    }

    /// Draws from the model's own distribution: every stage off, temperature 1.
    pub fn unmodified() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Self::default() }
    }

    /// The same for another of several answers to one prompt: the seeds of choices follow one another.
    pub fn choice(&self, choice: u64) -> Self {
        Self { seed: self.seed.wrapping_add(choice), ..self.clone() }
    }

    /// Checks every range, whether the stage it belongs to is on or off.
    pub fn validate(&self) -> Result<(), SamplerError> {
        for entry in STAGES {
            (entry.check)(self)?;
        }
        if let Some(mirostat) = &self.mirostat {
            mirostat.check()?;
        }
        logit_bias::check(&self.logit_bias)?;
        within("top_logprobs", self.top_logprobs, from_to(0, MAX_TOP_LOGPROBS))
    }
}

pub(super) type Range<T> = (Bound<T>, Bound<T>);

/// Both ends allowed.
pub(super) fn from_to<T>(low: T, high: T) -> Range<T> {
    (Bound::Included(low), Bound::Included(high))
}

/// The lower end not allowed.
pub(super) fn above_to<T>(low: T, high: T) -> Range<T> {
    (Bound::Excluded(low), Bound::Included(high))
}

/// Refuses a value outside its range; NaN is outside of every range.
pub(super) fn within<T: PartialOrd + Display>(
    field: &'static str,
    value: T,
    range: Range<T>,
) -> Result<(), SamplerError> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = match &range {
        (Bound::Excluded(low), Bound::Included(high)) => format!("above {low} and at most {high}"),
        (Bound::Included(low), Bound::Included(high)) => format!("{low} to {high}"),
        _ => unreachable!("ranges are made by from_to and above_to"),
    };
    Err(SamplerError::OutOfRange { field, found: value.to_string(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range() {
        for params in [SamplingParams::default(), SamplingParams::greedy(), SamplingParams::unmodified()] {
            assert_eq!(params.validate(), Ok(()));
        }
    }

    #[test]
    fn every_field_outside_its_range_is_refused_by_name() {
        let cases = [
            ("temperature", r#"{"temperature": -0.1}"#),
            ("temperature", r#"{"temperature": 11}"#),
            ("dynamic_temperature.range", r#"{"dynamic_temperature": {"range": -1}}"#),
            ("dynamic_temperature.exponent", r#"{"dynamic_temperature": {"exponent": 0}}"#),
            ("top_p", r#"{"top_p": 0}"#),
            ("top_p", r#"{"top_p": 1.01}"#),
            ("min_p", r#"{"min_p": 1.5}"#),
            ("typical_p", r#"{"typical_p": 0}"#),
            ("top_n_sigma", r#"{"top_n_sigma": -1}"#),
            ("xtc.probability", r#"{"xtc": {"probability": 1.1}}"#),
            ("xtc.threshold", r#"{"xtc": {"threshold": 0.6}}"#),
            ("penalties.repeat", r#"{"penalties": {"repeat": 0}}"#),
            ("penalties.frequency", r#"{"penalties": {"frequency": 3}}"#),
            ("penalties.presence", r#"{"penalties": {"presence": -3}}"#),
            ("dry.multiplier", r#"{"dry": {"multiplier": -1}}"#),
            ("dry.base", r#"{"dry": {"base": 0.5}}"#),
            ("dry.allowed_length", r#"{"dry": {"allowed_length": 70000}}"#),
            ("dry.sequence_breakers", r#"{"dry": {"sequence_breakers": [""]}}"#),
            ("mirostat.tau", r#"{"mirostat": {"tau": 0}}"#),
            ("mirostat.eta", r#"{"mirostat": {"eta": 2}}"#),
            ("logit_bias", r#"{"logit_bias": {"7": 101}}"#),
            ("top_logprobs", r#"{"top_logprobs": 101}"#),
        ];
        for (expected, json) in cases {
            let params: SamplingParams = serde_json::from_str(json).unwrap();
            match params.validate() {
                Err(SamplerError::OutOfRange { field, .. }) => assert_eq!(field, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn nan_is_refused_everywhere() {
        let changes: [fn(&mut SamplingParams); 14] = [
            |p| p.temperature = f32::NAN,
            |p| p.dynamic_temperature.range = f32::NAN,
            |p| p.dynamic_temperature.exponent = f32::NAN,
            |p| p.top_p = f32::NAN,
            |p| p.min_p = f32::NAN,
            |p| p.typical_p = f32::NAN,
            |p| p.top_n_sigma = f32::NAN,
            |p| p.xtc.probability = f32::NAN,
            |p| p.xtc.threshold = f32::NAN,
            |p| p.penalties.repeat = f32::NAN,
            |p| p.dry.multiplier = f32::NAN,
            |p| p.dry.base = f32::NAN,
            |p| p.mirostat = Some(Mirostat { tau: f32::NAN, ..Mirostat::default() }),
            |p| p.logit_bias.extend([(0, f32::NAN)]),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut params = SamplingParams::default();
            change(&mut params);
            let error = params.validate().expect_err(&format!("change {index}")).to_string();
            assert!(error.contains("is NaN, expected"), "{error}");
        }
    }

    #[test]
    fn the_message_names_field_value_and_range() {
        let error = SamplingParams { top_p: 1.5, ..SamplingParams::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "top_p is 1.5, expected above 0 and at most 1");
    }

    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        for json in [r#"{"top-k": 3}"#, r#"{"dry": {"mult": 1}}"#, r#"{"xtc": {"p": 1}}"#] {
            let error = serde_json::from_str::<SamplingParams>(json).unwrap_err();
            assert!(error.to_string().contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn parameters_survive_json() {
        let mut params = SamplingParams { mirostat: Some(Mirostat::default()), ..SamplingParams::default() };
        params.logit_bias.insert(50_256, -100.0);
        params.order = Some(vec!["temperature".to_owned()]);
        let json = serde_json::to_string(&params).unwrap();
        assert_eq!(serde_json::from_str::<SamplingParams>(&json).unwrap(), params);
    }
}
