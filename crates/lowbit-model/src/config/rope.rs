//! Rotary embeddings as configurations describe them: `rope_theta` with `rope_scaling`, the `rope_parameters` of newer
//! files, and GGUF's `rope.*` keys.

use super::{Config, key, source::shown};
use crate::{
    ModelError,
    rope::{RopeScaling, RopeSpec},
};
use serde_json::Value;

const BASES: std::ops::RangeInclusive<f64> = 1.0..=1e12;
const FACTORS: std::ops::RangeInclusive<f64> = 1e-3..=1e6;

/// From a `config.json`. `layers` picks an entry of a nested `rope_parameters`.
pub(super) fn hugging_face(
    config: &Config<'_>,
    json: &Value,
    layers: Option<&str>,
    head_dim: usize,
    context: usize,
    default_base: f64,
) -> Result<RopeSpec, ModelError> {
    let object = |name: &'static str| match json.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(_)) => Ok(Some(value)),
        Some(value) => {
            Err(ModelError::Value { key: name.into(), found: shown(value), expected: "an object".into() })
        }
    };
    let parameters = object("rope_parameters")?;
    let (section, name) = match parameters {
        Some(all) => {
            let nested = all.get("full_attention").is_some() || all.get("sliding_attention").is_some();
            let layers = layers.unwrap_or("full_attention");
            (if nested { all.get(layers) } else { Some(all) }, "rope_parameters")
        }
        // The old form scales full layers only.
        None if layers.is_none_or(|layers| layers == "full_attention") => {
            (object("rope_scaling")?, "rope_scaling")
        }
        None => (None, "rope_scaling"),
    };
    let section = Section { values: section, name };
    let old_base = match layers {
        None | Some("full_attention") => config.float(key("rope_theta", ""), BASES)?,
        _ => None,
    };
    let base = section.float("rope_theta", BASES)?.or(old_base).unwrap_or(default_base);
    let part_key = key("partial_rotary_factor", "");
    let part = section.float(part_key.hf, 0.0..=1.0)?.or(config.float(part_key, 0.0..=1.0)?).unwrap_or(1.0);
    let dims = (head_dim as f64 * part) as usize;
    if dims < 2 || !dims.is_multiple_of(2) {
        let expected = format!("an even number of the {head_dim} elements of a head, 2 or more");
        return Err(config.wrong(part_key, format!("{part}, which is {dims} elements"), expected));
    }
    let trained_key = "original_max_position_embeddings";
    let outside = config.integer(key(trained_key, ""), 1..=super::MAX_CONTEXT)?;
    let trained = section.integer(trained_key)?;
    let kind = section.text("rope_type")?.or(section.text("type")?).unwrap_or("default");
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: section.required("factor")? },
        "dynamic" => dynamic(section.required("factor")?, trained.unwrap_or(context), dims, &section)?,
        "llama3" => {
            let (low, high) = (section.required("low_freq_factor")?, section.required("high_freq_factor")?);
            if low >= high {
                return Err(section.wrong("low_freq_factor", low, format!("less than {high}, the high one")));
            }
            let factor = section.required("factor")?;
            RopeScaling::Llama3 { factor, low, high, trained: trained.or(outside).unwrap_or(context) }
        }
        // Phi-3's early files say `su` or `yarn` and mean longrope: they have the lists of factors.
        "longrope" | "su" => long(config, &section, dims, trained, outside, context)?,
        "yarn" if section.values.is_some_and(|v| v.get("short_factor").is_some()) => {
            long(config, &section, dims, trained, outside, context)?
        }
        "yarn" => {
            let trained = trained.unwrap_or(context);
            let factor = section.float("factor", FACTORS)?.unwrap_or(context as f64 / trained as f64);
            let given = section.float("attention_factor", 0.0..=1e3)?;
            let positive = |x: &f64| *x > 0.0;
            let scales = (
                section.float("mscale", 0.0..=1e3)?.filter(positive),
                section.float("mscale_all_dim", 0.0..=1e3)?.filter(positive),
            );
            let attention_factor = given.unwrap_or(match scales {
                (Some(one), Some(all)) => yarn_scale(factor, one) / yarn_scale(factor, all),
                _ => yarn_scale(factor, 1.0),
            });
            let beta = |name, default| {
                Ok::<_, ModelError>(section.float(name, 0.0..=1e6)?.filter(positive).unwrap_or(default))
            };
            RopeScaling::Yarn {
                factor,
                trained,
                beta_fast: beta("beta_fast", 32.0)?,
                beta_slow: beta("beta_slow", 1.0)?,
                truncate: section.flag("truncate")?.unwrap_or(true),
                attention_factor,
            }
        }
        other => {
            return Err(ModelError::Unsupported {
                key: format!("{name}.rope_type"),
                found: other.to_owned(),
            });
        }
    };
    Ok(RopeSpec { base, dims, scaling })
}

/// From GGUF metadata.
pub(super) fn gguf(
    config: &Config<'_>,
    head_dim: usize,
    context: usize,
    default_base: f64,
) -> Result<RopeSpec, ModelError> {
    let base = config.float(key("", "rope.freq_base"), BASES)?.unwrap_or(default_base);
    let dims_key = key("", "rope.dimension_count");
    let dims = config.integer(dims_key, 2..=head_dim)?.unwrap_or(head_dim);
    if !dims.is_multiple_of(2) {
        return Err(config.wrong(dims_key, dims, "an even number"));
    }
    let factor = config.float(key("", "rope.scaling.factor"), 0.0..=1e6)?.filter(|factor| *factor > 0.0);
    let trained = config
        .integer(key("", "rope.scaling.original_context_length"), 0..=super::MAX_CONTEXT)?
        .filter(|trained| *trained > 0);
    let attention = config.float(key("", "rope.scaling.attn_factor"), 0.0..=1e3)?;
    let kind_key = key("", "rope.scaling.type");
    let scaling = match config.text(kind_key)?.as_deref() {
        None | Some("none") => RopeScaling::None,
        Some("linear") => match factor {
            Some(factor) => RopeScaling::Linear { factor },
            None => RopeScaling::None,
        },
        Some("yarn") => {
            let factor = factor.unwrap_or(1.0);
            RopeScaling::Yarn {
                factor,
                trained: trained.unwrap_or(context),
                beta_fast: config.float(key("", "rope.scaling.yarn_beta_fast"), 0.0..=1e6)?.unwrap_or(32.0),
                beta_slow: config.float(key("", "rope.scaling.yarn_beta_slow"), 0.0..=1e6)?.unwrap_or(1.0),
                truncate: true,
                attention_factor: attention.unwrap_or(1.0) * yarn_scale(factor, 1.0),
            }
        }
        Some("longrope") => RopeScaling::LongRope {
            short: Vec::new(),
            long: Vec::new(),
            trained: trained.unwrap_or(context),
            attention_factor: attention.unwrap_or(1.0),
        },
        Some(other) => {
            let found = other.to_owned();
            return Err(ModelError::Unsupported { key: config.source.spell(kind_key), found });
        }
    };
    Ok(RopeSpec { base, dims, scaling })
}

fn dynamic(
    factor: f64,
    trained: usize,
    dims: usize,
    section: &Section<'_>,
) -> Result<RopeScaling, ModelError> {
    if dims > 2 {
        Ok(RopeScaling::Dynamic { factor, trained })
    } else {
        Err(section.wrong("rope_type", "dynamic", "at least 4 rotated elements a head"))
    }
}

fn long(
    config: &Config<'_>,
    section: &Section<'_>,
    dims: usize,
    trained: Option<usize>,
    outside: Option<usize>,
    context: usize,
) -> Result<RopeScaling, ModelError> {
    // Phi-3 has the original length beside `rope_scaling`, and that is the one its model reads.
    let trained = outside.or(trained).unwrap_or(context);
    let (short, long) =
        (section.factors("short_factor", dims / 2)?, section.factors("long_factor", dims / 2)?);
    let factor = section.float("factor", FACTORS)?.unwrap_or(context as f64 / trained as f64);
    let attention_factor = match section.float("attention_factor", 0.0..=1e3)? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None if trained < 2 => {
            return Err(config.wrong(key("original_max_position_embeddings", ""), trained, "2 or more"));
        }
        None => (1.0 + factor.ln() / (trained as f64).ln()).sqrt(),
    };
    Ok(RopeScaling::LongRope { short, long, trained, attention_factor })
}

fn yarn_scale(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

/// `rope_scaling` or an entry of `rope_parameters`.
struct Section<'a> {
    values: Option<&'a Value>,
    name: &'static str,
}

impl<'a> Section<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.values.and_then(|values| values.get(name)).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, found: impl ToString, expected: impl Into<String>) -> ModelError {
        ModelError::Value {
            key: format!("{}.{name}", self.name),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    fn float(&self, name: &str, range: std::ops::RangeInclusive<f64>) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|x| range.contains(x)) {
            Some(x) => Ok(Some(x)),
            None => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(self.wrong(name, shown(value), expected))
            }
        }
    }

    fn required(&self, name: &'static str) -> Result<f64, ModelError> {
        let missing = || ModelError::MissingKey { key: format!("{}.{name}", self.name) };
        self.float(name, FACTORS)?.ok_or_else(missing)
    }

    fn integer(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // Some files have it as a float.
        match value.as_f64().filter(|x| x.fract() == 0.0 && (1.0..=super::MAX_CONTEXT as f64).contains(x)) {
            Some(x) => Ok(Some(x as usize)),
            None => {
                Err(self.wrong(name, shown(value), format!("an integer from 1 to {}", super::MAX_CONTEXT)))
            }
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, shown(value), "a text"))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(name, shown(value), "true or false"))
    }

    fn factors(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let list = self.get(name).and_then(Value::as_array);
        let list = list.filter(|list| list.len() == len).ok_or_else(|| {
            let found = list.map_or("no list".into(), |list| format!("a list of {}", list.len()));
            self.wrong(name, found, format!("a list of {len} numbers"))
        })?;
        list.iter()
            .map(|value| match value.as_f64().filter(|x| FACTORS.contains(x)) {
                Some(x) => Ok(x as f32),
                None => Err(self.wrong(name, shown(value), "numbers from 0.001 to 1000000")),
            })
            .collect()
    }
}
