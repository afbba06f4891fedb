//! What building a tokenizer costs and how fast it encodes: `build_cost MODEL.gguf [TEXT]`.
//!
//! The vocabulary is read first; time and peak memory are those of the building alone.

#[allow(dead_code, reason = "shared with the tests, which read more of it")]
#[path = "../tests/support/gguf.rs"]
mod gguf;

use std::borrow::Cow;
use std::time::Instant;

use lowbit_text::{Affixes, SpecialTokens, Tokenizer, VocabData};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().expect("usage: build_cost MODEL.gguf [TEXT]");
    let metadata = gguf::metadata(model.as_ref()).expect("a GGUF file");
    let ggml = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    let texts = |key: &str| match metadata.get(&format!("tokenizer.ggml.{key}")) {
        Some(gguf::Value::Texts(texts)) => texts.iter().map(Vec::as_slice).collect(),
        _ => Vec::new(),
    };
    let text = |key: &str| match metadata.get(&format!("tokenizer.ggml.{key}")) {
        Some(gguf::Value::Text(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let data = VocabData {
        model: text("model").expect("a tokenizer"),
        pre: text("pre"),
        tokens: texts("tokens"),
        merges: texts("merges"),
        scores: match ggml("scores") {
            Some(gguf::Value::Floats(scores)) => Some(Cow::Borrowed(scores)),
            _ => None,
        },
        kinds: match ggml("token_type") {
            Some(gguf::Value::Ints(kinds)) => {
                Some(kinds.iter().map(|&kind| kind as i32).collect::<Vec<_>>().into())
            }
            _ => None,
        },
        add_bos: Some(false),
        add_space_prefix: match ggml("add_space_prefix") {
            Some(&gguf::Value::Int(flag)) => Some(flag != 0),
            _ => None,
        },
        ..VocabData::default()
    };
    let before = resident_kib("VmRSS:");
    let start = Instant::now();
    let tokenizer = Tokenizer::from_vocab(&data).expect("a good vocabulary");
    let built = start.elapsed();
    println!("{} tokens built in {built:.1?}", tokenizer.vocab_len());
    println!(
        "resident before {before} KiB, after {} KiB, peak {} KiB",
        resident_kib("VmRSS:"),
        resident_kib("VmHWM:")
    );
    if let Some(path) = arguments.next() {
        let text = std::fs::read_to_string(path).expect("a text");
        for _ in 0..3 {
            let start = Instant::now();
            let ids = tokenizer.encode(&text, SpecialTokens::AsText, Affixes::None).expect("it encodes");
            let seconds = start.elapsed().as_secs_f64();
            println!("{} ids, {:.1} MB/s", ids.len(), text.len() as f64 / 1e6 / seconds);
        }
        println!("peak {} KiB", resident_kib("VmHWM:"));
    }
}

/// A field of `/proc/self/status`; 0 where there is none.
fn resident_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
