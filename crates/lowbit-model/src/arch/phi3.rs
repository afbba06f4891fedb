//! Phi-3, 3.5 and 4-mini.

use super::Architecture;
use crate::config::{Defaults, write};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec, Names, RopeScaling};
use serde_json::{Value, json};

pub(super) static PHI3: Architecture = Architecture {
    name: "phi3",
    summary: "Llama with fused projections, a sliding window and longrope",
    reference: "Phi-3 Technical Report, arXiv:2404.14219",
    hugging_face: &["Phi3ForCausalLM", "phi3"],
    gguf: &["phi3"],
    hugging_face_names: Names {
        qkv: Some("model.layers.{block}.self_attn.qkv_proj"),
        gate_up: Some("model.layers.{block}.mlp.gate_up_proj"),
        ..HUGGING_FACE
    },
    // GGUF calls the fused gate and up `ffn_up`.
    gguf_names: Names { qkv: Some("blk.{block}.attn_qkv"), gate_up: Some("blk.{block}.ffn_up"), ..GGUF },
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("phi3", Defaults { norm_eps: 1e-5, ..Defaults::LLAMA })?;
    config.no_biases()?;
    let window = config.window()?;
    config.slide(&mut spec, window, |_| true)?;
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    // The default padding token lies outside of small vocabularies.
    let mut config = json!({ "sliding_window": write::window(spec), "pad_token_id": null });
    let rope = &spec.ropes[0];
    config["partial_rotary_factor"] = json!(rope.dims as f64 / spec.head_dim as f64);
    if let RopeScaling::LongRope { trained, .. } = rope.scaling {
        config["original_max_position_embeddings"] = trained.into();
    }
    config
}
