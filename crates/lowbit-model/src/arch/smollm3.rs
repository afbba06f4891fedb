//! SmolLM3.

use super::Architecture;
use crate::config::{Defaults, key, write};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec};
use serde_json::Value;

pub(super) static SMOLLM3: Architecture = Architecture {
    name: "smollm3",
    summary: "Llama without positions in every fourth layer",
    reference: "SmolLM3: smol, multilingual, long-context reasoner, Hugging Face 2025",
    hugging_face: &["SmolLM3ForCausalLM", "smollm3"],
    gguf: &["smollm3"],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: Some(config),
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let defaults = Defaults { tied: true, rope_base: 2e6, ..Defaults::LLAMA };
    let mut spec = config.decoder("smollm3", defaults)?;
    spec.rope_pairs = config.llama_pairs();
    spec.biases = config.biases()?;
    let listed = config.integers(key("no_rope_layers", ""))?;
    let interval = config.integer(key("no_rope_layer_interval", ""), 1..=1024)?.unwrap_or(4);
    if let Some(list) = &listed
        && list.len() != spec.blocks.len()
    {
        let expected = format!("one for each of the {} layers", spec.blocks.len());
        return Err(config.wrong(key("no_rope_layers", ""), format!("{} entries", list.len()), expected));
    }
    for (i, block) in spec.blocks.iter_mut().enumerate() {
        // The list's name notwithstanding, 1 means a layer with positions.
        let rotates = match &listed {
            Some(list) => list[i] != 0,
            None => !(i + 1).is_multiple_of(interval),
        };
        block.rope = rotates.then_some(0);
    }
    let on = config.switched_on(key("use_sliding_window", ""))?;
    let window = config.window()?.filter(|_| on);
    let without: Vec<bool> = spec.blocks.iter().map(|block| block.rope.is_none()).collect();
    if on {
        config.slide(&mut spec, window, |block| without[block])?;
    }
    Ok(spec)
}

fn config(spec: &ModelSpec) -> Value {
    let mut config = write::biases(spec);
    let rotates = spec.blocks.iter().map(|block| u8::from(block.rope.is_some()));
    config["no_rope_layers"] = rotates.collect();
    config["use_sliding_window"] = false.into();
    // The default padding token lies outside of small vocabularies.
    config["pad_token_id"] = Value::Null;
    config
}
