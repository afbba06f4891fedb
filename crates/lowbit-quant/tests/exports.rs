//! Folders of integers in the layouts of other libraries: what is written is read again, by the readers that are held
//! against these libraries, to the same weights.

use lowbit_format::{ActSpec, FloatFormat, GroupFit, GroupedTensor, NK, OnlineOp, QuantTensor, WeightSpec};
use lowbit_io::{Access, Checkpoint, container::ContainerWriter};
use lowbit_quant::convert::{Inexact, PackedOptions, Target, convert};
use lowbit_testing::seeded_values;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SHAPE: NK = NK { n: 64, k: 256 };
const EXACT: PackedOptions = PackedOptions { float: FloatFormat::F32, inexact: Inexact::Refuse };

/// Names of linear layers, as many as there may be.
const MODULES: [&str; 14] = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.self_attn.k_proj",
    "model.layers.0.self_attn.v_proj",
    "model.layers.0.self_attn.o_proj",
    "model.layers.0.mlp.gate_proj",
    "model.layers.0.mlp.up_proj",
    "model.layers.0.mlp.down_proj",
    "model.layers.1.self_attn.q_proj",
    "model.layers.1.self_attn.k_proj",
    "model.layers.1.self_attn.v_proj",
    "model.layers.1.self_attn.o_proj",
    "model.layers.1.mlp.gate_proj",
    "model.layers.1.mlp.up_proj",
    "model.layers.1.mlp.down_proj",
];

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "vocab_size": 64, "max_position_embeddings": 64, "hidden_act": "silu",
    })
}

/// A layer of a container.
struct Layer {
    tensor: QuantTensor,
    ops: Vec<OnlineOp>,
}

/// Weights in a format, rounded to nearest.
fn nearest(label: &str) -> Layer {
    let spec = WeightSpec::parse(label).unwrap();
    let weights = seeded_values(label, SHAPE.weights(), 0.3, 0.02);
    Layer { tensor: QuantTensor::quantize_nearest(&spec, &weights, SHAPE).unwrap(), ops: Vec::new() }
}

/// Weights in a format under a scale and a zero point that are the same for all groups.
fn with(label: &str, scale: f32, zero: f32) -> Layer {
    let WeightSpec::Grouped(spec) = WeightSpec::parse(label).unwrap() else {
        panic!("{label} has no groups")
    };
    let groups = SHAPE.n * spec.levels()[0].shape.per_row(SHAPE.k);
    let weights = seeded_values(label, SHAPE.weights(), 0.3, 0.0);
    let fits = vec![GroupFit { scale, zero }; groups];
    let tensor = GroupedTensor::quantize_with(&spec, &weights, SHAPE, &fits).unwrap();
    Layer { tensor: QuantTensor::from_grouped(tensor), ops: Vec::new() }
}

/// An order in which neighbours come from far apart.
fn shuffled() -> OnlineOp {
    OnlineOp::Permute((0..SHAPE.k as u32).map(|k| k * 37 % SHAPE.k as u32).collect())
}

/// A container with an embedding of floats, a norm, and these layers.
fn container(folder: &Path, layers: &[Layer], activations: Option<ActSpec>) -> PathBuf {
    let mut writer = ContainerWriter::new(&config().to_string()).unwrap();
    if let Some(spec) = activations {
        writer.activations(spec);
    }
    let floats = |name: &str, shape: NK| {
        let values = seeded_values(name, shape.weights(), 0.3, 0.0);
        let bytes = FloatFormat::F32.encode(&values);
        QuantTensor::from_floats(FloatFormat::F32, shape, bytes.into()).unwrap()
    };
    let embed = floats("embed", SHAPE);
    writer.tensor("model.embed_tokens.weight", &[SHAPE.n, SHAPE.k], &embed).unwrap();
    let norm = floats("norm", NK { n: 1, k: SHAPE.k });
    writer.tensor("model.norm.weight", &[SHAPE.k], &norm).unwrap();
    for (module, layer) in MODULES.iter().zip(layers) {
        let name = format!("{module}.weight");
        writer.tensor(&name, &[SHAPE.n, SHAPE.k], &layer.tensor).unwrap();
        writer.input(&name, &layer.ops).unwrap();
    }
    let path = folder.join("model.lowbit");
    writer.write(&path).unwrap();
    path
}

/// Weights for untouched activations, the sign of zero apart.
fn weights(checkpoint: &Checkpoint, name: &str) -> Vec<u32> {
    let (tensor, ops) = (checkpoint.tensor(name).unwrap(), checkpoint.input_ops(name).unwrap());
    let NK { n, k } = tensor.shape();
    let (mut row, mut scratch, mut all) = (vec![0.0; k], vec![0.0; k], Vec::new());
    for i in 0..n {
        tensor.decode_row(i, &mut row);
        ops.iter().rev().for_each(|op| op.apply_to_weight(&mut row, &mut scratch));
        all.extend(row.iter().map(|x| (x + 0.0).to_bits()));
    }
    all
}

/// Converts and reads again; the `quantization_config` and the labels of the layers.
fn exported(layers: &[Layer], activations: Option<ActSpec>, target: Target) -> (Value, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (container(folder.path(), layers, activations), folder.path().join("out"));
    let made = convert(&source, &out, target).unwrap();
    let open = |path: &Path| Checkpoint::open(path, Access::Read).unwrap();
    let (before, after) = (open(&source), open(&out));
    assert_eq!(before.tensors().len(), after.tensors().len());
    for tensor in &made.tensors {
        let name = &tensor.name;
        assert!(weights(&before, name) == weights(&after, name), "{name}: {} as {}", tensor.from, tensor.to);
    }
    let labels = MODULES.iter().take(layers.len()).map(|module| {
        let tensor = made.tensors.iter().find(|tensor| tensor.name == format!("{module}.weight")).unwrap();
        // Where the settings have another group size, the reader calls a row a group of its length.
        let read = after.format_label(after.info(&tensor.name).unwrap()).replace("-g256", "-row");
        if tensor.inexact.is_none() && activations.is_none() {
            assert_eq!(tensor.to, read);
        }
        read
    });
    let labels = labels.collect();
    let config: Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    (config["quantization_config"].clone(), labels)
}

/// The error of a conversion that must leave nothing.
fn refused(layer: Layer, target: Target) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (container(folder.path(), &[layer], None), folder.path().join("out"));
    let error = convert(&source, &out, target).unwrap_err().to_string();
    assert!(!out.exists(), "{error}");
    error
}

#[test]
fn gptq_holds_every_width_and_group_with_and_without_act_order() {
    for bits in [2, 3, 4, 8] {
        for zero in ["sym", "asym"] {
            for size in ["g16", "g32", "g128", "row"] {
                for scales in ["", "-f32"] {
                    let label = format!("int{bits}-{zero}-{size}{scales}");
                    for permuted in [false, true] {
                        let mut layer = nearest(&label);
                        layer.ops.extend(permuted.then(shuffled));
                        let (config, labels) = exported(&[layer], None, Target::Gptq(EXACT));
                        assert_eq!(labels, [format!("int{bits}-{zero}-{size}-f32")]);
                        assert_eq!(config["bits"], bits, "{label}");
                        assert_eq!(config["sym"], zero == "sym", "{label}");
                        assert_eq!(config["desc_act"], permuted && size != "row", "{label}");
                        assert!(config["dynamic"].is_null(), "{config}");
                    }
                }
            }
        }
    }
}

#[test]
fn compressed_tensors_holds_every_width_and_group() {
    for bits in 1..=8 {
        for zero in ["sym", "asym"] {
            for size in ["g4", "g16", "g32", "g128", "row"] {
                let label = format!("int{bits}-{zero}-{size}");
                let (config, labels) = exported(&[nearest(&label)], None, Target::CompressedTensors(EXACT));
                // A single bit around one half is two bits around the middle.
                let bits = if (bits, zero) == (1, "sym") { 2 } else { bits };
                assert_eq!(labels, [format!("int{bits}-{zero}-{size}-f32")]);
                let group = &config["config_groups"]["group_0"];
                assert_eq!(group["targets"], json!(["Linear"]));
                assert_eq!(group["weights"]["num_bits"], bits);
                assert_eq!(config["ignore"], json!(["lm_head"]));
            }
        }
    }
}

#[test]
fn scales_are_of_the_type_of_the_folder_where_it_holds_them() {
    for target in [Target::Gptq as fn(PackedOptions) -> Target, Target::CompressedTensors] {
        let half = |float| target(PackedOptions { float, ..EXACT });
        let (_, labels) = exported(&[with("int4-sym-g32-bf16", 0.25, 8.0)], None, half(FloatFormat::F32));
        assert_eq!(labels, ["int4-sym-g32-f32"]);
        let error = refused(nearest("int4-sym-g32"), half(FloatFormat::Bf16));
        let parts =
            [MODULES[0], "int4-sym-g32", "row 0, group 0: the scale", "is no number of bf16", "--lossy f32"];
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn ternary_codes_single_bits_and_blocks_are_integers_around_the_middle() {
    let formats = [
        ("ternary-g64", "int2-sym-g64-f32"),
        ("ternary-row", "int2-sym-row-f32"),
        ("ternary-tensor-f32", "int2-sym-row-f32"),
        ("int1-sym-g64", "int2-sym-g64-f32"),
        ("int4-asym-g32-int6-g128", "int4-asym-g32-f32"),
        ("q4_0", "int4-sym-g32-f32"),
        ("q8_0", "int8-sym-g32-f32"),
    ];
    let more = [("q5_0", "int5-sym-g32-f32"), ("q6_k", "int6-sym-g16-f32"), ("q3_k", "int3-sym-g16-f32")];
    let layers = |formats: &[(&str, &str)]| -> Vec<_> {
        formats.iter().filter_map(|(label, _)| blocks(label).or_else(|| Some(nearest(label)))).collect()
    };
    let check = |formats: &[(&str, &str)], target| {
        let (_, labels) = exported(&layers(formats), None, target);
        assert_eq!(labels, formats.iter().map(|(_, to)| *to).collect::<Vec<_>>());
    };
    check(&formats, Target::Gptq(EXACT));
    check(&formats.into_iter().chain(more).collect::<Vec<_>>(), Target::CompressedTensors(EXACT));
}

/// A tensor of blocks with any codes and small scales, of formats whose bytes all mean something.
fn blocks(label: &str) -> Option<Layer> {
    let WeightSpec::Block(format) = WeightSpec::parse(label).unwrap() else { return None };
    let layout = format.layout();
    let count = SHAPE.weights() / layout.weights;
    let random = seeded_values(label, count * layout.bytes, 127.0, 127.5);
    let mut bytes: Vec<u8> = random.iter().map(|x| *x as u8).collect();
    for block in bytes.chunks_exact_mut(layout.bytes) {
        format.scale_bits(0.01).into_iter().for_each(|bits| bits.put(block));
    }
    let tensor = QuantTensor::from_blocks(format, SHAPE, bytes.into()).unwrap();
    Some(Layer { tensor, ops: Vec::new() })
}

#[test]
fn zero_points_of_groups_need_the_second_version_of_gptq() {
    for (label, expected) in [("sym", "gptq"), ("asym", "gptq_v2")] {
        for bits in [2, 3, 4, 8] {
            let layer = with(&format!("int{bits}-{label}-g32"), 0.125, 0.0);
            let (config, _) = exported(&[layer], None, Target::Gptq(EXACT));
            assert_eq!(config["checkpoint_format"], expected, "{bits} bits");
            assert_eq!(config["quant_method"], "gptq");
        }
    }
}

#[test]
fn layers_with_other_settings_are_named() {
    let formats = ["int4-sym-g32", "int8-sym-g32", "int4-sym-g32", "int4-sym-row", "f32"];
    let layers = || formats.map(nearest);
    let (config, _) = exported(&layers(), None, Target::Gptq(EXACT));
    assert_eq!((&config["bits"], &config["group_size"]), (&json!(4), &json!(32)));
    let rule = |sign: char, i: usize| format!("{sign}:^{}$", MODULES[i].replace('.', "\\."));
    let expected = json!({
        rule('+', 1): { "bits": 8, "group_size": 32 },
        rule('+', 3): { "bits": 4, "group_size": -1 },
        rule('-', 4): {},
    });
    assert_eq!(config["dynamic"], expected);
    let (config, _) = exported(&layers(), None, Target::CompressedTensors(EXACT));
    assert_eq!(config["format"], "pack-quantized");
    let groups = config["config_groups"].as_object().unwrap();
    let targets: Vec<_> = groups.values().map(|group| group["targets"].clone()).collect();
    let expected = [json!([MODULES[0], MODULES[2]]), json!([MODULES[1]]), json!([MODULES[3]])];
    assert_eq!(targets, expected);
    assert_eq!(config["ignore"], json!([MODULES[4], "lm_head"]));
}

#[test]
fn prescribed_activations_are_said_to_compressed_tensors_and_refused_by_gptq() {
    for label in ["int8-sym-row", "int8-asym-g32", "int4-sym-g32"] {
        let target = Target::CompressedTensors(EXACT);
        let (config, _) = exported(&[nearest(label)], Some(ActSpec::Int8Token), target);
        assert_eq!(config["format"], "int-quantized");
        let group = &config["config_groups"]["group_0"];
        assert_eq!(group["weights"]["num_bits"], 8);
        let tokens =
            json!({ "num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true });
        assert_eq!(group["input_activations"], tokens);
    }
    let folder = tempfile::tempdir().unwrap();
    let source = container(folder.path(), &[nearest("int8-sym-row")], Some(ActSpec::Int8Token));
    for (target, next) in [
        (Target::Gptq(EXACT), "--to compressed-tensors"),
        (Target::HuggingFace(FloatFormat::F32), "--to compressed-tensors"),
    ] {
        let error = convert(&source, &folder.path().join("out"), target).unwrap_err().to_string();
        assert!(error.contains("activations of 8 bits") && error.contains(next), "{error}");
    }
}

#[test]
fn what_a_layout_has_no_place_for_is_refused_by_name_or_decoded_where_asked() {
    let with_op = |op: OnlineOp| Layer { ops: vec![op], ..nearest("int4-sym-g32") };
    let hadamard = || OnlineOp::Hadamard { block: 256, signs: vec![1; SHAPE.k] };
    let scale = || OnlineOp::Scale(vec![2.0; SHAPE.k]);
    let cases: [(Layer, Target, &str); 12] = [
        (nearest("int5-sym-g32"), Target::Gptq(EXACT), "codes of 5 bits, it has 2, 3, 4 and 8"),
        (nearest("int4-sym-g4"), Target::Gptq(EXACT), "groups of 4 weights"),
        (with_op(scale()), Target::Gptq(EXACT), "its input is scaled first"),
        (with_op(hadamard()), Target::Gptq(EXACT), "its input is rotated first"),
        (with_op(hadamard()), Target::CompressedTensors(EXACT), "its input is rotated first"),
        (with_op(shuffled()), Target::CompressedTensors(EXACT), "columns of a group are not neighbours"),
        (nearest("int4-fzero-g32"), Target::Gptq(EXACT), "its zero points are floats"),
        (nearest("int4-fzero-g32"), Target::CompressedTensors(EXACT), "its zero points are floats"),
        (nearest("nf4-g64"), Target::CompressedTensors(EXACT), "codes of nf4 stand for numbers"),
        (nearest("int4-sym-g48"), Target::CompressedTensors(EXACT), "no whole groups of 48"),
        (blocks("q4_1").unwrap(), Target::Gptq(EXACT), "no integers around zero"),
        (blocks("q4_k").unwrap(), Target::CompressedTensors(EXACT), "no integers around zero"),
    ];
    for (layer, target, why) in cases {
        let label = layer.tensor.spec().label();
        let error = refused(layer, target);
        for part in [MODULES[0], &label, why, "--lossy f32"] {
            assert!(error.contains(part), "{label}: {part}: {error}");
        }
    }
    let lossy = PackedOptions { inexact: Inexact::Decode(FloatFormat::F32), ..EXACT };
    for target in [Target::Gptq(lossy), Target::CompressedTensors(lossy)] {
        let layers = [nearest("int4-sym-g32"), with_op(scale()), nearest("int4-fzero-g32")];
        let (_, labels) = exported(&layers, None, target);
        assert_eq!(labels, ["int4-sym-g32-f32", "f32", "f32"]);
        let error = refused(nearest("int4-fzero-g32"), target);
        assert!(error.contains("no layer of integers") && error.contains("--to hf"), "{error}");
    }
}

#[test]
fn a_row_in_one_group_may_be_permuted_anywhere() {
    let layer = || Layer { ops: vec![shuffled(), shuffled()], ..nearest("int4-sym-row") };
    exported(&[layer()], None, Target::CompressedTensors(EXACT));
    let (config, _) = exported(&[layer()], None, Target::Gptq(EXACT));
    assert_eq!(config["desc_act"], false);
}
