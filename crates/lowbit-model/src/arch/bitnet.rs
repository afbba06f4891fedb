//! BitNet b1.58 as Microsoft published it (2B-4T).

use super::Architecture;
use crate::config::{Defaults, key};
use crate::{Config, GGUF, HUGGING_FACE, ModelError, ModelSpec, Norms, WeightCoding};
use lowbit_kernels::ops::Activation;

pub(super) static BITNET: Architecture = Architecture {
    name: "bitnet",
    summary: "ternary weights, 8-bit activations, squared ReLU, norms before the last projection of each part",
    reference: "BitNet b1.58 2B4T Technical Report, arXiv:2504.12285",
    hugging_face: &["BitNetForCausalLM", "bitnet"],
    gguf: &["bitnet-b1.58"],
    hugging_face_names: HUGGING_FACE,
    gguf_names: GGUF,
    spec,
    config: None,
};

fn spec(config: &Config<'_>) -> Result<ModelSpec, ModelError> {
    let defaults = Defaults { norm_eps: 1e-5, rope_base: 500_000.0, ..Defaults::LLAMA };
    let mut spec = config.decoder("bitnet", defaults)?;
    config.no_biases()?;
    spec.norms = Norms::BEFORE_AND_SUB;
    spec.activation = config.activation(key("hidden_act", ""), Activation::SquaredRelu)?;
    if !config.is_hugging_face() {
        spec.coding = WeightCoding::TokenInt8;
    }
    Ok(spec)
}
