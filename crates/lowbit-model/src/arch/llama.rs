//! Llama 1, 2 and 3. GGUF files call every model of this shape `llama`, Mistral and Mixtral among them.

use super::Architecture;
use crate::config::{Defaults, key, write};
use crate::{Config, ExpertWeights, GGUF, HUGGING_FACE, ModelError, ModelSpec};
use serde_json::Value;

pub(super) static LLAMA: Architecture = Architecture {
    name: "llama",
    summary: "RMS norms before each part, rotary positions, grouped heads, SwiGLU",
    reference: "The Llama 3 Herd of Models, arXiv:2407.21783",
    hugging_face: &["LlamaForCausalLM", "llama"],
    gguf: &["llama"],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("llama", Defaults::LLAMA)?;
    spec.rope_pairs = config.llama_pairs();
    spec.biases = config.biases()?;
    // The reference ignores a window in a Llama folder; a GGUF file with one is a Mistral.
    let window = if config.is_hugging_face() { None } else { config.window()? };
    config.slide(&mut spec, window, |_| true)?;
    if let Some(count) = config.expert_count(key("", "expert_count"))? {
        let inner = config.inner("intermediate_size", "feed_forward_length")?;
        config.experts(&mut spec, count, inner, ExpertWeights::Normalized, |_| true)?;
    }
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    write::biases(spec)
}
