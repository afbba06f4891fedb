//! Qwen 2 and 2.5.

use super::Architecture;
use crate::config::Defaults;
use crate::{Biases, Config, GGUF, HUGGING_FACE, ModelError, ModelSpec};
use serde_json::{Value, json};

pub(super) static QWEN2: Architecture = Architecture {
    name: "qwen2",
    summary: "Llama with biases on queries, keys and values",
    reference: "Qwen2.5 Technical Report, arXiv:2412.15115",
    hugging_face: &["Qwen2ForCausalLM", "qwen2"],
    gguf: &["qwen2"],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("qwen2", Defaults::LLAMA)?;
    config.no_biases()?;
    spec.biases = Biases::QKV;
    config.slide_above(&mut spec)?;
    Ok(spec)
}

fn config(_: &ModelSpec) -> Value {
    json!({ "use_sliding_window": false })
}
