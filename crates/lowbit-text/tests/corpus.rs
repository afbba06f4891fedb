//! Replays the fuzz corpus through the very check that the fuzz targets run: every input is read to an answer or an
//! error, never a panic, and the crafted ones to the answer they were made for.

use std::path::Path;

#[path = "../../../fuzz/checks/chat_template.rs"]
mod chat_template;
#[path = "../../../fuzz/checks/tokenizer_vocab.rs"]
mod tokenizer_vocab;

/// The inputs of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Checks every input of a target. `expected` has the inputs whose answer is known, with a part of it, the answer
/// being an error's message or else what `check` returned.
fn replay(target: &str, expected: &[(&str, &str)], check: impl Fn(&[u8]) -> String) {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (name, bytes) in corpus(target) {
        let answer = check(&bytes);
        let Some((_, part)) = expected.iter().find(|(known, _)| *known == name) else { continue };
        seen += 1;
        if !answer.contains(part) {
            wrong.push(format!("{name}: {answer:?}, expected {part:?}"));
        }
    }
    assert!(wrong.is_empty(), "{target}:\n{}", wrong.join("\n"));
    assert_eq!(seen, expected.len(), "{target}: of the inputs named here");
}

#[test]
fn vocabularies_are_read_or_refused() {
    let expected = [
        ("seed-gpt2", "accepted"),
        ("seed-llama", "accepted"),
        ("seed-t5", "accepted"),
        ("seed-t5_charsmap", "accepted"),
        ("seed-twice", "in the vocabulary twice"),
        ("seed-merge_of_nothing", "merge 0 'a z' needs the token 'z'"),
    ];
    replay("tokenizer_vocab", &expected, |bytes| {
        tokenizer_vocab::check(bytes).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    });
}

#[test]
fn templates_are_rendered_or_refused() {
    let expected = [
        ("found-empty-tag", "does not parse"),
        ("seed-chatml", "<|im_start|>user\n a <b> <|im_end|>\n"),
        ("seed-inst", "roles must alternate"),
        ("seed-macros", "A <B>"),
        ("seed-endless", "nesting went over the limit"),
        ("seed-long", "went over the limit"),
        ("seed-include", "unknown statement include"),
    ];
    replay("chat_template", &expected, |bytes| {
        chat_template::check(bytes).unwrap_or_else(|error| error.to_string())
    });
}
