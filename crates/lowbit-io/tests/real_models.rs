//! The three real models, where they are: every tensor in its place and rows decoded as the Python `gguf` package
//! does (`golden/real_models.py`).

use lowbit_io::{Access, Checkpoint, Config, gguf::Gguf};
use std::path::PathBuf;

const MODELS: [&str; 3] = ["smollm2.gguf", "gemma3-270m.gguf", "qwen2.5-coder-0.5b.gguf"];

fn golden() -> serde_json::Value {
    serde_json::from_str(include_str!("golden/real_models.json")).expect("the golden file is JSON")
}

/// The models that are there, with a word on those that are not.
fn models() -> Vec<(&'static str, PathBuf)> {
    let Some(folder) = std::env::var_os("LOWBIT_MODELS").map(PathBuf::from) else {
        println!("skipped: LOWBIT_MODELS does not name a folder with the models");
        return Vec::new();
    };
    let there = |(name, path): (&'static str, PathBuf)| {
        let found = path.exists();
        if !found {
            println!("skipped: {name} is not in LOWBIT_MODELS");
        }
        found.then_some((name, path))
    };
    MODELS.into_iter().map(|name| (name, folder.join(name))).filter_map(there).collect()
}

#[test]
fn every_tensor_lies_where_the_reference_reader_finds_it() {
    let golden = golden();
    for (name, path) in models() {
        let model = Gguf::open(&path, Access::Map).unwrap();
        let expected = golden[name]["tensors"].as_array().unwrap();
        assert_eq!(model.tensors().len(), expected.len(), "{name}");
        let mut sum = 0;
        for row in expected {
            let tensor = row[0].as_str().unwrap();
            let info = model.info(tensor).unwrap_or_else(|| panic!("{name}: {tensor}"));
            let dims: Vec<u64> = info.dims.iter().map(|d| *d as u64).collect();
            let found =
                serde_json::json!([tensor, model.type_name(tensor).unwrap(), dims, info.offset, info.bytes]);
            assert_eq!(&found, row, "{name}");
            sum += info.bytes as u64;
        }
        assert_eq!(model.data_bytes(), sum, "{name}");
        let head = model.tensors().iter().map(|t| t.offset).min().unwrap();
        let padding = model.file_bytes() - head - sum;
        assert!(padding < 32 * expected.len() as u64, "{name}: {padding} bytes belong to no tensor");
    }
}

#[test]
fn metadata_reads_as_the_reference_reads_it() {
    let golden = golden();
    for (name, path) in models() {
        let model = Checkpoint::open(&path, Access::Map).unwrap();
        let Config::Gguf(metadata) = model.config() else { panic!("{name} is GGUF") };
        for (key, expected) in golden[name]["fields"].as_object().unwrap() {
            let value = metadata.get(key).unwrap().unwrap();
            let found = match value.integer() {
                Some(v) => v.to_string(),
                None => metadata.get_str(key).unwrap().unwrap().to_owned(),
            };
            assert_eq!(found, expected.as_str().unwrap(), "{name}: {key}");
        }
        for (key, len) in golden[name]["arrays"].as_object().unwrap() {
            let array = metadata.get_array(key).unwrap().unwrap();
            assert_eq!(array.len() as u64, len.as_u64().unwrap(), "{name}: {key}");
        }
        let tokens = metadata.get_strings("tokenizer.ggml.tokens").unwrap().unwrap();
        assert!(tokens.len() > 40_000, "{name}");
        for token in tokens {
            token.unwrap();
        }
    }
}

#[test]
fn rows_decode_bit_for_bit_as_the_reference() {
    let golden = golden();
    for (name, path) in models() {
        for access in [Access::Map, Access::Read] {
            let model = Checkpoint::open(&path, access).unwrap();
            for row in golden[name]["rows"].as_array().unwrap() {
                let (tensor, n) = (row[0].as_str().unwrap(), row[1].as_u64().unwrap() as usize);
                let matrix = model.tensor(tensor).unwrap();
                let mut decoded = vec![0.0; matrix.shape().k];
                matrix.decode_row(n, &mut decoded);
                let found: Vec<u64> = decoded.iter().step_by(37).map(|x| x.to_bits().into()).collect();
                let expected: Vec<u64> =
                    row[2].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
                assert_eq!(found, expected, "{name}: row {n} of {tensor}");
            }
            model.check_unchanged().unwrap();
        }
    }
}
