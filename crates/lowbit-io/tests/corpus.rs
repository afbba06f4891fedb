//! Replays the fuzz corpus: every input is read to an answer or an error, never a panic, and the crafted ones to the
//! answer they were made for.

use lowbit_format::Storage;
use lowbit_io::{
    gguf::Gguf,
    hf::{ShardIndex, parse_safetensors},
    llama2c::Llama2c,
};
use std::{fs, path::Path};

#[path = "../../../fuzz/checks/container.rs"]
mod container;

/// The inputs of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{target} has {} inputs", files.len());
    files
}

/// Every crafted input is accepted, but for those named.
fn check(target: &str, refused: &[&str], accepts: impl Fn(&[u8]) -> bool) {
    let mut crafted = 0;
    for (name, bytes) in corpus(target) {
        let accepted = accepts(&bytes);
        if let Some(seed) = name.strip_prefix("seed-") {
            crafted += 1;
            assert_eq!(accepted, !refused.contains(&seed), "{target}/{name}");
        }
    }
    assert!(crafted > refused.len(), "{target} has {crafted} crafted inputs");
}

#[test]
fn gguf_inputs_are_read_or_refused() {
    check("gguf", &["cut", "huge_counts"], |bytes| {
        let Ok(model) = Gguf::parse(Storage::from(bytes.to_vec())) else { return false };
        for info in model.tensors() {
            let Ok(tensor) = model.tensor(&info.name) else { continue };
            let mut row = vec![0.0; tensor.shape().k];
            tensor.decode_row(tensor.shape().n - 1, &mut row);
        }
        model.metadata().iter().for_each(|(key, value)| assert!(value.is_err() || !key.is_empty()));
        true
    });
}

#[test]
fn safetensors_inputs_are_read_or_refused() {
    check("safetensors_index", &["cut", "huge_header", "index_escape"], |bytes| {
        ShardIndex::parse(bytes).is_ok() || parse_safetensors(&Storage::from(bytes.to_vec())).is_ok()
    });
}

#[test]
fn container_inputs_are_read_or_refused() {
    check("container", &["cut", "unknown_key", "no_zeros", "wrong_part", "huge_shape"], |bytes| {
        container::check(bytes).is_ok()
    });
}

#[test]
fn llama2c_inputs_are_read_or_refused() {
    check("llama2c", &["cut", "negative"], |bytes| {
        let Ok(model) = Llama2c::parse(Storage::from(bytes.to_vec())) else { return false };
        model.tensors().iter().for_each(|t| assert_eq!(model.vector(&t.name).unwrap().len(), t.elements()));
        true
    });
}
