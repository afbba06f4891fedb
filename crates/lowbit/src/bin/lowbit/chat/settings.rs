//! `/set`: one sampling parameter by its name, as [`SamplingParams`] has them in JSON.

use anyhow::{Context, Result, bail};
use lowbit::{sampler::SamplingParams, suggest};
use serde_json::{Map, Value};

/// Short names, and the paths they stand for.
const SHORT: &[(&str, &str)] = &[
    ("temp", "temperature"),
    ("typical", "typical_p"),
    ("top_nsigma", "top_n_sigma"),
    ("repeat_penalty", "penalties.repeat"),
    ("presence_penalty", "penalties.presence"),
    ("frequency_penalty", "penalties.frequency"),
    ("repeat_last_n", "penalties.last_n"),
];

/// All parameters, one a line.
pub(super) fn show(params: &SamplingParams) -> Result<String> {
    let lines: Vec<String> = flat(params)?.iter().map(|(name, value)| format!("  {name} {value}")).collect();
    Ok(lines.join("\n"))
}

/// Changes one parameter; nothing where name or value cannot be used.
pub(super) fn set(params: &mut SamplingParams, name: &str, value: &str) -> Result<()> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let path = SHORT.iter().find(|(short, _)| *short == wanted).map_or(wanted.as_str(), |(_, path)| path);
    // Text that is no JSON is meant as it stands.
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let mut json = serde_json::to_value(&*params)?;
    let slot = path.split('.').try_fold(&mut json, |slot, key| slot.get_mut(key));
    let Some(slot) = slot else {
        let known = flat(params)?;
        let known = known.keys().map(String::as_str).chain(SHORT.iter().map(|(short, _)| *short));
        match suggest::nearest(&wanted, known) {
            Some(nearest) => {
                bail!("no parameter is called {name:?}, did you mean {nearest:?}? /set lists all")
            }
            None => bail!("no parameter is called {name:?}; /set lists all"),
        }
    };
    *slot = value;
    let changed: SamplingParams =
        serde_json::from_value(json).with_context(|| format!("{name} cannot be that"))?;
    changed.validate()?;
    *params = changed;
    Ok(())
}

/// The parameters by their paths.
fn flat(params: &SamplingParams) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    let Value::Object(fields) = serde_json::to_value(params)? else { return Ok(all) };
    for (name, value) in fields {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                all.extend(inner.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => {
                all.insert(name, value);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_by_path_and_by_short_name() {
        let mut params = SamplingParams::default();
        set(&mut params, "temp", "0.25").unwrap();
        set(&mut params, "dry.multiplier", "0.5").unwrap();
        set(&mut params, "Repeat-Penalty", "1.5").unwrap();
        set(&mut params, "seed", "9").unwrap();
        assert_eq!((params.temperature, params.dry.multiplier), (0.25, 0.5));
        assert_eq!((params.penalties.repeat, params.seed), (1.5, 9));
        assert!(show(&params).unwrap().contains("dry.multiplier 0.5"));
    }

    #[test]
    fn what_cannot_be_changes_nothing() {
        for (name, value, expected) in [
            ("temperatur", "1", "did you mean \"temperature\"?"),
            ("top_p", "2", "top_p is 2"),
            ("top_k", "many", "top_k cannot be that"),
        ] {
            let mut params = SamplingParams::default();
            let error = format!("{:#}", set(&mut params, name, value).unwrap_err());
            assert!(error.contains(expected), "{error}");
            assert_eq!(params, SamplingParams::default());
        }
    }
}
