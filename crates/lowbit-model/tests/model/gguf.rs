//! The golden models as GGUF converters write them: other keys, other names, rows of query and key reordered, gains with
//! one added, experts stacked. The logits must not change.

use super::tiny::Tiny;
use lowbit_format::{FloatFormat, NK, QuantTensor, Storage};
use lowbit_kernels::{ActPrecision, Ctx, Isa};
use lowbit_model::{
    Architecture, Config, Decoder, GgufMeta, KvElement, Logits, Naming, PackedBytes, WeightError, Weights,
    hugging_face,
};
use lowbit_testing::{GoldenCase, golden_case, max_relative_error};
use serde_json::Value;
use std::collections::HashMap;

/// Metadata by key.
struct Meta(HashMap<String, Value>);

impl GgufMeta for Meta {
    fn text(&self, key: &str) -> Result<Option<String>, WeightError> {
        self.typed(key, |value| value.as_str().map(str::to_owned))
    }
    fn unsigned(&self, key: &str) -> Result<Option<u64>, WeightError> {
        self.typed(key, Value::as_u64)
    }
    fn float(&self, key: &str) -> Result<Option<f64>, WeightError> {
        self.typed(key, |value| value.as_f64().filter(|_| value.is_f64()))
    }
    fn flag(&self, key: &str) -> Result<Option<bool>, WeightError> {
        self.typed(key, Value::as_bool)
    }
    fn unsigneds(&self, key: &str) -> Result<Option<Vec<u64>>, WeightError> {
        self.typed(key, |value| value.as_array()?.iter().map(Value::as_u64).collect())
    }
    fn array_len(&self, key: &str) -> Result<Option<usize>, WeightError> {
        Ok(self.0.get(key).and_then(Value::as_array).map(Vec::len))
    }
}

impl Meta {
    fn typed<T>(&self, key: &str, get: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, WeightError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(value) => get(value).map(Some).ok_or_else(|| format!("{key} is of another type").into()),
        }
    }
}

/// Tensors by GGUF name, as rows of f32.
struct Tensors(HashMap<String, (NK, Vec<f32>)>);

impl Weights for Tensors {
    fn scheme(&self) -> Naming {
        Naming::Gguf
    }
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    fn matrix(&self, name: &str) -> Result<QuantTensor, WeightError> {
        let (shape, values) = &self.0[name];
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Ok(QuantTensor::from_floats(FloatFormat::F32, *shape, Storage::from(bytes))?)
    }
    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        Ok(self.0[name].1.clone())
    }
    fn packed(&self, _: &str) -> Result<PackedBytes, WeightError> {
        Err("GGUF files have no bytes without a type".into())
    }
}

/// Hugging Face key, GGUF key.
const KEYS: &[(&str, &str)] = &[
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("max_position_embeddings", "context_length"),
    ("intermediate_size", "feed_forward_length"),
    ("rope_theta", "rope.freq_base"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("num_local_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("sliding_window_pattern", "attention.sliding_window_pattern"),
    ("rope_local_base_freq", "rope.freq_base_swa"),
];

/// Last parts of names, Hugging Face and GGUF; the first four architectures share all but the norms.
const NAMES: &[(&str, &str)] = &[
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

fn gguf_name(name: &str, architecture: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let (block, rest) = name.strip_prefix("model.layers.").unwrap().split_once('.').unwrap();
    let (part, ending) = rest.rsplit_once('.').unwrap();
    let part = match (part, architecture) {
        ("post_attention_layernorm", "gemma2" | "gemma3" | "olmo2") => "post_attention_norm",
        ("post_attention_layernorm", _) => "ffn_norm",
        _ => NAMES.iter().find(|(hf, _)| *hf == part).unwrap_or_else(|| panic!("{name}")).1,
    };
    format!("blk.{block}.{part}.{ending}")
}

/// A case as a GGUF file of `architecture`. Rows of query and key are reordered for adjacent pairs where `reorder`.
fn convert(case: &GoldenCase, architecture: &str, reorder: bool) -> (Meta, Tensors) {
    let config = &case.config;
    let mut meta = HashMap::from([
        ("general.architecture".to_owned(), Value::from(architecture)),
        (
            "tokenizer.ggml.tokens".to_owned(),
            vec!["x"; config["vocab_size"].as_u64().unwrap() as usize].into(),
        ),
    ]);
    let mut set = |key: &str, value: Value| meta.insert(format!("{architecture}.{key}"), value);
    for (hf, gguf) in KEYS {
        if let Some(value) = config.get(hf).filter(|value| !value.is_null()) {
            set(gguf, value.clone());
        }
    }
    if !matches!(config.get("use_sliding_window"), Some(Value::Bool(false)))
        && let Some(window) = config.get("sliding_window").filter(|window| !window.is_null())
    {
        set("attention.sliding_window", window.clone());
    }
    if let Some(factor) = config["rope_scaling"].get("factor")
        && config["rope_scaling"].to_string().contains("linear")
    {
        set("rope.scaling.type", "linear".into());
        set("rope.scaling.factor", factor.clone());
    }

    let source = Tiny::new(case);
    let heads = |key: &str| config[key].as_u64().unwrap() as usize;
    let mut tensors = HashMap::new();
    let mut experts: HashMap<String, Vec<(usize, NK, Vec<f32>)>> = HashMap::new();
    for declared in &case.tensors {
        let name = &declared.name;
        let shape = source.matrix(name).unwrap().shape();
        let mut values = source.vector(name).unwrap();
        if let Some((front, back)) = name.split_once(".experts.") {
            let (number, which) = back.split_once('.').unwrap();
            let which = match which {
                "w1.weight" => "ffn_gate_exps",
                "w2.weight" => "ffn_down_exps",
                "w3.weight" => "ffn_up_exps",
                other => panic!("{other}"),
            };
            let block = front.split('.').nth(2).unwrap();
            let stack = experts.entry(format!("blk.{block}.{which}.weight")).or_default();
            stack.push((number.parse().unwrap(), shape, values));
            continue;
        }
        if architecture.starts_with("gemma") && name.contains("norm") {
            values.iter_mut().for_each(|gain| *gain += 1.0);
        }
        let count = match name.rsplit('.').nth(1).unwrap() {
            "q_proj" => heads("num_attention_heads"),
            "k_proj" => heads("num_key_value_heads"),
            _ => 0,
        };
        if reorder && count > 0 {
            // Row i of a head's first half and row i of its second become rows 2i and 2i + 1.
            let bias = name.ends_with("bias");
            let (rows, width) = if bias { (shape.k, 1) } else { (shape.n, shape.k) };
            let dim = rows / count;
            let from = |row: usize| {
                let (head, at) = (row / dim, row % dim);
                head * dim + at / 2 + at % 2 * (dim / 2)
            };
            values = (0..rows).flat_map(|row| values[from(row) * width..][..width].to_vec()).collect();
        }
        tensors.insert(gguf_name(name, architecture), (shape, values));
    }
    for (name, mut stack) in experts {
        stack.sort_by_key(|(number, ..)| *number);
        let NK { n, k } = stack[0].1;
        let shape = NK { n: n * stack.len(), k };
        tensors.insert(name, (shape, stack.into_iter().flat_map(|(_, _, values)| values).collect()));
    }
    (Meta(meta), Tensors(tensors))
}

/// Golden model, architecture of its GGUF file, and whether rows of query and key are reordered there.
const CASES: &[(&str, &str, bool)] = &[
    ("llama-gqa", "llama", true),
    ("llama-biases", "llama", true),
    ("llama-rope-linear", "llama", true),
    ("mistral-window", "llama", true),
    ("mixtral", "llama", true),
    ("qwen2", "qwen2", false),
    ("qwen3", "qwen3", false),
    ("gemma2", "gemma2", false),
    ("gemma3", "gemma3", false),
    ("phi3-window", "phi3", false),
    ("olmo2", "olmo2", false),
];

#[test]
fn a_model_in_gguf_naming_has_the_configuration_and_the_names_of_its_folder() {
    for (name, architecture, reorder) in CASES {
        let case = golden_case(name);
        let (meta, tensors) = convert(&case, architecture, *reorder);
        let config = Config::gguf(&meta).unwrap();
        let mut spec = (Architecture::of(&config).unwrap().spec)(&config).unwrap();
        let folder = super::tiny::spec(&case.config).unwrap();
        // GGUF files have no key for it.
        spec.attention_scale = folder.attention_scale;
        let made = hugging_face(&spec, &tensors).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(made.spec, folder, "{name}");
        assert_eq!(super::tiny::spec(&made.config).unwrap(), folder, "{name}");
        assert_eq!(made.config["architectures"], case.config["architectures"], "{name}");
        let (from, to) = (made.source.names(Naming::Gguf), made.architecture.names(Naming::HuggingFace));
        let mut found: Vec<String> = tensors.0.keys().map(|key| from.translate(key, to).unwrap()).collect();
        let mut listed: Vec<String> = case.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        for names in [&mut found, &mut listed] {
            for name in names.iter_mut() {
                if let Some((front, back)) = name.clone().split_once(".experts.") {
                    *name = format!("{front}.experts.{{expert}}.{}", back.split_once('.').unwrap().1);
                }
            }
            names.sort();
            names.dedup();
        }
        assert_eq!(found, listed, "{name}");
    }
}

#[test]
fn what_a_configuration_cannot_say_is_refused_by_name() {
    let case = golden_case("qwen2");
    let (meta, tensors) = convert(&case, "qwen2", false);
    let config = Config::gguf(&meta).unwrap();
    let mut spec = (Architecture::of(&config).unwrap().spec)(&config).unwrap();
    spec.attention_scale = 0.125;
    let error = hugging_face(&spec, &tensors).err().unwrap().to_string();
    assert!(error.contains("attention_scale: 0.125"), "{error}");
    spec.architecture = "bitnet";
    let error = hugging_face(&spec, &tensors).err().unwrap().to_string();
    assert!(error.contains("bitnet"), "{error}");
}

#[test]
fn models_in_gguf_naming_give_the_logits_of_their_folders() {
    let ctx = Ctx::new(Isa::detect(), 2);
    let mut failures = Vec::new();
    for (name, architecture, reorder) in CASES {
        let case = golden_case(name);
        let (meta, tensors) = convert(&case, architecture, *reorder);
        let config = Config::gguf(&meta).unwrap();
        let mut spec = (Architecture::of(&config).unwrap().spec)(&config).unwrap();
        if architecture.starts_with("gemma") {
            // GGUF files have no key for it; the published sizes scale by the head size.
            spec.attention_scale = (case.config["query_pre_attn_scalar"].as_f64().unwrap() as f32).powf(-0.5);
        }
        let decoder = Decoder::build(spec, &tensors, ActPrecision::Float).unwrap();
        let mut cache = decoder.cache(case.tokens.len(), KvElement::F32).unwrap();
        let mut out = Vec::new();
        decoder.forward(&ctx, &case.tokens, &mut cache, Logits::All, &mut out).unwrap();
        for (at, want) in case.positions.iter().zip(&case.logits) {
            let error = max_relative_error(&out[at * want.len()..][..want.len()], want);
            if error.is_nan() || error > 1e-4 {
                failures.push(format!("{name} as {architecture}, position {at}: {error:.1e}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn metadata_of_the_wrong_type_or_out_of_range_is_refused_with_its_full_key() {
    let case = golden_case("llama-gqa");
    let mut failures = Vec::new();
    for (key, value, expected) in [
        ("llama.block_count", Value::from("3"), "cannot read `llama.block_count`"),
        ("llama.block_count", Value::from(0), "`llama.block_count` is 0, expected an integer from 1 to 1024"),
        ("llama.attention.head_count", Value::from(0), "`llama.attention.head_count` is 0"),
        (
            "llama.attention.head_count_kv",
            Value::from(4),
            "`llama.attention.head_count_kv` is 4, expected a divisor",
        ),
        (
            "llama.attention.head_count_kv",
            Value::from(vec![2, 2, 6]),
            "`llama.attention.head_count_kv` = a list of values that differ from layer to layer",
        ),
        ("llama.attention.value_length", Value::from(16), "`llama.attention.value_length` is 16"),
        (
            "llama.rope.dimension_count",
            Value::from(3),
            "`llama.rope.dimension_count` is 3, expected an even number",
        ),
        ("llama.rope.dimension_count", Value::from(64), "`llama.rope.dimension_count` is 64"),
        ("llama.rope.freq_base", Value::from(f64::MAX), "`llama.rope.freq_base` is"),
        (
            "llama.rope.scaling.type",
            Value::from("mrope"),
            "`llama.rope.scaling.type` = mrope is not supported",
        ),
        ("llama.expert_count", Value::from(1_000_000), "`llama.expert_count` is 1000000"),
        ("llama.attention.clamp_kqv", Value::from(8.0), "`llama.attention.clamp_kqv` = 8 is not supported"),
        ("general.architecture", Value::from("lama"), "unknown architecture `lama`, did you mean `llama`?"),
    ] {
        let (mut meta, _) = convert(&case, "llama", true);
        meta.0.insert(key.into(), value.clone());
        let read = || {
            let config = Config::gguf(&meta)?;
            (Architecture::of(&config)?.spec)(&config)
        };
        match read() {
            Ok(_) => failures.push(format!("{key} = {value} was accepted")),
            Err(error) if error.to_string().contains(expected) => {}
            Err(error) => failures.push(format!("{key} = {value}: {error}; expected {expected}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
