//! The tokenizer file of a real llama2.c model, against `golden/make_llama2c_ids.py`, which merges by the rule alone.

mod support;

use lowbit_text::{Affixes, SpecialText, SpecialTokens, Tokenizer};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

#[derive(Deserialize)]
struct Reference {
    sha256: String,
    texts: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
}

/// The file's bytes, or `None` with a printed reason.
fn stories() -> Option<Vec<u8>> {
    let path = support::data_dir()?.join("models/stories260K/tok512.bin");
    if !path.is_file() {
        println!("skipped: no tokenizer at {}", path.display());
        return None;
    }
    Some(std::fs::read(path).unwrap())
}

#[test]
fn ids_of_stories_equal_greedy_merging_by_score() {
    let Some(file) = stories() else { return };
    let reference: Reference = serde_json::from_str(include_str!("golden/llama2c_ids.json")).unwrap();
    let hash: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, reference.sha256, "the reference was made from another file");
    let tokenizer = Tokenizer::from_llama2c(&file, 512).unwrap();
    assert!(reference.texts.len() >= 10);
    for Row { text, ids } in reference.texts {
        assert_eq!(tokenizer.encode(&text, SpecialTokens::AsText, Affixes::Model).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, SpecialText::Hide).unwrap(), text);
    }
}

#[test]
fn a_story_begins_with_bos_and_whole_words() {
    let Some(file) = stories() else { return };
    let tokenizer = Tokenizer::from_llama2c(&file, 512).unwrap();
    let text = "Once upon a time, there was a little girl named Lily.";
    let ids = tokenizer.encode(text, SpecialTokens::AsText, Affixes::Model).unwrap();
    assert_eq!(tokenizer.bos(), Some(ids[0]));
    let pieces: Vec<_> =
        ids[1..].iter().map(|&id| String::from_utf8_lossy(tokenizer.token_bytes(id).unwrap())).collect();
    assert_eq!(pieces[..5], [" Once", " upon", " a", " time", ","]);
    assert_eq!(pieces.concat(), format!(" {text}"));
    assert_eq!(tokenizer.decode(&ids, SpecialText::Hide).unwrap(), text);
}
