//! Gemma 3, the language model.

use super::{Architecture, gemma2};
use crate::config::{Defaults, key};
use crate::{Config, GGUF, ModelError, ModelSpec, QkNorm};
use serde_json::{Value, json};

pub(super) static GEMMA3: Architecture = Architecture {
    name: "gemma3",
    summary: "Gemma 2 with norms on queries and keys instead of soft caps, and a rotary base for each kind of layer",
    reference: "Gemma 3 Technical Report, arXiv:2503.19786",
    hugging_face: &["Gemma3ForCausalLM", "gemma3_text"],
    gguf: &["gemma3"],
    hugging_face_names: gemma2::NAMES,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = gemma2::shared(config, "gemma3", Defaults { rope_base: 1e6, ..gemma2::DEFAULTS })?;
    spec.qk_norm = QkNorm::Head;
    // The 27B model scales by the hidden size over heads; GGUF files say so only by its size.
    if !config.is_hugging_face() && spec.blocks.len() == 62 {
        spec.attention_scale = 1.0 / ((spec.hidden / spec.heads) as f32).sqrt();
    }
    spec.logit_cap = config.cap(key("final_logit_softcapping", "final_logit_softcapping"))?;
    let bases = 1.0..=1e12;
    let local = config.float(key("rope_local_base_freq", "rope.freq_base_swa"), bases)?.unwrap_or(10_000.0);
    spec.ropes.push(config.rope_of("sliding_attention", spec.head_dim, spec.context, local)?);
    let pattern = config
        .integer(key("sliding_window_pattern", "attention.sliding_window_pattern"), 1..=1024)?
        .unwrap_or(6);
    let window = config.window()?.or(if config.is_hugging_face() { Some(4096) } else { Some(1024) });
    config.slide(&mut spec, window, |block| !(block + 1).is_multiple_of(pattern))?;
    for block in &mut spec.blocks {
        block.rope = Some(usize::from(block.window.is_some()));
    }
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    let mut config = gemma2::shared_config(spec);
    config["final_logit_softcapping"] = json!(spec.logit_cap);
    config["rope_local_base_freq"] = json!(spec.ropes.last().map(|rope| rope.base));
    config
}
