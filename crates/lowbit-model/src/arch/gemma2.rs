//! Gemma 2.

use super::Architecture;
use crate::config::{Defaults, key, write};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec, Names, Norms};
use lowbit_kernels::ops::Activation;
use serde_json::{Value, json};

pub(super) static GEMMA2: Architecture = Architecture {
    name: "gemma2",
    summary: "norms before and after each part, soft caps, a sliding window in every other layer",
    reference: "Gemma 2: Improving Open Language Models at a Practical Size, arXiv:2408.00118",
    hugging_face: &["Gemma2ForCausalLM", "gemma2"],
    gguf: &["gemma2"],
    hugging_face_names: NAMES,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

pub(super) const NAMES: Names =
    Names { ffn_in: "model.layers.{block}.pre_feedforward_layernorm", ..HUGGING_FACE };

pub(super) const DEFAULTS: Defaults = Defaults { tied: true, head_dim: Some(256), ..Defaults::LLAMA };

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = shared(config, "gemma2", DEFAULTS)?;
    // The 27B model scales by the hidden size over heads; GGUF files say so only by its size.
    if !config.is_hugging_face() && spec.blocks.len() == 46 {
        spec.attention_scale = 1.0 / ((spec.hidden / spec.heads) as f32).sqrt();
    }
    let caps = |hf, gguf, default: f32| {
        let found = config.cap(key(hf, gguf))?;
        Ok::<_, ModelError>(if config.is_hugging_face() { found } else { found.or(Some(default)) })
    };
    spec.attention_cap = caps("attn_logit_softcapping", "attn_logit_softcapping", 50.0)?;
    spec.logit_cap = caps("final_logit_softcapping", "final_logit_softcapping", 30.0)?;
    let window = config.window()?.or(Some(4096));
    config.slide(&mut spec, window, |block| block % 2 == 0)?;
    Ok(spec)
}

/// What Gemma 2 and 3 share.
pub(super) fn shared(
    config: &Config<'_>,
    name: &'static str,
    defaults: Defaults,
) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder(name, defaults)?;
    spec.norms = Norms::AROUND;
    spec.gain_offset = if config.is_hugging_face() { 1.0 } else { 0.0 };
    spec.biases = config.biases()?;
    spec.activation = config.activation(key("hidden_activation", ""), Activation::GeluTanh)?;
    spec.embedding_scale = (spec.hidden as f32).sqrt();
    let scalar = key("query_pre_attn_scalar", "");
    if config.is_hugging_face() {
        let scalar = config.float(scalar, 1e-3..=1e6)?.unwrap_or(256.0);
        spec.attention_scale = scalar.powf(-0.5) as f32;
    }
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    let mut config = shared_config(spec);
    config["attn_logit_softcapping"] = json!(spec.attention_cap);
    config["final_logit_softcapping"] = json!(spec.logit_cap);
    config
}

/// What Gemma 2 and 3 share.
pub(super) fn shared_config(spec: &ModelSpec) -> Value {
    let mut config = write::biases(spec);
    config["hidden_activation"] = "gelu_pytorch_tanh".into();
    config["query_pre_attn_scalar"] = write::inverse_square(spec.attention_scale);
    config["sliding_window"] = json!(write::window(spec));
    config["layer_types"] = write::layer_types(spec);
    config
}
