//! Configurations that must be refused, and how the refusal reads.

use super::tiny::{Tiny, spec};
use lowbit_kernels::ActPrecision;
use lowbit_model::Decoder;
use lowbit_testing::{StoredType, golden_case};
use serde_json::{Value, json};

/// `change` laid over the configuration of a golden case; `null` leaves the key there, with that value.
fn changed(case: &str, change: &Value) -> Value {
    let mut config = golden_case(case).config;
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

#[test]
fn values_out_of_range_and_options_not_known_are_refused_by_name() {
    let cases: &[(&str, Value, &str)] = &[
        (
            "llama-gqa",
            json!({"num_hidden_layers": 0}),
            "`num_hidden_layers` is 0, expected an integer from 1 to 1024",
        ),
        ("llama-gqa", json!({"num_hidden_layers": 5000}), "`num_hidden_layers` is 5000"),
        ("llama-gqa", json!({"num_hidden_layers": -1}), "`num_hidden_layers` is -1"),
        ("llama-gqa", json!({"num_hidden_layers": 2.5}), "`num_hidden_layers` is 2.5"),
        ("llama-gqa", json!({"num_hidden_layers": "3"}), "`num_hidden_layers` is \"3\", expected a number"),
        ("llama-gqa", json!({"num_hidden_layers": null}), "`num_hidden_layers` is missing"),
        ("llama-gqa", json!({"hidden_size": 0}), "`hidden_size` is 0"),
        (
            "llama-gqa",
            json!({"hidden_size": 18446744073709551615u64}),
            "`hidden_size` is 18446744073709551615",
        ),
        (
            "llama-gqa",
            json!({"num_attention_heads": 7}),
            "`num_key_value_heads` is 2, expected a divisor of the 7",
        ),
        (
            "llama-gqa",
            json!({"num_attention_heads": 10}),
            "`num_attention_heads` is 10, expected a divisor of",
        ),
        ("llama-gqa", json!({"num_attention_heads": 0}), "`num_attention_heads` is 0"),
        ("llama-gqa", json!({"num_key_value_heads": 12}), "`num_key_value_heads` is 12"),
        ("llama-gqa", json!({"head_dim": 1}), "`head_dim` is 1"),
        ("llama-gqa", json!({"head_dim": 100000}), "`head_dim` is 100000"),
        ("llama-gqa", json!({"head_dim": 7}), "even number of the 7 elements"),
        ("llama-gqa", json!({"vocab_size": 0}), "`vocab_size` is 0"),
        ("llama-gqa", json!({"vocab_size": 4000000000u64}), "`vocab_size` is 4000000000"),
        ("llama-gqa", json!({"intermediate_size": 0}), "`intermediate_size` is 0"),
        ("llama-gqa", json!({"rms_norm_eps": -1.0}), "`rms_norm_eps` is -1"),
        ("llama-gqa", json!({"rope_theta": 0.0}), "`rope_theta` is 0"),
        ("llama-gqa", json!({"max_position_embeddings": 0}), "`max_position_embeddings` is 0"),
        ("llama-gqa", json!({"hidden_act": "gelu_quick"}), "`hidden_act` = gelu_quick is not supported"),
        ("llama-gqa", json!({"clip_qkv": 8.0}), "`clip_qkv` = 8.0 is not supported"),
        ("llama-gqa", json!({"attention_multiplier": 0.5}), "`attention_multiplier`"),
        ("llama-gqa", json!({"residual_multiplier": 0.22}), "`residual_multiplier` = 0.22 is not supported"),
        ("llama-gqa", json!({"use_bidirectional_attention": true}), "`use_bidirectional_attention`"),
        (
            "llama-gqa",
            json!({"tie_word_embeddings": 1}),
            "`tie_word_embeddings` is 1, expected true or false",
        ),
        ("llama-gqa", json!({"rope_scaling": "linear"}), "`rope_scaling` is \"linear\", expected an object"),
        ("llama-gqa", json!({"rope_scaling": {"type": "mrope"}}), "`rope_scaling.rope_type` = mrope"),
        ("llama-gqa", json!({"rope_scaling": {"type": "linear"}}), "`rope_scaling.factor` is missing"),
        ("llama-gqa", json!({"rope_scaling": {"type": "linear", "factor": 0}}), "`rope_scaling.factor` is 0"),
        ("llama-gqa", json!({"rope_scaling": {"type": 3}}), "`rope_scaling.type` is 3, expected a text"),
        (
            "llama-rope-llama3",
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}}),
            "`rope_scaling.low_freq_factor` is 4, expected less than 1",
        ),
        ("llama-gqa", json!({"quantization_config": {"bits": 4}}), "`quantization_config.quant_method`"),
        (
            "bitnet-online",
            json!({"quantization_config": {"quant_method": "bitnet", "linear_class": "other"}}),
            "`quantization_config.linear_class` = \"other\"",
        ),
        (
            "bitnet-online",
            json!({"quantization_config": {"quant_method": "bitnet", "use_rms_norm": true}}),
            "`quantization_config.use_rms_norm` = true",
        ),
        ("mistral-window", json!({"sliding_window": 0}), "`sliding_window` is 0"),
        ("mistral-window", json!({"attention_bias": true}), "`attention_bias` = true is not supported"),
        ("mistral-window", json!({"layer_types": ["full_attention"]}), "`layer_types` is 1 entries"),
        (
            "mistral-window",
            json!({"layer_types": ["full_attention", "chunked_attention"]}),
            "`layer_types` = chunked_attention is not supported",
        ),
        ("phi3-longrope-short", json!({"partial_rotary_factor": 0.01}), "`partial_rotary_factor`"),
        ("phi3-longrope-short", json!({"partial_rotary_factor": 1.5}), "`partial_rotary_factor` is 1.5"),
        (
            "phi3-longrope-short",
            json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
            "`rope_scaling.short_factor` is a list of 1, expected a list of 6 numbers",
        ),
        (
            "phi3-longrope-short",
            json!({"rope_scaling": {"type": "longrope", "short_factor": [0, 1, 1, 1, 1, 1], "long_factor": []}}),
            "`rope_scaling.short_factor` is 0",
        ),
        ("mixtral", json!({"num_local_experts": 100000}), "`num_local_experts` is 100000"),
        (
            "mixtral",
            json!({"num_experts_per_tok": 5}),
            "`num_experts_per_tok` is 5, expected an integer from 1 to 4",
        ),
        ("mixtral", json!({"num_experts_per_tok": 0}), "`num_experts_per_tok` is 0"),
        ("qwen3-moe", json!({"moe_intermediate_size": null}), "`moe_intermediate_size` is missing"),
        ("qwen3-moe", json!({"decoder_sparse_step": 0}), "`decoder_sparse_step` is 0"),
        ("gemma2", json!({"query_pre_attn_scalar": 0}), "`query_pre_attn_scalar` is 0"),
        ("gemma2", json!({"attn_logit_softcapping": 0}), "`attn_logit_softcapping` is 0"),
        (
            "smollm3",
            json!({"no_rope_layers": [1]}),
            "`no_rope_layers` is 1 entries, expected one for each of the 4",
        ),
        ("smollm3", json!({"no_rope_layers": [1, "x", 1, 1]}), "expected a list of integers"),
        ("bitnet-1bitllm", json!({"weight_bits": 2}), "`weight_bits` is 2"),
        ("bitnet-1bitllm", json!({"input_bits": 4}), "`input_bits` is 4"),
        ("llama-gqa", json!({"architectures": ["LlamaForCausalML"]}), "did you mean `LlamaForCausalLM`?"),
        ("llama-gqa", json!({"architectures": [], "model_type": null}), "`architectures` is missing"),
    ];
    let mut failures = Vec::new();
    for (case, change, expected) in cases {
        match spec(&changed(case, change)) {
            Ok(_) => failures.push(format!("{case} with {change} was accepted")),
            Err(error) if error.to_string().contains(expected) => {}
            Err(error) => failures.push(format!("{case} with {change}: {error}; expected {expected}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn neutral_values_of_options_that_are_not_supported_are_accepted() {
    for change in [
        json!({"clip_qkv": null, "attention_multiplier": null, "residual_multiplier": 1.0}),
        json!({"use_bidirectional_attention": false, "quantization_config": null}),
        json!({"rope_scaling": {"rope_type": "default"}, "partial_rotary_factor": 1.0}),
    ] {
        assert_eq!(
            spec(&changed("llama-gqa", &change)).unwrap(),
            spec(&golden_case("llama-gqa").config).unwrap()
        );
    }
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_refused_by_name() {
    let case = golden_case("llama-gqa");
    let build = |config: &Value, drop: &str, add: Option<&str>| {
        let mut weights = Tiny::new(&case);
        weights.0.remove(drop);
        if let Some(name) = add {
            let bytes = lowbit_format::Storage::from(1f32.to_le_bytes().repeat(48));
            weights.0.insert(name.into(), (StoredType::F32, vec![48], bytes));
        }
        Decoder::build(spec(config).unwrap(), &weights, ActPrecision::Float).err().unwrap().to_string()
    };
    let with = |change: Value| changed("llama-gqa", &change);
    let bias = "model.layers.1.self_attn.q_proj.bias";
    let norm = "model.layers.2.input_layernorm.weight";
    let failures: Vec<_> = [
        (
            with(json!({"vocab_size": 102})),
            "",
            None,
            "`model.embed_tokens.weight` is [101, 48], the configuration asks for [102, 48]",
        ),
        (
            with(json!({"intermediate_size": 90})),
            "",
            None,
            "`model.layers.0.mlp.gate_proj.weight` is [88, 48]",
        ),
        (
            with(json!({"num_hidden_layers": 4})),
            "",
            None,
            "`model.layers.3.self_attn.q_proj.weight` is missing",
        ),
        (with(json!({"head_dim": 16})), "", None, "`model.layers.0.self_attn.q_proj.weight` is [48, 48]"),
        (
            with(json!({"attention_bias": true})),
            "",
            None,
            "`model.layers.0.self_attn.q_proj.bias` is missing",
        ),
        (with(json!({})), "", Some(bias), "`model.layers.1.self_attn.q_proj.bias` is in the checkpoint, but"),
        (with(json!({})), norm, None, "`model.layers.2.input_layernorm.weight` is missing"),
    ]
    .into_iter()
    .filter_map(|(config, drop, add, expected)| {
        let found = build(&config, drop, add);
        (!found.contains(expected)).then(|| format!("{found}; expected {expected}"))
    })
    .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn packed_ternary_weights_with_a_code_or_scale_that_has_no_meaning_are_refused() {
    let case = golden_case("bitnet-packed");
    let name = "model.layers.0.mlp.up_proj.weight";
    let build = |weights| Decoder::build(spec(&case.config).unwrap(), &weights, ActPrecision::Float);
    let mut weights = Tiny::new(&case);
    let (kind, shape, bytes) = weights.0[name].clone();
    let mut bad = bytes.bytes().to_vec();
    bad[5] |= 0b1100;
    weights.0.insert(name.into(), (kind, shape, bad.into()));
    let error = build(weights).err().unwrap().to_string();
    assert!(error.contains("`model.layers.0.mlp.up_proj.weight` holds code 3 in row"), "{error}");
    let mut weights = Tiny::new(&case);
    let zero = lowbit_format::Storage::from(vec![0; 4]);
    weights.0.insert(format!("{name}_scale"), (StoredType::F32, vec![1], zero));
    let error = build(weights).err().unwrap().to_string();
    assert!(error.contains("_scale` holds 0, expected a positive scale"), "{error}");
}
