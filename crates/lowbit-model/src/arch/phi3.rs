//! Phi-3, 3.5 and 4-mini.

use super::Architecture;
use crate::config::Defaults;
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec, Names};

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
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("phi3", Defaults { norm_eps: 1e-5, ..Defaults::LLAMA })?;
    config.no_biases()?;
    let window = config.window()?;
    config.slide(&mut spec, window, |_| true)?;
    Ok(spec)
}
