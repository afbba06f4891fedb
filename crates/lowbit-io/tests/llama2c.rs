//! llama2.c models: the real one where the data folder is, and crafted ones for both layouts.

mod craft;

use craft::*;
use lowbit_format::Storage;
use lowbit_io::{Access, Checkpoint, Config, llama2c::Llama2c};
use std::path::{Path, PathBuf};

/// The data folder, `None` (with a word) where there is none.
fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("LOWBIT_DATA").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no data folder (LOWBIT_DATA or ../shared/data)");
    None
}

#[test]
fn the_real_model_opens_with_the_numbers_of_its_readme() {
    let Some(data) = data() else { return };
    let path = data.join("models/stories260K/stories260K.bin");
    let model = Checkpoint::open(&path, Access::Map).unwrap();
    let Config::Llama2c(h) = model.config() else { panic!("{} is llama2.c", path.display()) };
    assert_eq!(
        (h.dim, h.hidden_dim, h.layers, h.heads, h.kv_heads, h.vocab, h.context),
        (64, 172, 5, 8, 4, 512, 512)
    );
    assert!(h.tied_output);
    assert_eq!(model.info("blk.4.attn_k.weight").unwrap().dims, [32, 64]);
    assert_eq!(model.info("blk.0.ffn_down.weight").unwrap().dims, [64, 172]);
    assert!(model.info("output.weight").is_none());
    let floats: usize = model.tensors().iter().map(|t| t.elements()).sum();
    // All but the two rotary tables [512, 4].
    assert_eq!(floats, 264_128 - 2 * 512 * 4);
    assert_eq!(model.check_tensors().unwrap(), []);
    // Norm weights of a trained model are positive and near one; of a wrong offset they are not.
    for name in ["output_norm.weight", "blk.0.attn_norm.weight", "blk.4.ffn_norm.weight"] {
        let norm = model.vector(name).unwrap();
        assert!(norm.iter().all(|x| (0.01..20.0).contains(x)), "{name}: {norm:?}");
    }
    let Checkpoint::Llama2c(model) = model else { unreachable!() };
    assert_eq!(model.vocabulary().unwrap().file_name().unwrap(), "tok512.bin");
    assert_eq!(model.read_vocabulary().unwrap().unwrap().len(), 6227);
}

/// Fills the floats with their index, so that each tensor's first number is its place.
fn numbered(mut bytes: Vec<u8>, header: usize) -> Llama2c {
    for (i, float) in bytes[header..].chunks_exact_mut(4).enumerate() {
        float.copy_from_slice(&(i as f32).to_le_bytes());
    }
    Llama2c::parse(Storage::from(bytes)).unwrap()
}

fn first(model: &Llama2c, name: &str) -> f32 {
    model.vector(name).unwrap()[0]
}

#[test]
fn version_0_keeps_its_tensors_in_order() {
    let model = numbered(llama2c(LLAMA2C, LLAMA2C_FLOATS), 28);
    // Embedding 80, norms 2·8, wq 2·64, wk and wv 2·32, wo 2·64, norms 2·8, three of 2·96, norm 8.
    let places = [
        ("token_embd.weight", 0),
        ("blk.0.attn_norm.weight", 80),
        ("blk.1.attn_norm.weight", 88),
        ("blk.0.attn_q.weight", 96),
        ("blk.1.attn_k.weight", 256),
        ("blk.0.attn_v.weight", 288),
        ("blk.1.attn_output.weight", 416),
        ("blk.0.ffn_norm.weight", 480),
        ("blk.0.ffn_gate.weight", 496),
        ("blk.1.ffn_down.weight", 784),
        ("blk.0.ffn_up.weight", 880),
        ("output_norm.weight", 1072),
    ];
    for (name, place) in places {
        assert_eq!(first(&model, name), place as f32, "{name}");
    }
}

#[test]
fn a_negative_vocabulary_size_means_an_output_matrix_at_the_end() {
    let mut numbers = LLAMA2C;
    numbers[5] = -10;
    let model = numbered(llama2c(numbers, LLAMA2C_FLOATS + 80), 28);
    assert!(!model.header().tied_output);
    assert_eq!(model.header().vocab, 10);
    assert_eq!(first(&model, "output.weight"), LLAMA2C_FLOATS as f32);
}

#[test]
fn version_1_begins_with_its_norms() {
    let mut bytes: Vec<u8> =
        [0x616b_3432, 1].into_iter().chain(LLAMA2C).flat_map(|n: i32| n.to_le_bytes()).collect();
    bytes.push(0);
    // No rotary tables, an output matrix.
    bytes.resize(256 + 4 * (LLAMA2C_FLOATS - 16 + 80), 0);
    let model = numbered(bytes.clone(), 256);
    let places = [
        ("blk.0.attn_norm.weight", 0),
        ("blk.0.ffn_norm.weight", 16),
        ("output_norm.weight", 32),
        ("token_embd.weight", 40),
        ("blk.0.attn_q.weight", 120),
        ("output.weight", LLAMA2C_FLOATS as u32 - 16),
    ];
    for (name, place) in places {
        assert_eq!(first(&model, name), place as f32, "{name}");
    }
    bytes[4] = 2;
    let error = Llama2c::parse(Storage::from(bytes.clone())).unwrap_err().to_string();
    assert!(error.contains("version 2") && error.contains("export"), "{error}");
    bytes[4] = 1;
    bytes[36] = 7;
    let error = Llama2c::parse(Storage::from(bytes)).unwrap_err().to_string();
    assert!(error.contains("shared classifier"), "{error}");
}
