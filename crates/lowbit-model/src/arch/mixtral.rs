//! Mixtral: Mistral with experts. Its GGUF files are `llama`.

use super::Architecture;
use crate::config::{Defaults, key, write};
use crate::{Config, ExpertWeights, GGUF, HUGGING_FACE, ModelError, ModelSpec, Names};
use serde_json::{Value, json};

pub(super) static MIXTRAL: Architecture = Architecture {
    name: "mixtral",
    summary: "Mistral with a mixture of experts, two of eight for each token",
    reference: "Mixtral of Experts, arXiv:2401.04088",
    hugging_face: &["MixtralForCausalLM", "mixtral"],
    gguf: &[],
    hugging_face_names: Names {
        router: "model.layers.{block}.block_sparse_moe.gate",
        expert_gate: "model.layers.{block}.block_sparse_moe.experts.{expert}.w1",
        expert_up: "model.layers.{block}.block_sparse_moe.experts.{expert}.w3",
        expert_down: "model.layers.{block}.block_sparse_moe.experts.{expert}.w2",
        ..HUGGING_FACE
    },
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec =
        config.decoder("mixtral", Defaults { norm_eps: 1e-5, rope_base: 1e6, ..Defaults::LLAMA })?;
    config.no_biases()?;
    let window = config.window()?;
    config.slide(&mut spec, window, |_| true)?;
    let count = config.expert_count(key("num_local_experts", ""))?.unwrap_or(8);
    let inner = config.inner("intermediate_size", "")?;
    config.experts(&mut spec, count, inner, ExpertWeights::Normalized, |_| true)?;
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    let mut config = json!({ "sliding_window": write::window(spec) });
    if let Some((count, used, _, _)) = write::experts(spec) {
        config["num_local_experts"] = count.into();
        config["num_experts_per_tok"] = used.into();
    }
    config
}
