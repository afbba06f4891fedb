//! The three kinds of files behind a [`Config`], each answering the same questions.

use super::{Config, Key};
use crate::{
    ModelError,
    build::WeightError,
    spec::{PackedScale, WeightCoding},
};
use serde_json::Value;
use std::fmt;

/// Longest list that a configuration may hold: one entry a layer, or one a rotated pair.
const MAX_LIST: usize = 1 << 16;

/// What a configuration asks GGUF metadata for. `Ok(None)` where a key is absent, an error where it is of another type.
pub trait GgufMeta {
    /// A string.
    ///
    /// # Errors
    /// Where the value is of another type.
    fn text(&self, key: &str) -> Result<Option<String>, WeightError>;
    /// A non-negative integer of any width.
    ///
    /// # Errors
    /// Where the value is of another type or negative.
    fn unsigned(&self, key: &str) -> Result<Option<u64>, WeightError>;
    /// A float of any width.
    ///
    /// # Errors
    /// Where the value is of another type.
    fn float(&self, key: &str) -> Result<Option<f64>, WeightError>;
    /// A boolean.
    ///
    /// # Errors
    /// Where the value is of another type.
    fn flag(&self, key: &str) -> Result<Option<bool>, WeightError>;
    /// An array of non-negative integers; booleans count as 0 and 1.
    ///
    /// # Errors
    /// Where the value is of another type.
    fn unsigneds(&self, key: &str) -> Result<Option<Vec<u64>>, WeightError>;
    /// Whether the value is an array, and of how many elements.
    ///
    /// # Errors
    /// Where the metadata cannot be read.
    fn array_len(&self, key: &str) -> Result<Option<usize>, WeightError>;
}

/// The header of a llama2.c `.bin` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Llama2c {
    pub dim: usize,
    pub hidden_dim: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub vocab_size: usize,
    pub seq_len: usize,
}

pub(super) enum Source<'a> {
    HuggingFace(&'a Value),
    Gguf { meta: &'a dyn GgufMeta, prefix: String },
    Llama2c(Llama2c),
}

/// A number as the file has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    fn of_json(value: &Value) -> Option<Self> {
        let integer = value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from));
        integer.map(Self::Integer).or_else(|| value.as_f64().map(Self::Float))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

impl<'a> Config<'a> {
    /// Of a `config.json`. Where the language model's part is nested under `text_config`, that part.
    ///
    /// # Errors
    /// Where it names no architecture.
    pub fn hugging_face(json: &'a Value) -> Result<Self, ModelError> {
        let mut architecture: Vec<String> = match json.get("architectures") {
            Some(Value::Array(names)) => {
                names.iter().take(4).filter_map(|name| Some(short(name.as_str()?))).collect()
            }
            _ => Vec::new(),
        };
        if architecture.is_empty() {
            architecture.extend(json.get("model_type").and_then(Value::as_str).map(short));
        }
        if architecture.is_empty() {
            return Err(ModelError::MissingKey { key: "architectures".into() });
        }
        let json = json.get("text_config").filter(|text| text.is_object()).unwrap_or(json);
        Ok(Self { source: Source::HuggingFace(json), architecture })
    }

    /// Of GGUF metadata.
    ///
    /// # Errors
    /// Where it names no architecture.
    pub fn gguf(meta: &'a dyn GgufMeta) -> Result<Self, ModelError> {
        let key = "general.architecture";
        let name = meta.text(key).map_err(|source| ModelError::Metadata { key: key.into(), source })?;
        let name = name.ok_or_else(|| ModelError::MissingKey { key: key.into() })?;
        let name = short(&name);
        Ok(Self { source: Source::Gguf { meta, prefix: name.clone() }, architecture: vec![name] })
    }

    /// Of a llama2.c header.
    pub fn llama2c(header: Llama2c) -> Self {
        Self { source: Source::Llama2c(header), architecture: vec!["llama".into()] }
    }
}

impl Source<'_> {
    /// The key as this file spells it.
    pub(super) fn spell(&self, key: Key) -> String {
        match self {
            Self::HuggingFace(_) => key.hf.to_owned(),
            Self::Gguf { prefix, .. } => format!("{prefix}.{}", key.gguf),
            Self::Llama2c(_) => key.hf.to_owned(),
        }
    }

    pub(super) fn number(&self, key: Key) -> Result<Option<Number>, ModelError> {
        match self {
            Self::HuggingFace(_) => self
                .json(key)
                .map(|value| Number::of_json(value).ok_or_else(|| self.type_error(key, value, "a number")))
                .transpose(),
            Self::Gguf { meta, .. } if !key.gguf.is_empty() => {
                let name = self.spell(key);
                // Some converters write per-layer arrays; one value serves where all layers agree.
                let array = meta.array_len(&name).map_err(|e| self.unreadable(key, e))?;
                if array.is_some() {
                    return self.uniform(key).map(Some);
                }
                match meta.unsigned(&name) {
                    Ok(value) => Ok(value.map(|value| Number::Integer(value.into()))),
                    Err(error) => match meta.float(&name) {
                        Ok(value) => Ok(value.map(Number::Float)),
                        Err(_) => Err(self.unreadable(key, error)),
                    },
                }
            }
            Self::Gguf { .. } => Ok(None),
            // The one number that llama2.c has in its code instead of its header.
            Self::Llama2c(_) if key.hf == "rms_norm_eps" => Ok(Some(Number::Float(1e-5))),
            Self::Llama2c(header) => Ok(header.get(key.hf).map(|value| Number::Integer(value as i128))),
        }
    }

    /// The value of an array whose elements are all equal.
    fn uniform(&self, key: Key) -> Result<Number, ModelError> {
        let list = self.integers(key)?.unwrap_or_default();
        match list.first() {
            Some(first) if list.iter().all(|value| value == first) => Ok(Number::Integer(i128::from(*first))),
            _ => Err(ModelError::Unsupported {
                key: self.spell(key),
                found: "a list of values that differ from layer to layer".into(),
            }),
        }
    }

    pub(super) fn flag(&self, key: Key) -> Result<Option<bool>, ModelError> {
        match self {
            Self::HuggingFace(_) => self
                .json(key)
                .map(|value| value.as_bool().ok_or_else(|| self.type_error(key, value, "true or false")))
                .transpose(),
            Self::Gguf { meta, .. } if !key.gguf.is_empty() => {
                meta.flag(&self.spell(key)).map_err(|e| self.unreadable(key, e))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn text(&self, key: Key) -> Result<Option<String>, ModelError> {
        match self {
            Self::HuggingFace(_) => self
                .json(key)
                .map(|value| value.as_str().map(short).ok_or_else(|| self.type_error(key, value, "a text")))
                .transpose(),
            Self::Gguf { meta, .. } if !key.gguf.is_empty() => {
                let text = meta.text(&self.spell(key)).map_err(|e| self.unreadable(key, e))?;
                Ok(text.as_deref().map(short))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn integers(&self, key: Key) -> Result<Option<Vec<u64>>, ModelError> {
        match self {
            Self::HuggingFace(_) => {
                self.list(key, "integers", |value| value.as_u64().or_else(|| value.as_bool().map(u64::from)))
            }
            Self::Gguf { meta, .. } if !key.gguf.is_empty() => {
                let name = self.spell(key);
                match meta.array_len(&name).map_err(|e| self.unreadable(key, e))? {
                    None => Ok(None),
                    Some(len) if len <= MAX_LIST => {
                        meta.unsigneds(&name).map_err(|e| self.unreadable(key, e))
                    }
                    Some(len) => Err(self.too_long(key, len)),
                }
            }
            _ => Ok(None),
        }
    }

    pub(super) fn texts(&self, key: Key) -> Result<Option<Vec<String>>, ModelError> {
        match self {
            Self::HuggingFace(_) => self.list(key, "texts", |value| value.as_str().map(short)),
            _ => Ok(None),
        }
    }

    /// Tokens in a GGUF file's vocabulary.
    pub(super) fn vocabulary(&self) -> Result<Option<usize>, ModelError> {
        let key = "tokenizer.ggml.tokens";
        match self {
            Self::Gguf { meta, .. } => {
                meta.array_len(key).map_err(|source| ModelError::Metadata { key: key.into(), source })
            }
            _ => Ok(None),
        }
    }

    /// Refuses a key that is there with a value other than null, false, 0 or nothing.
    pub(super) fn refuse(&self, name: &'static str) -> Result<(), ModelError> {
        let key = Key { hf: name, gguf: name };
        let found = match self {
            Self::HuggingFace(_) => self.json(key).filter(|value| !is_neutral(value)).map(shown),
            Self::Gguf { .. } => match self.number(key) {
                Ok(number) => number.filter(|n| n.as_f64() != 0.0).map(|n| n.to_string()),
                Err(_) => self.flag(key)?.filter(|set| *set).map(|set| set.to_string()),
            },
            Self::Llama2c(_) => None,
        };
        match found {
            Some(found) => Err(ModelError::Unsupported { key: self.spell(key), found }),
            None => Ok(()),
        }
    }

    fn json(&self, key: Key) -> Option<&Value> {
        match self {
            Self::HuggingFace(json) => json.get(key.hf).filter(|value| !value.is_null()),
            _ => None,
        }
    }

    fn list<T>(
        &self,
        key: Key,
        what: &str,
        get: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ModelError> {
        let Some(value) = self.json(key) else { return Ok(None) };
        let wrong = || self.type_error(key, value, &format!("a list of {what}"));
        let list = value.as_array().ok_or_else(wrong)?;
        if list.len() > MAX_LIST {
            return Err(self.too_long(key, list.len()));
        }
        list.iter().map(|value| get(value).ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
    }

    fn type_error(&self, key: Key, found: &Value, expected: &str) -> ModelError {
        ModelError::Value { key: self.spell(key), found: shown(found), expected: expected.to_owned() }
    }

    fn too_long(&self, key: Key, len: usize) -> ModelError {
        let expected = format!("at most {MAX_LIST} entries");
        ModelError::Value { key: self.spell(key), found: format!("a list of {len}"), expected }
    }

    fn unreadable(&self, key: Key, source: WeightError) -> ModelError {
        ModelError::Metadata { key: self.spell(key), source }
    }
}

impl Llama2c {
    fn get(&self, key: &str) -> Option<usize> {
        match key {
            "hidden_size" => Some(self.dim),
            "intermediate_size" => Some(self.hidden_dim),
            "num_hidden_layers" => Some(self.n_layers),
            "num_attention_heads" => Some(self.n_heads),
            "num_key_value_heads" => Some(self.n_kv_heads),
            "vocab_size" => Some(self.vocab_size),
            "max_position_embeddings" => Some(self.seq_len),
            _ => None,
        }
    }
}

/// How the seven linear layers of a block are stored, by `quantization_config`.
pub(super) fn coding(json: &Value) -> Result<WeightCoding, ModelError> {
    let Some(quantization) = json.get("quantization_config").filter(|value| !value.is_null()) else {
        return Ok(WeightCoding::Plain);
    };
    let text = |name: &str| quantization.get(name).and_then(Value::as_str);
    let unsupported = |name: &str| ModelError::Unsupported {
        key: format!("quantization_config.{name}"),
        found: quantization.get(name).map_or_else(|| "nothing".into(), shown),
    };
    match text("quant_method") {
        Some("bitnet") => {}
        // Whoever provides the tensors knows how they are packed, or has refused them.
        Some(_) => return Ok(WeightCoding::Plain),
        None => return Err(unsupported("quant_method")),
    }
    if quantization.get("use_rms_norm").is_some_and(|value| !is_neutral(value)) {
        return Err(unsupported("use_rms_norm"));
    }
    let exceptions = quantization.get("modules_to_not_convert").filter(|value| !value.is_null());
    let only_head = |list: &Value| {
        list.as_array().is_some_and(|list| list.iter().all(|name| name.as_str() == Some("lm_head")))
    };
    if exceptions.is_some_and(|list| !only_head(list)) {
        return Err(unsupported("modules_to_not_convert"));
    }
    match (text("linear_class").unwrap_or("bitlinear"), text("quantization_mode").unwrap_or("offline")) {
        ("bitlinear", "offline") => Ok(WeightCoding::TernaryPacked(PackedScale::Divides)),
        ("autobitlinear", "offline") => Ok(WeightCoding::TernaryPacked(PackedScale::Multiplies)),
        ("autobitlinear", "online") => Ok(WeightCoding::TernaryMaster),
        ("bitlinear" | "autobitlinear", _) => Err(unsupported("quantization_mode")),
        _ => Err(unsupported("linear_class")),
    }
}

fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(_) => false,
    }
}

/// A value for a message.
pub(super) fn shown(value: &Value) -> String {
    short(&value.to_string())
}

/// At most some sixty characters of a text from a file.
fn short(text: &str) -> String {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
