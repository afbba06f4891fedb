//! Temperature, fixed or following the entropy.
//!
//! # Method
//! Logits are divided by T. With T = 0 only the best token stays; among equals, the one with the lowest id.
//!
//! Dynamic temperature (kalomaze; llama.cpp pull request 4972) takes the entropy H of the candidates at this step,
//! in relation to the ln n it has at most for n candidates:
//!
//! ```text
//! T = T_min + (T_max − T_min) · (H / ln n) ^ exponent,   T_min = max(0, temperature − range),   T_max = temperature + range
//! ```

use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use super::error::SamplerError;
use super::numeric::{ln, pow};
use super::params::{SamplingParams, above_to, from_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

/// Settings of dynamic temperature; off by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicTemperature {
    /// How far the temperature moves to either side of `temperature`; 0 is off. 0 to 10, default 0.
    pub range: f32,
    /// Bends the curve from entropy to temperature. Above 0, to 10, default 1.
    pub exponent: f32,
}

impl Default for DynamicTemperature {
    fn default() -> Self {
        Self { range: 0.0, exponent: 1.0 }
    }
}

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "temperature",
    aliases: &["temp"],
    effect: Effect::Scales,
    summary: "divides the logits by the temperature, which may follow the entropy",
    example: r#"{"temperature": 0.7, "dynamic_temperature": {"range": 0.3}}"#,
    check,
    same: |a, b| a.temperature == b.temperature && a.dynamic_temperature == b.dynamic_temperature,
    build,
};

fn check(params: &SamplingParams) -> Result<(), SamplerError> {
    within("temperature", params.temperature, from_to(0.0, 10.0))?;
    within("dynamic_temperature.range", params.dynamic_temperature.range, from_to(0.0, 10.0))?;
    within("dynamic_temperature.exponent", params.dynamic_temperature.exponent, above_to(0.0, 10.0))
}

fn build(params: &SamplingParams, _: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    let temperature = f64::from(params.temperature);
    let DynamicTemperature { range, exponent } = params.dynamic_temperature;
    let stage = if range > 0.0 {
        let range = f64::from(range);
        Temperature::ByEntropy {
            lowest: (temperature - range).max(0.0),
            highest: temperature + range,
            exponent: f64::from(exponent),
        }
    } else if temperature == 1.0 {
        return Ok(None);
    } else {
        Temperature::Fixed(temperature)
    };
    Ok(Some(Box::new(stage)))
}

#[derive(Debug)]
enum Temperature {
    Fixed(f64),
    ByEntropy { lowest: f64, highest: f64, exponent: f64 },
}

impl Stage for Temperature {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step<'_>) {
        if candidates.len() < 2 {
            return;
        }
        let temperature = match *self {
            Self::Fixed(temperature) => temperature,
            Self::ByEntropy { lowest, highest, exponent } => {
                let entropy = candidates.entropy(&candidates.mass());
                let share = (entropy / ln(candidates.len() as f64)).clamp(0.0, 1.0);
                lowest + (highest - lowest) * pow(share, exponent)
            }
        };
        if temperature == 0.0 {
            candidates.keep_best();
            return;
        }
        // Relative to the largest, which becomes 0: no temperature, however small, can overflow it.
        let max = f64::from(candidates.max_logit());
        candidates.map_monotone(|logit| ((f64::from(logit) - max) / temperature) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ids_after, logits_after, logits_of, plain};
    use super::*;

    #[test]
    fn divides_differences_of_logits() {
        let after = logits_after(&SamplingParams { temperature: 0.5, ..plain() }, &[1.0, 3.0, 2.0], &[]);
        assert_eq!(after, [(0, -4.0), (1, 0.0), (2, -2.0)]);
    }

    #[test]
    fn zero_takes_the_best_and_among_equals_the_lowest_id() {
        assert_eq!(ids_after(&SamplingParams::greedy(), &[1.0, 3.0, 3.0]), [1]);
    }

    #[test]
    fn the_smallest_temperature_does_not_overflow() {
        let params = SamplingParams { temperature: f32::MIN_POSITIVE, ..plain() };
        let after = logits_after(&params, &[1.0, 3.0, -3e38], &[]);
        assert_eq!(after[1], (1, 0.0));
        assert!(after.iter().all(|(_, logit)| *logit <= 0.0), "{after:?}");
    }

    #[test]
    fn dynamic_temperature_is_highest_for_equal_tokens_and_lowest_for_certainty() {
        let dynamic_temperature = DynamicTemperature { range: 0.5, exponent: 1.0 };
        let params = SamplingParams { temperature: 1.0, dynamic_temperature, ..plain() };
        let certain = logits_after(&params, &[0.0, -80.0], &[]);
        assert!((certain[1].1 - -160.0).abs() < 1e-3, "{certain:?}");
        // Probabilities 1/2, 1/4, 1/4: H = 1.5 ln 2, ln n = ln 3.
        let between = logits_after(&params, &logits_of(&[0.5, 0.25, 0.25]), &[]);
        let temperature = 0.5 + 1.5 * 2f64.ln() / 3f64.ln();
        assert!((f64::from(between[1].1) + 2f64.ln() / temperature).abs() < 1e-6, "{between:?}");
    }
}
