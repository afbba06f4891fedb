//! Qwen 3, dense.

use super::Architecture;
use crate::config::{Defaults, write};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec, QkNorm};
use serde_json::Value;

pub(super) static QWEN3: Architecture = Architecture {
    name: "qwen3",
    summary: "Llama with norms on each head's query and key, and a head size of its own",
    reference: "Qwen3 Technical Report, arXiv:2505.09388",
    hugging_face: &["Qwen3ForCausalLM", "qwen3"],
    gguf: &["qwen3"],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("qwen3", Defaults { head_dim: Some(128), ..Defaults::LLAMA })?;
    spec.qk_norm = QkNorm::Head;
    spec.biases = config.biases()?;
    config.slide_above(&mut spec)?;
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    let mut config = write::biases(spec);
    config["use_sliding_window"] = false.into();
    config
}
