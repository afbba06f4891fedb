//! BitNet b1.58 as 1bitLLM published it: float master weights that are ternary once rounded.

use super::Architecture;
use crate::config::{Defaults, key};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec, Names, Norms, WeightCoding};

pub(super) static BITNET_1BITLLM: Architecture = Architecture {
    name: "bitnet_1bitllm",
    summary: "Llama with ternary weights, 8-bit activations, norms before the last projection of each part",
    reference: "The Era of 1-bit LLMs: All Large Language Models are in 1.58 Bits, arXiv:2402.17764",
    hugging_face: &["BitnetForCausalLM"],
    gguf: &["bitnet"],
    hugging_face_names: Names {
        attention_sub: "model.layers.{block}.self_attn.inner_attn_ln",
        ffn_sub: "model.layers.{block}.mlp.ffn_layernorm",
        ..HUGGING_FACE
    },
    gguf_names: GGUF,
    spec,
    config: None,
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = config.decoder("bitnet_1bitllm", Defaults { tied: true, ..Defaults::LLAMA })?;
    config.no_biases()?;
    spec.norms = Norms::BEFORE_AND_SUB;
    spec.coding =
        if config.is_hugging_face() { WeightCoding::TernaryMaster } else { WeightCoding::TokenInt8 };
    config.integer(key("weight_bits", ""), 1..=1)?;
    config.integer(key("input_bits", ""), 8..=8)?;
    Ok(spec)
}
