//! OLMo 2.

use super::Architecture;
use crate::config::{Defaults, write};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec, Norms, QkNorm};
use serde_json::Value;

pub(super) static OLMO2: Architecture = Architecture {
    name: "olmo2",
    summary: "norms after each part only, queries and keys normalized over all heads",
    reference: "2 OLMo 2 Furious, arXiv:2501.00656",
    hugging_face: &["Olmo2ForCausalLM", "olmo2"],
    gguf: &["olmo2"],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("olmo2", Defaults { norm_eps: 1e-5, ..Defaults::LLAMA })?;
    spec.norms = Norms::AFTER;
    spec.qk_norm = QkNorm::Row;
    spec.biases = config.biases()?;
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    write::biases(spec)
}
