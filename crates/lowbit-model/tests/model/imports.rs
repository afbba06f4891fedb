//! Folders that other quantizers wrote: their logits, and what of them is refused. `tests/imports` has the folders, with
//! the script that made them.

use super::tiny;
use lowbit_format::{OnlineOp, QuantTensor};
use lowbit_io::{
    Access, Checkpoint, Config,
    container::{Container, ContainerWriter},
};
use lowbit_kernels::{ActPrecision, Ctx, Isa};
use lowbit_model::{Decoder, KvElement, Logits, Naming, PackedBytes, WeightError, Weights};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder's tensors by name.
struct Folder(Checkpoint);

impl Weights for Folder {
    fn scheme(&self) -> Naming {
        Naming::HuggingFace
    }

    fn has(&self, name: &str) -> bool {
        self.0.info(name).is_some()
    }

    fn matrix(&self, name: &str) -> Result<QuantTensor, WeightError> {
        Ok(self.0.tensor(name)?)
    }

    fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, WeightError> {
        Ok(self.0.input_ops(name)?)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        Ok(self.0.vector(name)?)
    }

    fn packed(&self, name: &str) -> Result<PackedBytes, WeightError> {
        Err(format!("{name} is packed by no layout of these").into())
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports");
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut cases: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    cases
}

fn open(folder: &Path) -> (Folder, Decoder) {
    let checkpoint = Checkpoint::open(folder, Access::Map).unwrap_or_else(|e| panic!("{e}"));
    let Config::Json(config) = checkpoint.config() else { panic!("a folder has a config.json") };
    let spec = tiny::spec(config).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let weights = Folder(checkpoint);
    let decoder = Decoder::build(spec, &weights, ActPrecision::Float);
    let decoder = decoder.unwrap_or_else(|e| panic!("{}: {e:?}", folder.display()));
    (weights, decoder)
}

/// Kullback-Leibler divergence of two rows of logits.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let ln = |row: &[f64]| {
        let max = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
        row.iter().map(|x| x - max - sum.ln()).collect::<Vec<_>>()
    };
    let (p, q) = (ln(p), ln(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

#[test]
fn every_folder_of_another_quantizer_has_the_logits_of_its_library() {
    let mut failures = Vec::new();
    let all = cases();
    assert!(all.len() > 10, "{all:?}");
    for folder in all {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let (weights, decoder) = open(&folder);
        let expected: Value =
            serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let list = |key: &str| expected[key].as_array().unwrap().clone();
        let tokens: Vec<u32> = list("tokens").iter().map(|t| t.as_u64().unwrap() as u32).collect();
        let ctx = Ctx::new(Isa::detect(), 2);
        let mut cache = decoder.cache(tokens.len(), KvElement::F32).unwrap();
        let mut out = Vec::new();
        decoder.forward(&ctx, &tokens, &mut cache, Logits::All, &mut out).unwrap();
        let mut worst = 0f64;
        for (at, row) in list("positions").iter().zip(list("logits")) {
            let row: Vec<f64> = row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            let ours = &out[at.as_u64().unwrap() as usize * row.len()..][..row.len()];
            let ours: Vec<f64> = ours.iter().map(|x| f64::from(*x)).collect();
            worst = worst.max(divergence(&row, &ours));
        }
        let layer = "model.layers.0.mlp.up_proj.weight";
        let spec = weights.0.tensor(layer).unwrap().spec();
        println!("{name:26} {:24} {worst:.1e}", spec.label());
        // The same weights, so that nothing but rounding of sums and, where a library decodes to half precision, of
        // weights is between the two.
        if worst.is_nan() || worst > 1e-6 {
            failures.push(format!("{name}: {worst:.2e}"));
        }
        assert_eq!(weights.0.format_label(weights.0.info(layer).unwrap()), spec.label(), "{name}");
        let ordered = !weights.0.input_ops(layer).unwrap().is_empty();
        assert_eq!(ordered, name.contains("act-order"), "{name}");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// A case's folder with its configuration changed.
fn changed(case: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let from = cases().into_iter().find(|path| path.ends_with(case)).expect("a case of that name");
    let to = tempfile::tempdir().unwrap();
    fs::copy(from.join("model.safetensors"), to.path().join("model.safetensors")).unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
    change(&mut config["quantization_config"]);
    fs::write(to.path().join("config.json"), config.to_string()).unwrap();
    to
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let set = |key: &'static str, value: Value| move |config: &mut Value| config[key] = value.clone();
    let says = |case: &str, change: &dyn Fn(&mut Value), expected: &[&str]| {
        let folder = changed(case, change);
        let error = Checkpoint::open(folder.path(), Access::Map).map(|_| ()).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    says("gptq-4-sym", &set("quant_method", "vax".into()), &["quant_method", "vax", "gptq, awq"]);
    says("gptq-4-sym", &set("quant_method", 3.into()), &["quant_method", "a text"]);
    says("gptq-4-sym", &set("bits", 5.into()), &["quantization_config.bits", "5", "2, 3, 4 or 8"]);
    says("gptq-4-sym", &set("bits", 8.into()), &["qzeros", "8 bits", "quantization_config"]);
    says("gptq-4-sym", &set("group_size", 0.into()), &["group_size", "-1 or more than 0"]);
    says("gptq-4-sym", &set("checkpoint_format", "marlin".into()), &["checkpoint_format", "marlin"]);
    says("gptq-4-sym", &set("pack_dtype", "int16".into()), &["pack_dtype", "int16"]);
    says("gptq-4-sym", &set("quant_method", "awq".into()), &["scales", "expected"]);
    says("ct-pack-4-sym", &set("format", "marlin-24".into()), &["format", "marlin-24"]);
    says("ct-pack-4-sym", &set("transform_config", serde_json::json!({"R1": 1})), &["transform_config"]);
    says("ct-pack-4-sym", &set("config_groups", serde_json::json!({})), &["weight_packed", "codes of"]);
    says("bnb-nf4", &set("bnb_4bit_quant_type", "af4".into()), &["bnb_4bit_quant_type", "af4", "nf4, fp4"]);
    says(
        "bnb-nf4",
        &set("bnb_4bit_quant_storage", "bfloat16".into()),
        &["bnb_4bit_quant_storage", "bfloat16"],
    );
    says("fp8-block", &set("fmt", "e5m2".into()), &["quantization_config.fmt", "e5m2"]);
    says(
        "fp8-block",
        &set("weight_block_size", serde_json::json!([0, 64])),
        &["weight_block_size", "[0,64]"],
    );
    says(
        "fp8-block",
        &set("weight_block_size", serde_json::json!([128, 128])),
        &["weight_scale_inv", "scales of"],
    );
    let blocks = |config: &mut Value| {
        config["config_groups"]["group_0"]["weights"]["block_structure"] = "128x128".into();
    };
    says("ct-fp8-block", &blocks, &["group_0.weights.block_structure", "128x128"]);
    says("ct-mxfp4", &set("format", "mxfp6-quantized".into()), &["format", "mxfp6-quantized"]);
    // AutoRound has the two layouts under names of its own.
    for (case, packing) in [("gptq-4-sym", "auto_round:auto_gptq"), ("awq-4", "auto_round:auto_awq")] {
        let folder = changed(case, |config| {
            config["quant_method"] = "auto-round".into();
            config["packing_format"] = packing.into();
        });
        let spec = |path: &Path| {
            let checkpoint = Checkpoint::open(path, Access::Map).unwrap();
            checkpoint.tensor("model.layers.1.self_attn.q_proj.weight").unwrap().spec()
        };
        let library = cases().into_iter().find(|path| path.ends_with(case)).unwrap();
        assert_eq!(spec(folder.path()), spec(&library));
    }
    let unknown = |config: &mut Value| config["quant_method"] = "auto-round".into();
    says("gptq-4-sym", &unknown, &["packing_format", "nothing"]);
    // Layers may differ where the settings say so: bits are those of the shapes.
    let mixed = changed("gptq-4-sym", |config| {
        config["bits"] = 8.into();
        config["dynamic"] = serde_json::json!({"+:.*": {"bits": 4}});
    });
    assert!(Checkpoint::open(mixed.path(), Access::Map).is_ok());
}

/// What opening a case says once the bytes of one of its tensors are others.
fn refusal(case: &str, tensor: &str, change: impl Fn(&mut [u8])) -> String {
    let folder = changed(case, |_| {});
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let [start, end] = [0, 1].map(|i| data + header[tensor]["data_offsets"][i].as_u64().unwrap() as usize);
    change(&mut bytes[start..end]);
    fs::write(&path, bytes).unwrap();
    Checkpoint::open(folder.path(), Access::Map).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn groups_of_columns_that_are_none_are_refused() {
    let name = "model.layers.1.mlp.down_proj.g_idx";
    let first = |of: fn(i32) -> i32| {
        move |bytes: &mut [u8]| {
            let group = bytes.first_chunk_mut().unwrap();
            *group = of(i32::from_le_bytes(*group)).to_le_bytes();
        }
    };
    for (change, expected) in [
        (first(|_| 3), "group 3 of column 0, expected 0 to 2"),
        (first(|_| -1), "group -1 of column 0"),
        (first(|group| (group + 1) % 3), "columns of group"),
    ] {
        let error = refusal("gptq-4-asym-act-order", name, change);
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
}

#[test]
fn floats_whose_parts_do_not_fit_are_refused_by_name() {
    let layer = "model.layers.1.mlp.down_proj";
    let says = |case: &str, ending: &str, change: &dyn Fn(&mut [u8]), expected: &str| {
        let name = format!("{layer}.{ending}");
        let error = refusal(case, &name, change);
        assert!(error.contains(layer) && error.contains(expected), "{error}");
    };
    // Texts are replaced by others of the same length.
    let text = |from: &'static str, to: &'static str| {
        move |bytes: &mut [u8]| {
            let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("the text is there");
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    };
    let state = "weight.quant_state.bitsandbytes__nf4";
    let straddling = text("\"blocksize\": 32", "\"blocksize\": 36");
    says("bnb-nf4", state, &straddling, "found 36, expected a number that divides the 96 columns");
    says(
        "bnb-nf4",
        state,
        &text("\"blocksize\": 32", "\"blocksize\": 0 "),
        "found 0, expected a positive integer",
    );
    says("bnb-nf4", state, &text("[64, 96]", "[64, 32]"), "4-bit codes of");
    says("bnb-nf4", state, &text("[64, 96]", "[64]    "), "rows and columns");
    says("bnb-nf4", state, &text("{", "["), "a JSON object");
    says("bnb-nf4", "weight.quant_map", &|bytes| bytes[..4].fill(0), "the 16 numbers of nf4");
    says("bnb-nf4-double", state, &text("nested_offset", "nested_upset_"), "nested_offset");
    says(
        "bnb-nf4-double",
        state,
        &text("nested_blocksize\": 256", "nested_blocksize\": 128"),
        "nested_absmax",
    );
    says("ct-nvfp4", "weight_global_scale", &|bytes| bytes.fill(0), "found 0, expected a positive number");
}

/// Codes, scales and operations on inputs go into a container and come back.
#[test]
fn every_folder_has_the_same_weights_in_a_container() {
    for path in cases() {
        let folder = Checkpoint::open(&path, Access::Map).unwrap();
        let Config::Json(config) = folder.config() else { panic!("a folder has a config.json") };
        let mut writer = ContainerWriter::new(&config.to_string()).unwrap();
        for info in folder.tensors() {
            writer.tensor(&info.name, &info.dims, &folder.tensor(&info.name).unwrap()).unwrap();
            writer.input(&info.name, &folder.input_ops(&info.name).unwrap()).unwrap();
        }
        let container = Container::parse(writer.to_bytes().into()).unwrap();
        assert_eq!(container.tensors().len(), folder.tensors().len());
        for info in folder.tensors() {
            let (w, again) = (folder.tensor(&info.name).unwrap(), container.tensor(&info.name).unwrap());
            assert_eq!(again.spec(), w.spec(), "{} {}", path.display(), info.name);
            let decoded = |w: &QuantTensor| {
                let mut out = vec![0.0; w.shape().weights()];
                out.chunks_mut(w.shape().k).enumerate().for_each(|(n, row)| w.decode_row(n, row));
                out
            };
            assert!(decoded(&again) == decoded(&w), "{} {}", path.display(), info.name);
            let ops = folder.input_ops(&info.name).unwrap();
            assert_eq!(container.input_ops(&info.name).unwrap(), ops, "{} {}", path.display(), info.name);
        }
    }
}
