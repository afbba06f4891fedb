//! Ids of every text in the data directory against those of llama.cpp's tokenizer, for real models.
//!
//! `golden/token_hashes.tsv` has the number of tokens and a hash for each file and model; its script says how it
//! was made.

mod support;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use lowbit_text::{Affixes, SpecialText, SpecialTokens, Tokenizer};
use sha2::{Digest as _, Sha256};

const GOLDEN: &str = include_str!("golden/token_hashes.tsv");

#[test]
fn ids_of_all_texts_equal_the_reference() {
    let Some(data) = support::data_dir() else { return };
    let mut report = String::new();
    for model in support::MODELS {
        let Some(tokenizer) = support::tokenizer(model) else { continue };
        let mut seen = 0;
        for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
            let [name, file, tokens, hash] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("golden line: {line}")
            };
            if name != model || !data.join(file).is_file() {
                continue;
            }
            seen += 1;
            let (found_tokens, found_hash) = hash_ids(&tokenizer, &read(&data.join(file)), file);
            if (found_tokens.to_string().as_str(), found_hash.as_str()) != (tokens, hash) {
                writeln!(report, "{model} {file}: {found_tokens} {found_hash}, expected {tokens} {hash}")
                    .unwrap();
            }
        }
        println!("{model}: {seen} texts compared");
        if seen == 0 {
            writeln!(report, "{model}: no text of the golden file is there").unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn byte_level_decoding_undoes_encoding() {
    let Some(data) = support::data_dir() else { return };
    for model in ["smollm2", "qwen2.5-coder-0.5b"] {
        let Some(tokenizer) = support::tokenizer(model) else { continue };
        for file in ["text/wikitext-2-raw/wiki.test.raw.gz", "ner/hipe2020-dev-de.tsv.gz"] {
            let text = read(&data.join(file));
            let ids = tokenizer.encode(&text, SpecialTokens::AsText, Affixes::None).unwrap();
            assert!(tokenizer.decode(&ids, SpecialText::Show).unwrap() == text, "{model} {file}");
        }
    }
}

#[test]
fn control_tokens_are_found_only_where_asked_and_end_an_answer() {
    let ends =
        [("smollm2", "<|im_end|>"), ("qwen2.5-coder-0.5b", "<|im_end|>"), ("gemma3-270m", "<end_of_turn>")];
    for (model, end) in ends {
        let Some(tokenizer) = support::tokenizer(model) else { continue };
        let parsed = tokenizer.encode(end, SpecialTokens::Parse, Affixes::None).unwrap();
        assert_eq!(parsed, [tokenizer.id_for_text(end).unwrap()], "{model}");
        assert!(tokenizer.is_end_of_generation(parsed[0]), "{model}");
        assert_eq!(tokenizer.decode(&parsed, SpecialText::Hide).unwrap(), "", "{model}");
        let text = tokenizer.encode(end, SpecialTokens::AsText, Affixes::None).unwrap();
        assert!(text.len() > 1 && !text.contains(&parsed[0]), "{model}: {text:?}");
        assert_eq!(tokenizer.decode(&text, SpecialText::Hide).unwrap(), end, "{model}");
    }
}

fn hash_ids(tokenizer: &Tokenizer, text: &str, file: &str) -> (usize, String) {
    let by_line = file.trim_end_matches(".gz").ends_with(".jsonl");
    let parts = if by_line { text.split('\n').collect() } else { vec![text] };
    let mut count = 0;
    let mut hasher = Sha256::new();
    for part in parts {
        let ids = tokenizer.encode(part, SpecialTokens::AsText, Affixes::None).unwrap();
        count += ids.len();
        hasher.update(ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
        if by_line {
            hasher.update([0xFF; 4]);
        }
    }
    let hash = hasher.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    (count, hash)
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("the text is readable");
    if path.extension().is_none_or(|extension| extension != "gz") {
        return String::from_utf8(bytes).expect("UTF-8");
    }
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip of UTF-8");
    text
}
