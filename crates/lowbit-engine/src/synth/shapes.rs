//! Shapes of known models, from `shapes.json`: the keys of their `config.json` that say how large what is.
//!
//! A shape is run as a Llama: what Qwen adds to it (biases) takes no time worth measuring.

use crate::EngineError;
use lowbit_format::suggest;
use lowbit_model::{Architecture, Config, ModelError, ModelSpec};
use serde_json::{Map, Value};

static SHAPES: &str = include_str!("shapes.json");

fn all() -> Map<String, Value> {
    match serde_json::from_str(SHAPES) {
        Ok(Value::Object(shapes)) => shapes,
        other => panic!("shapes.json is no object of shapes: {other:?}"),
    }
}

/// Names of the shapes that can be made, sorted.
pub fn shape_names() -> Vec<String> {
    // Sorted here: whether the map is depends on a feature of its crate.
    let mut names: Vec<String> = all().into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

/// The configuration of a Llama of the shape `like`, with other numbers of layers and tokens where given.
pub(super) fn config(like: &str, layers: Option<usize>, vocab: Option<usize>) -> Result<Value, EngineError> {
    let Some(Value::Object(mut config)) = all().remove(like) else {
        let known = shape_names();
        let nearest = suggest::nearest(like, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(EngineError::UnknownShape { name: like.to_owned(), nearest, known });
    };
    for (key, number) in [("num_hidden_layers", layers), ("vocab_size", vocab)] {
        if let Some(number) = number {
            config.insert(key.into(), number.into());
        }
    }
    config.insert("architectures".into(), vec!["LlamaForCausalLM"].into());
    config.insert("model_type".into(), "llama".into());
    config.insert("hidden_act".into(), "silu".into());
    Ok(Value::Object(config))
}

/// What a configuration says to whoever loads it.
pub(super) fn spec(config: &Value) -> Result<ModelSpec, ModelError> {
    let config = Config::hugging_face(config)?;
    (Architecture::of(&config)?.spec)(&config)
}

/// The text of a configuration, its keys sorted.
pub(super) fn text(config: &Value) -> String {
    let Value::Object(map) = config else { return config.to_string() };
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    let pairs: Vec<String> =
        keys.iter().map(|key| format!("{}:{}", Value::from(key.as_str()), map[*key])).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_model_and_its_numbers_can_be_changed() {
        for name in shape_names() {
            let whole = spec(&config(&name, None, None).unwrap()).unwrap();
            assert_eq!(whole.hidden, whole.heads * whole.head_dim, "{name}");
            let small = spec(&config(&name, Some(2), Some(100)).unwrap()).unwrap();
            assert_eq!((small.blocks.len(), small.vocab, small.hidden), (2, 100, whole.hidden), "{name}");
        }
        assert!(spec(&config("llama-2-7b", Some(0), None).unwrap()).is_err());
    }

    #[test]
    fn an_unknown_shape_suggests_the_nearest() {
        let error = config("llama2-7b", None, None).unwrap_err().to_string();
        assert!(error.contains("did you mean llama-2-7b?") && error.contains("smollm2-135m"), "{error}");
    }
}
