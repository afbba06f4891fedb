//! Qwen 3 with experts.

use super::Architecture;
use crate::config::{Defaults, key, write};
use crate::{Config, ExpertWeights, GGUF, HUGGING_FACE, ModelError, ModelSpec, QkNorm};
use serde_json::Value;

pub(super) static QWEN3_MOE: Architecture = Architecture {
    name: "qwen3_moe",
    summary: "Qwen 3 with a mixture of many small experts",
    reference: "Qwen3 Technical Report, arXiv:2505.09388",
    hugging_face: &["Qwen3MoeForCausalLM", "qwen3_moe"],
    gguf: &["qwen3moe"],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("qwen3_moe", Defaults::LLAMA)?;
    spec.qk_norm = QkNorm::Head;
    spec.biases = config.biases()?;
    let on = config.switched_on(key("use_sliding_window", ""))?;
    let window = config.window()?.filter(|_| on);
    config.slide(&mut spec, window, |_| true)?;
    let count = match config.expert_count(key("num_experts", "expert_count"))? {
        Some(count) => Some(count),
        None => config.expert_count(key("num_local_experts", ""))?,
    };
    let Some(count) = count else { return Ok(spec) };
    let inner = config.inner("moe_intermediate_size", "expert_feed_forward_length")?;
    // GGUF files do not say: their converter takes normalized weights and experts in every block for granted.
    let normalized = match (config.is_hugging_face(), config.flag(key("norm_topk_prob", ""))?) {
        (true, Some(false) | None) => ExpertWeights::AsRouted,
        _ => ExpertWeights::Normalized,
    };
    let step = config.integer(key("decoder_sparse_step", ""), 1..=spec.blocks.len())?.unwrap_or(1);
    let dense = config.integers(key("mlp_only_layers", ""))?.unwrap_or_default();
    let has_experts = |block: usize| !dense.contains(&(block as u64)) && (block + 1).is_multiple_of(step);
    config.experts(&mut spec, count, inner, normalized, has_experts)?;
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    let mut config = write::biases(spec);
    config["use_sliding_window"] = false.into();
    if let Some((count, used, inner, weights)) = write::experts(spec) {
        config["num_experts"] = count.into();
        config["num_experts_per_tok"] = used.into();
        config["moe_intermediate_size"] = inner.into();
        config["norm_topk_prob"] = (weights == ExpertWeights::Normalized).into();
        config["decoder_sparse_step"] = 1.into();
    }
    config
}
