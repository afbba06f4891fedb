//! Hyper-parameters as a `config.json`: the reader's way back.
//!
//! What was written is read again and must give the same spec, so that a hyper-parameter which the configuration of the
//! architecture has no word for is refused and never lost.

use crate::{
    Architecture, Config, Ffn, Head, ModelError, ModelSpec, Presence, RopeScaling, RopeSpec, Weights, build,
    in_block,
    spec::{Biases, ExpertWeights},
};
use lowbit_kernels::ops::{Activation, RopePairs};
use serde_json::{Value, json};

/// A model as a Hugging Face folder has it.
pub struct HuggingFace {
    /// Its architecture in the checkpoint.
    pub source: &'static Architecture,
    /// Its architecture in the folder: GGUF files call Mistral and Mixtral `llama`.
    pub architecture: &'static Architecture,
    /// Its hyper-parameters, all that GGUF files leave to their tensors filled in.
    pub spec: ModelSpec,
    /// Its `config.json`, but for tokens and the type of its floats.
    pub config: Value,
}

/// The `config.json` of a model whose checkpoint is not a Hugging Face folder.
///
/// # Errors
/// For architectures that the reference implementation has not or computes otherwise, and for hyper-parameters that its
/// configuration cannot say.
pub fn hugging_face(spec: &ModelSpec, weights: &dyn Weights) -> Result<HuggingFace, ModelError> {
    let source = Architecture::named(spec.architecture)?;
    let spec = resolved(spec, source, weights)?;
    let architecture = target(&spec)?;
    let (Some(class), Some(model_type), Some(extra)) =
        (architecture.hugging_face.first(), architecture.hugging_face.get(1), architecture.config)
    else {
        return Err(ModelError::Unsupported {
            key: "general.architecture".into(),
            found: format!(
                "{}: the reference implementation does not compute what its GGUF files mean, so that it",
                spec.architecture
            ),
        });
    };
    let mut expected = ModelSpec {
        architecture: architecture.name,
        rope_pairs: RopePairs::Halves,
        gain_offset: 0.0,
        ..spec.clone()
    };
    let mut config = json!({ "architectures": [class], "model_type": model_type });
    merge(&mut config, common(&expected));
    merge(&mut config, extra(&expected));
    let found = (architecture.spec)(&Config::hugging_face(&config)?)?;
    expected.gain_offset = found.gain_offset;
    match difference(&expected, &found) {
        None => Ok(HuggingFace { source, architecture, spec: expected, config }),
        Some((expected, found)) => Err(ModelError::Unsupported {
            key: expected,
            found: format!("a hyper-parameter that its config.json would say as `{found}`, which"),
        }),
    }
}

/// What the checkpoint's tensors say and its configuration does not.
fn resolved(
    spec: &ModelSpec,
    architecture: &Architecture,
    weights: &dyn Weights,
) -> Result<ModelSpec, ModelError> {
    let names = architecture.names(weights.scheme());
    let mut spec = spec.clone();
    let divisors = build::ropes(&mut spec, weights, names)?;
    for (rope, divisors) in spec.ropes.iter_mut().zip(divisors) {
        if let Some(divisors) = divisors {
            rope.scaling = llama3(rope, &divisors)?;
        }
    }
    if spec.head == Head::OwnIfStored {
        let own = weights.has(&format!("{}.weight", names.head));
        spec.head = if own { Head::Own } else { Head::Tied };
    }
    let presence = |presence: Presence, name: &str| match presence {
        Presence::IfStored if weights.has(&format!("{}.bias", in_block(name, 0))) => Presence::Always,
        Presence::IfStored => Presence::Never,
        other => other,
    };
    spec.biases = Biases {
        qkv: presence(spec.biases.qkv, names.query),
        output: presence(spec.biases.output, names.output),
        ffn: presence(spec.biases.ffn, names.gate),
    };
    Ok(spec)
}

/// The scaling of Llama 3.1 or 3.2 that gives these divisors: GGUF files keep them and not the numbers they come from.
fn llama3(rope: &RopeSpec, divisors: &[f32]) -> Result<RopeScaling, ModelError> {
    let plain = |i: usize| rope.base.powf(-2.0 * i as f64 / rope.dims as f64);
    for factor in [8.0, 32.0] {
        let (low, high, trained) = (1.0, 4.0, 8192);
        let divisor = |i: usize| {
            let turns = trained as f64 * plain(i) / std::f64::consts::TAU;
            let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / (keep + (1.0 - keep) / factor)
        };
        // They were computed in single precision.
        let near = |(i, d): (usize, &f32)| (f64::from(*d) - divisor(i)).abs() < 1e-4 * divisor(i);
        if rope.scaling == RopeScaling::None && divisors.iter().enumerate().all(near) {
            return Ok(RopeScaling::Llama3 { factor, low, high, trained });
        }
    }
    if divisors.iter().all(|d| *d == 1.0) {
        return Ok(rope.scaling.clone());
    }
    let found =
        "divisors of rotary frequencies that are neither those of Llama 3.1 nor of 3.2: a config.json";
    Err(ModelError::Unsupported { key: "rope_freqs.weight".into(), found: found.into() })
}

/// The architecture by its own name.
fn target(spec: &ModelSpec) -> Result<&'static Architecture, ModelError> {
    Architecture::named(match spec.architecture {
        "llama" if experts(spec).is_some() => "mixtral",
        "llama" if window(spec).is_some() => "mistral",
        own => own,
    })
}

/// What every configuration says.
fn common(spec: &ModelSpec) -> Value {
    let inner = spec.blocks.iter().map(|block| match block.ffn {
        Ffn::Dense { inner } | Ffn::Experts { inner, .. } => inner,
    });
    let mut config = json!({
        "vocab_size": spec.vocab,
        "hidden_size": spec.hidden,
        "intermediate_size": inner.max(),
        "num_hidden_layers": spec.blocks.len(),
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "max_position_embeddings": spec.context,
        "rms_norm_eps": decimal(spec.norm_eps),
        "tie_word_embeddings": spec.head == Head::Tied,
        "hidden_act": match spec.activation {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
            Activation::SquaredRelu => "relu2",
        },
    });
    if let Some(rope) = spec.ropes.first() {
        config["rope_theta"] = json!(rope.base);
        config["rope_scaling"] = scaling(&rope.scaling, spec.context);
    }
    config
}

fn scaling(scaling: &RopeScaling, context: usize) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor, trained } => json!({
            "rope_type": "dynamic",
            "factor": factor,
            "original_max_position_embeddings": trained,
        }),
        RopeScaling::Llama3 { factor, low, high, trained } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": trained,
        }),
        RopeScaling::Yarn { factor, trained, beta_fast, beta_slow, truncate, attention_factor } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": trained,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "truncate": truncate,
            "attention_factor": attention_factor,
        }),
        RopeScaling::LongRope { short, long, trained, attention_factor } => json!({
            "rope_type": "longrope",
            "short_factor": decimals(short),
            "long_factor": decimals(long),
            "factor": context as f64 / *trained as f64,
            "original_max_position_embeddings": trained,
            "attention_factor": attention_factor,
        }),
    }
}

/// `attention_bias` and `mlp_bias`.
pub(crate) fn biases(spec: &ModelSpec) -> Value {
    let has = |presence: Presence| presence == Presence::Always;
    json!({ "attention_bias": has(spec.biases.qkv), "mlp_bias": has(spec.biases.ffn) })
}

/// The window of the blocks that have one.
pub(crate) fn window(spec: &ModelSpec) -> Option<usize> {
    spec.blocks.iter().find_map(|block| block.window)
}

/// `layer_types`.
pub(crate) fn layer_types(spec: &ModelSpec) -> Value {
    let kind = |window: Option<usize>| if window.is_some() { "sliding_attention" } else { "full_attention" };
    spec.blocks.iter().map(|block| Value::from(kind(block.window))).collect()
}

/// How many experts there are, how many a token uses, the width of each and their weights.
pub(crate) fn experts(spec: &ModelSpec) -> Option<(usize, usize, usize, ExpertWeights)> {
    spec.blocks.iter().find_map(|block| match block.ffn {
        Ffn::Experts { count, used, inner, weights } => Some((count, used, inner, weights)),
        Ffn::Dense { .. } => None,
    })
}

/// The number whose inverse square root this is, an integer where one is near enough.
pub(crate) fn inverse_square(x: f32) -> Value {
    let number = 1.0 / (f64::from(x) * f64::from(x));
    let whole = number.round();
    if whole.powf(-0.5) as f32 == x { json!(whole as u64) } else { json!(number) }
}

/// A single-precision number with no more digits than it has.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

fn decimals(list: &[f32]) -> Vec<f64> {
    list.iter().copied().map(decimal).collect()
}

fn merge(config: &mut Value, more: Value) {
    if let (Value::Object(config), Value::Object(more)) = (config, more) {
        config.extend(more);
    }
}

/// The first line of two specs that is not the same.
fn difference(expected: &ModelSpec, found: &ModelSpec) -> Option<(String, String)> {
    if expected == found {
        return None;
    }
    let (expected, found) = (format!("{expected:#?}"), format!("{found:#?}"));
    let mut lines = expected.lines().zip(found.lines()).filter(|(a, b)| a != b);
    let line = |text: &str| text.trim().trim_end_matches(',').to_owned();
    lines.next().map(|(a, b)| (line(a), line(b))).or(Some((expected.clone(), found.clone())))
}
