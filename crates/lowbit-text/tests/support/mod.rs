//! What several tests share: where data and models lie, and the vocabulary of a GGUF file.
#![allow(dead_code, reason = "no test needs all of it")]

mod gguf;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

use lowbit_text::{Tokenizer, VocabData};

pub(crate) use gguf::Value;

pub(crate) const MODELS: [&str; 3] = ["smollm2", "gemma3-270m", "qwen2.5-coder-0.5b"];

/// The data directory, or `None` with a printed reason.
pub(crate) fn data_dir() -> Option<PathBuf> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let dir = std::env::var_os("LOWBIT_DATA").map_or(root.join("../shared/data"), PathBuf::from);
    if !dir.is_dir() {
        println!("skipped: no data directory at {} (set LOWBIT_DATA)", dir.display());
        return None;
    }
    Some(dir)
}

/// The metadata of a model, or `None` with a printed reason.
pub(crate) fn metadata(name: &str) -> Option<HashMap<String, Value>> {
    let Some(dir) = std::env::var_os("LOWBIT_MODELS") else {
        println!("skipped: LOWBIT_MODELS is not set");
        return None;
    };
    let path = PathBuf::from(dir).join(format!("{name}.gguf"));
    if !path.is_file() {
        println!("skipped: no model at {}", path.display());
        return None;
    }
    Some(gguf::metadata(&path).expect("the model is readable"))
}

/// The vocabulary as `lowbit-text` takes it.
pub(crate) fn vocab(metadata: &HashMap<String, Value>) -> VocabData<'_> {
    let ggml = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    let int = |key: &str| match ggml(key) {
        Some(&Value::Int(int)) => Some(int),
        _ => None,
    };
    let id = |role: &str| int(&format!("{role}_token_id")).map(|id| id as u32);
    let flag = |key: &str| int(key).map(|flag| flag != 0);
    let text = |value: Option<&'_ Value>| match value {
        Some(Value::Text(text)) => Some(std::str::from_utf8(text).expect("UTF-8").to_owned()),
        _ => None,
    };
    let leak = |text: Option<String>| text.map(|text| &*text.leak());
    let texts = |key: &str| match metadata.get(&format!("tokenizer.ggml.{key}")) {
        Some(Value::Texts(texts)) => texts.iter().map(Vec::as_slice).collect(),
        _ => Vec::new(),
    };
    VocabData {
        model: leak(text(ggml("model"))).expect("a tokenizer"),
        pre: leak(text(ggml("pre"))),
        tokens: texts("tokens"),
        scores: match ggml("scores") {
            Some(Value::Floats(scores)) => Some(Cow::Owned(scores.clone())),
            _ => None,
        },
        kinds: match ggml("token_type") {
            Some(Value::Ints(kinds)) => {
                Some(kinds.iter().map(|&kind| kind as i32).collect::<Vec<_>>().into())
            }
            _ => None,
        },
        merges: texts("merges"),
        bos: id("bos"),
        eos: id("eos"),
        eot: id("eot"),
        eom: id("eom"),
        unk: id("unknown"),
        pad: id("padding"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
        remove_extra_whitespaces: flag("remove_extra_whitespaces"),
        precompiled_charsmap: None,
        general_name: leak(text(metadata.get("general.name"))),
        chat_template: leak(text(metadata.get("tokenizer.chat_template"))),
    }
}

/// The tokenizer of a model, or `None` with a printed reason.
pub(crate) fn tokenizer(name: &str) -> Option<Tokenizer> {
    metadata(name).map(|metadata| Tokenizer::from_vocab(&vocab(&metadata)).expect("the vocabulary is good"))
}
