//! Mistral: Llama with a sliding window in every layer. Its GGUF files are `llama`.

use super::Architecture;
use crate::config::{Defaults, write};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec};
use serde_json::{Value, json};

pub(super) static MISTRAL: Architecture = Architecture {
    name: "mistral",
    summary: "Llama with a sliding window in every layer",
    reference: "Mistral 7B, arXiv:2310.06825",
    hugging_face: &["MistralForCausalLM", "mistral"],
    gguf: &[],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("mistral", Defaults::LLAMA)?;
    config.no_biases()?;
    let window = config.window()?;
    config.slide(&mut spec, window, |_| true)?;
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    json!({ "sliding_window": write::window(spec) })
}
