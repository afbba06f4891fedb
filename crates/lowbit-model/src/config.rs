//! Hyper-parameters read from `config.json`, from GGUF metadata, or from a llama2.c header.
//!
//! One reader for all: an architecture asks for a [`Key`] and a range, and gets a checked value or an error that spells
//! the key as the file does. `null` counts as absent. What changes the computation and is not understood is refused.

mod rope;
mod source;
pub(crate) mod write;

pub use source::{GgufMeta, Llama2c};
pub use write::{HuggingFace, hugging_face};

use crate::{
    ModelError,
    rope::RopeSpec,
    spec::{Biases, BlockSpec, ExpertWeights, Ffn, Head, ModelSpec, Norms, Presence, QkNorm, WeightCoding},
};
use lowbit_kernels::ops::{Activation, RopePairs};
use source::{Number, Source};
use std::ops::RangeInclusive;

/// A hyper-parameter's name in both kinds of file; GGUF keys without the architecture in front. Empty where that kind
/// of file does not have it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// In `config.json`.
    pub hf: &'static str,
    /// In GGUF metadata.
    pub gguf: &'static str,
}

/// A [`Key`], tersely.
pub(crate) const fn key(hf: &'static str, gguf: &'static str) -> Key {
    Key { hf, gguf }
}

const MAX_BLOCKS: usize = 1024;
const MAX_WIDTH: usize = 1_000_000;
const MAX_VOCAB: usize = 1 << 24;
const MAX_CONTEXT: usize = 1 << 28;
const MAX_EXPERTS: usize = 1024;

/// What an absent key means; differs between architectures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) norm_eps: f64,
    pub(crate) rope_base: f64,
    pub(crate) tied: bool,
    /// Of `head_dim`; hidden size over heads where `None`.
    pub(crate) head_dim: Option<usize>,
}

impl Defaults {
    pub(crate) const LLAMA: Self = Self { norm_eps: 1e-6, rope_base: 10_000.0, tied: false, head_dim: None };
}

/// Hyper-parameters of one checkpoint.
pub struct Config<'a> {
    source: Source<'a>,
    /// Names by which the file calls its architecture, most telling first.
    architecture: Vec<String>,
}

impl Config<'_> {
    /// Whether this is a Hugging Face folder's.
    pub(crate) fn is_hugging_face(&self) -> bool {
        matches!(self.source, Source::HuggingFace(_))
    }

    /// Names by which the file calls its architecture, most telling first.
    pub fn architecture_names(&self) -> &[String] {
        &self.architecture
    }

    /// Which elements rotate together in files of architectures whose GGUF converter reorders rows of query and key.
    pub(crate) fn llama_pairs(&self) -> RopePairs {
        if self.is_hugging_face() { RopePairs::Halves } else { RopePairs::Adjacent }
    }

    /// An integer in a range, `None` where absent.
    ///
    /// # Errors
    /// Where it is no integer or out of range.
    pub fn integer(&self, key: Key, range: RangeInclusive<usize>) -> Result<Option<usize>, ModelError> {
        let Some(number) = self.source.number(key)? else { return Ok(None) };
        let value = match number {
            Number::Integer(value) => usize::try_from(value).ok().filter(|value| range.contains(value)),
            Number::Float(_) => None,
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => {
                let expected = format!("an integer from {} to {}", range.start(), range.end());
                Err(self.wrong(key, number.to_string(), expected))
            }
        }
    }

    /// A number in a range, `None` where absent.
    ///
    /// # Errors
    /// Where it is no number or out of range; NaN always is.
    pub fn float(&self, key: Key, range: RangeInclusive<f64>) -> Result<Option<f64>, ModelError> {
        let Some(number) = self.source.number(key)? else { return Ok(None) };
        let value = number.as_f64();
        if range.contains(&value) {
            Ok(Some(value))
        } else {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            Err(self.wrong(key, number.to_string(), expected))
        }
    }

    /// A yes or no, `None` where absent.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn flag(&self, key: Key) -> Result<Option<bool>, ModelError> {
        self.source.flag(key)
    }

    /// A text, `None` where absent.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn text(&self, key: Key) -> Result<Option<String>, ModelError> {
        self.source.text(key)
    }

    /// A list of integers, `None` where absent.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn integers(&self, key: Key) -> Result<Option<Vec<u64>>, ModelError> {
        self.source.integers(key)
    }

    /// A list of texts, `None` where absent.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn texts(&self, key: Key) -> Result<Option<Vec<String>>, ModelError> {
        self.source.texts(key)
    }

    /// The error of a value that is not what it should be.
    pub(crate) fn wrong(&self, key: Key, found: impl ToString, expected: impl ToString) -> ModelError {
        ModelError::Value {
            key: self.source.spell(key),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// An integer that must be there.
    pub(crate) fn required(&self, key: Key, range: RangeInclusive<usize>) -> Result<usize, ModelError> {
        self.integer(key, range)?.ok_or_else(|| ModelError::MissingKey { key: self.source.spell(key) })
    }

    /// Refuses keys that are there with any value but null, false, 0 or an empty list.
    pub(crate) fn refuse(&self, keys: &[&'static str]) -> Result<(), ModelError> {
        keys.iter().try_for_each(|name| self.source.refuse(name))
    }

    /// Refuses numbers that are there and are not `neutral`.
    fn refuse_other_than(&self, neutral: f64, keys: &[&'static str]) -> Result<(), ModelError> {
        for name in keys {
            let key = key(name, name);
            if let Some(number) = self.source.number(key)?
                && number.as_f64() != neutral
            {
                let found = number.to_string();
                return Err(ModelError::Unsupported { key: self.source.spell(key), found });
            }
        }
        Ok(())
    }

    /// The spec of a decoder shaped like Llama: what all architectures start from and then change.
    pub(crate) fn decoder(
        &self,
        architecture: &'static str,
        defaults: Defaults,
    ) -> Result<ModelSpec, ModelError> {
        self.refuse(&["clip_qkv", "use_alibi", "alibi", "parallel_attn", "use_bidirectional_attention"])?;
        self.refuse(&["attention.clamp_kqv", "attention.max_alibi_bias", "use_parallel_residual"])?;
        let scales = [
            "residual_multiplier",
            "embedding_multiplier",
            "logits_scaling",
            "residual_scale",
            "logit_scale",
        ];
        self.refuse_other_than(1.0, &scales)?;
        self.refuse(&["attention_multiplier", "attention.scale"])?;

        let heads_key = key("num_attention_heads", "attention.head_count");
        let hidden = self.required(key("hidden_size", "embedding_length"), 1..=MAX_WIDTH)?;
        let blocks = self.required(key("num_hidden_layers", "block_count"), 1..=MAX_BLOCKS)?;
        let heads = self.required(heads_key, 1..=4096)?;
        let kv_key = key("num_key_value_heads", "attention.head_count_kv");
        let kv_heads = self.integer(kv_key, 1..=heads)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(self.wrong(kv_key, kv_heads, format!("a divisor of the {heads} heads")));
        }
        let dim_key = key("head_dim", "attention.key_length");
        let head_dim = match (self.integer(dim_key, 2..=4096)?, defaults.head_dim) {
            (Some(dim), _) => dim,
            (None, Some(dim)) if self.is_hugging_face() => dim,
            _ if hidden.is_multiple_of(heads) && hidden / heads > 1 => hidden / heads,
            _ => return Err(self.wrong(heads_key, heads, format!("a divisor of the hidden size {hidden}"))),
        };
        let value_key = key("", "attention.value_length");
        if let Some(value) = self.integer(value_key, 1..=MAX_WIDTH)?
            && value != head_dim
        {
            return Err(self.wrong(value_key, value, format!("{head_dim}, the length of a key")));
        }
        let eps_key = key("rms_norm_eps", "attention.layer_norm_rms_epsilon");
        let norm_eps = self.float(eps_key, 0.0..=1.0)?.unwrap_or(defaults.norm_eps) as f32;
        let context =
            self.integer(key("max_position_embeddings", "context_length"), 1..=MAX_CONTEXT)?.unwrap_or(2048);
        let rope = self.rope(head_dim, context, defaults.rope_base)?;
        let inner = self.required(key("intermediate_size", "feed_forward_length"), 1..=MAX_WIDTH * 16)?;
        let head = match (self.is_hugging_face(), self.flag(key("tie_word_embeddings", ""))?) {
            (false, None) => Head::OwnIfStored,
            (_, tied) if tied.unwrap_or(defaults.tied) => Head::Tied,
            _ => Head::Own,
        };
        Ok(ModelSpec {
            architecture,
            hidden,
            vocab: self.vocab()?,
            context,
            heads,
            kv_heads,
            head_dim,
            norm_eps,
            gain_offset: 0.0,
            norms: Norms::BEFORE,
            qk_norm: QkNorm::None,
            attention_scale: 1.0 / (head_dim as f32).sqrt(),
            attention_cap: None,
            logit_cap: None,
            embedding_scale: 1.0,
            activation: self.activation(key("hidden_act", ""), Activation::Silu)?,
            head,
            biases: Biases::NONE,
            ropes: vec![rope],
            rope_pairs: RopePairs::Halves,
            coding: self.coding()?,
            blocks: vec![BlockSpec { window: None, rope: Some(0), ffn: Ffn::Dense { inner } }; blocks],
        })
    }

    fn vocab(&self) -> Result<usize, ModelError> {
        let vocab = key("vocab_size", "vocab_size");
        if let Some(size) = self.integer(vocab, 1..=MAX_VOCAB)? {
            return Ok(size);
        }
        match self.source.vocabulary()? {
            Some(size) if (1..=MAX_VOCAB).contains(&size) => Ok(size),
            Some(size) => Err(self.wrong(vocab, size, format!("an integer from 1 to {MAX_VOCAB}"))),
            None => Err(ModelError::MissingKey { key: self.source.spell(vocab) }),
        }
    }

    /// What a key says of the activation.
    pub(crate) fn activation(&self, key: Key, default: Activation) -> Result<Activation, ModelError> {
        match self.text(key)?.as_deref() {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh" | "gelu_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
            Some("relu2") => Ok(Activation::SquaredRelu),
            Some(other) => {
                Err(ModelError::Unsupported { key: self.source.spell(key), found: other.to_owned() })
            }
        }
    }

    /// The main rotary embedding.
    fn rope(&self, head_dim: usize, context: usize, base: f64) -> Result<RopeSpec, ModelError> {
        match &self.source {
            Source::HuggingFace(json) => rope::hugging_face(self, json, None, head_dim, context, base),
            Source::Gguf { .. } => rope::gguf(self, head_dim, context, base),
            Source::Llama2c(_) => {
                Ok(RopeSpec { base, dims: head_dim, scaling: crate::rope::RopeScaling::None })
            }
        }
    }

    /// The rotary embedding of `layers`, one of the kinds in a nested `rope_parameters`; the plain base where a
    /// Hugging Face configuration has no such entry.
    pub(crate) fn rope_of(
        &self,
        layers: &str,
        head_dim: usize,
        context: usize,
        base: f64,
    ) -> Result<RopeSpec, ModelError> {
        match &self.source {
            Source::HuggingFace(json) => {
                rope::hugging_face(self, json, Some(layers), head_dim, context, base)
            }
            _ => Ok(RopeSpec { base, dims: head_dim, scaling: crate::rope::RopeScaling::None }),
        }
    }

    /// Biases as Llama's family says: `attention_bias` on all four projections, `mlp_bias` on all three.
    pub(crate) fn biases(&self) -> Result<Biases, ModelError> {
        let presence = |flag: Option<bool>| match flag {
            _ if matches!(self.source, Source::Gguf { .. }) => Presence::IfStored,
            Some(true) => Presence::Always,
            _ => Presence::Never,
        };
        let attention = presence(self.flag(key("attention_bias", ""))?);
        let ffn = presence(self.flag(key("mlp_bias", ""))?);
        Ok(Biases { qkv: attention, output: attention, ffn })
    }

    /// Refuses biases that the architecture has no place for.
    pub(crate) fn no_biases(&self) -> Result<(), ModelError> {
        self.refuse(&["attention_bias", "mlp_bias"])
    }

    /// A sliding window, `None` where the key is absent, null or, in GGUF files, 0.
    pub(crate) fn window(&self) -> Result<Option<usize>, ModelError> {
        let key = key("sliding_window", "attention.sliding_window");
        let least = usize::from(self.is_hugging_face());
        Ok(self.integer(key, least..=MAX_CONTEXT)?.filter(|window| *window > 0))
    }

    /// Gives blocks the window where `slides` says so for the block's number; `layer_types` wins where it is there.
    pub(crate) fn slide(
        &self,
        spec: &mut ModelSpec,
        window: Option<usize>,
        slides: impl Fn(usize) -> bool,
    ) -> Result<(), ModelError> {
        let key = key("layer_types", "");
        let types = self.texts(key)?;
        if let Some(types) = &types
            && types.len() != spec.blocks.len()
        {
            let expected = format!("one for each of the {} layers", spec.blocks.len());
            return Err(self.wrong(key, format!("{} entries", types.len()), expected));
        }
        for (i, block) in spec.blocks.iter_mut().enumerate() {
            let sliding = match types.as_ref().map(|types| types[i].as_str()) {
                None => slides(i),
                Some("sliding_attention") => true,
                Some("full_attention") => false,
                Some(other) => {
                    return Err(ModelError::Unsupported { key: "layer_types".into(), found: other.into() });
                }
            };
            if sliding && window.is_none() && types.is_some() {
                return Err(self.wrong(key, "sliding_attention", "a `sliding_window` beside it"));
            }
            block.window = window.filter(|_| sliding);
        }
        Ok(())
    }

    /// The windows of Qwen: where `use_sliding_window` says so, in the blocks from `max_window_layers` on.
    pub(crate) fn slide_above(&self, spec: &mut ModelSpec) -> Result<(), ModelError> {
        let on = self.switched_on(key("use_sliding_window", ""))?;
        let window = self.window()?.filter(|_| on);
        let first = self.integer(key("max_window_layers", ""), 0..=MAX_BLOCKS)?.unwrap_or(28);
        if on { self.slide(spec, window, |block| block >= first) } else { Ok(()) }
    }

    /// Whether a flag is there and true.
    pub(crate) fn switched_on(&self, key: Key) -> Result<bool, ModelError> {
        Ok(self.flag(key)?.unwrap_or(false))
    }

    /// Experts in place of the dense feed-forward part in blocks where `in_block` says so.
    pub(crate) fn experts(
        &self,
        spec: &mut ModelSpec,
        count: usize,
        inner: usize,
        weights: ExpertWeights,
        in_block: impl Fn(usize) -> bool,
    ) -> Result<(), ModelError> {
        self.refuse(&["shared_expert_intermediate_size", "n_shared_experts", "expert_shared_count"])?;
        let used = self.required(key("num_experts_per_tok", "expert_used_count"), 1..=count)?;
        for (i, block) in spec.blocks.iter_mut().enumerate() {
            if in_block(i) {
                block.ffn = Ffn::Experts { count, used, inner, weights };
            }
        }
        Ok(())
    }

    /// Number of experts by a key, `None` where absent or 0.
    pub(crate) fn expert_count(&self, key: Key) -> Result<Option<usize>, ModelError> {
        Ok(self.integer(key, 0..=MAX_EXPERTS)?.filter(|count| *count > 0))
    }

    /// How linear layers are stored, by `quantization_config`.
    fn coding(&self) -> Result<WeightCoding, ModelError> {
        match &self.source {
            Source::HuggingFace(json) => source::coding(json),
            _ => Ok(WeightCoding::Plain),
        }
    }

    /// The width between in a dense feed-forward part.
    pub(crate) fn inner(&self, hf: &'static str, gguf: &'static str) -> Result<usize, ModelError> {
        self.required(key(hf, gguf), 1..=MAX_WIDTH * 16)
    }

    /// A soft cap, `None` where absent or null.
    pub(crate) fn cap(&self, key: Key) -> Result<Option<f32>, ModelError> {
        Ok(self.float(key, 1e-3..=1e9)?.map(|cap| cap as f32))
    }
}
