//! Fields that chat and plain completions have in common.

use crate::{
    app::App,
    error::ApiError,
    fields::{Fields, expected},
    served::Served,
};
use lowbit_engine::sampler::{LONGEST_STOP, MOST_STOPS, Penalties, SamplingParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What both kinds of completions say in the same words.
pub(crate) struct Common {
    pub(crate) sampling: SamplingParams,
    pub(crate) stop: Vec<String>,
    /// Choices for each prompt.
    pub(crate) n: u64,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// Who asks, where it says: for fair queueing.
    pub(crate) user: Option<String>,
}

impl Common {
    pub(crate) fn take(fields: &mut Fields, app: &App, served: &Served) -> Result<Self, ApiError> {
        let mut sampling = basic(fields, 2.0)?;
        sampling.top_k = fields.count("top_k", 0..=u64::from(u32::MAX))?.unwrap_or(0) as u32;
        sampling.min_p = fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0);
        sampling.penalties = Penalties {
            frequency: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            presence: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            last_n: None,
            ..Penalties::default()
        };
        sampling.logit_bias = logit_bias(fields, served)?;
        let stream = fields.flag("stream")?.unwrap_or(false);
        let include_usage = stream_options(fields, stream)?;
        fields.only("service_tier", &[json!("auto"), json!("default")])?;
        fields.only("store", &[json!(false)])?;
        Ok(Self {
            sampling,
            stop: stop(fields, "stop")?,
            n: fields.count("n", 1..=app.limits.choices as u64)?.unwrap_or(1),
            stream,
            include_usage,
            user: fields.text("user")?,
        })
    }
}

/// What all APIs say in the same words: `temperature` up to the highest of the API, `top_p`, `seed`.
pub(crate) fn basic(fields: &mut Fields, hottest: f64) -> Result<SamplingParams, ApiError> {
    let mut sampling = SamplingParams::unmodified();
    if let Some(temperature) = fields.number("temperature", 0.0..=hottest)? {
        sampling.temperature = temperature;
    }
    if let Some(top_p) = fields.number("top_p", 0.0..=1.0)? {
        // None is the most probable token, which always stays.
        sampling.top_p = top_p.max(f32::MIN_POSITIVE);
    }
    sampling.seed = seed(fields)?;
    Ok(sampling)
}

/// Any 64-bit integer, signed or not; where none is given, one by chance.
pub(crate) fn seed(fields: &mut Fields) -> Result<u64, ApiError> {
    let Some(value) = fields.take("seed") else {
        return getrandom::u64().map_err(|_| ApiError::internal());
    };
    let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    seed.ok_or_else(|| expected("seed", "an integer of 64 bits", &value))
}

pub(crate) fn stop(fields: &mut Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let what = format!("a string or at most {MOST_STOPS} strings, each of 1 to {LONGEST_STOP} bytes");
    let stops = match fields.take(name) {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() <= MOST_STOPS => list,
        Some(one @ Value::String(_)) => vec![one],
        Some(other) => return Err(expected(name, &what, &other)),
    };
    let text = |value: Value| match value {
        Value::String(text) if (1..=LONGEST_STOP).contains(&text.len()) => Ok(text),
        other => Err(expected(name, &what, &other)),
    };
    stops.into_iter().map(text).collect()
}

fn logit_bias(fields: &mut Fields, served: &Served) -> Result<BTreeMap<u32, f32>, ApiError> {
    let map = match fields.take("logit_bias") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(expected("logit_bias", "an object from token ids to numbers", &other)),
    };
    let vocab = served.model().spec().vocab;
    let one = |(id, bias): (String, Value)| {
        let id = id.parse().ok().filter(|id| (*id as usize) < vocab);
        let number = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        match (id, number) {
            (Some(id), Some(number)) => Ok((id, number as f32)),
            _ => {
                let what = format!("ids below {vocab} with numbers from -100 to 100");
                Err(expected("logit_bias", &what, &bias))
            }
        }
    };
    map.into_iter().map(one).collect()
}

/// Whether usage is to be sent at the end of a stream.
fn stream_options(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let map = match fields.take("stream_options") {
        None => return Ok(false),
        Some(Value::Object(map)) if stream => map,
        Some(Value::Object(_)) => {
            return Err(ApiError::field("stream_options", "only together with stream = true"));
        }
        Some(other) => return Err(expected("stream_options", "an object", &other)),
    };
    let mut options = Fields::of(map);
    let usage = options.flag("include_usage")?.unwrap_or(false);
    options.only("include_obfuscation", &[json!(false)])?;
    options.finish("stream_options")?;
    Ok(usage)
}
