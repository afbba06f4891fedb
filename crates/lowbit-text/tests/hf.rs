//! Hugging Face folders: ids and texts against the `tokenizers` package, which tokens end an answer, and what is
//! refused.
//!
//! `golden/make_hf.py` made the two tokenizers and the reference.

use lowbit_text::{
    Affixes, HfFiles, SpecialText, SpecialTokens, StreamDecoder, TextStart, TokenKind, Tokenizer,
};
use serde::Deserialize;

const BYTE_LEVEL: &str = include_str!("golden/hf_byte_level.json");
const BYTE_FALLBACK: &str = include_str!("golden/hf_byte_fallback.json");
const IDS: &str = include_str!("golden/hf_ids.json");

#[derive(Deserialize)]
struct Reference {
    byte_level: Vec<Row>,
    byte_fallback: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    plain: Vec<u32>,
    full: Vec<u32>,
    as_text: Vec<u32>,
    decoded: String,
}

fn references() -> [(&'static str, Tokenizer, Vec<Row>); 2] {
    let reference: Reference = serde_json::from_str(IDS).unwrap();
    [
        ("byte_level", load(BYTE_LEVEL), reference.byte_level),
        ("byte_fallback", load(BYTE_FALLBACK), reference.byte_fallback),
    ]
}

fn load(tokenizer: &str) -> Tokenizer {
    Tokenizer::from_hf(HfFiles { tokenizer: tokenizer.as_bytes(), ..HfFiles::default() }).unwrap()
}

#[test]
fn ids_and_texts_equal_the_reference() {
    let mut wrong = Vec::new();
    for (name, tokenizer, rows) in references() {
        assert!(rows.len() >= 30);
        for row in rows {
            let encode = |special, affixes| tokenizer.encode(&row.text, special, affixes).unwrap();
            let found = [
                encode(SpecialTokens::Parse, Affixes::None),
                encode(SpecialTokens::Parse, Affixes::Model),
                encode(SpecialTokens::AsText, Affixes::None),
            ];
            let expected = [&row.plain, &row.full, &row.as_text];
            for (what, (found, expected)) in
                ["plain", "full", "as text"].into_iter().zip(found.iter().zip(expected))
            {
                if found != expected {
                    wrong.push(format!("{name} {:?} {what}: {found:?}, expected {expected:?}", row.text));
                }
            }
            let decoded = tokenizer.decode(&row.plain, SpecialText::Show).unwrap();
            if decoded != row.decoded {
                wrong.push(format!("{name} {:?}: decoded {decoded:?}, expected {:?}", row.text, row.decoded));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn streamed_text_is_the_decoded_text_and_what_was_encoded() {
    for (name, tokenizer, rows) in references() {
        for row in rows {
            let mut decoder = StreamDecoder::new(SpecialText::Show, TextStart::Beginning);
            let mut text = String::new();
            for &id in &row.as_text {
                let part = decoder.push(&tokenizer, id).unwrap();
                assert!(!part.contains('\u{FFFD}'), "{name} {:?}: {part:?}", row.text);
                text += &part;
            }
            text += &decoder.finish();
            assert_eq!(text, tokenizer.decode(&row.as_text, SpecialText::Show).unwrap(), "{name}");
            // SentencePiece's spelling has one character for a space and for itself, and the normalizer puts a
            // space after an added token.
            if name == "byte_level" || !row.text.contains(['▁', '<']) {
                assert_eq!(text, row.text, "{name}");
            }
        }
    }
}

#[test]
fn token_kinds_and_bytes_are_read_from_both_spellings() {
    let [(_, byte_level, _), (_, byte_fallback, _)] = references();
    for tokenizer in [&byte_level, &byte_fallback] {
        let kind = |text| tokenizer.id_for_text(text).and_then(|id| tokenizer.token_kind(id));
        assert_eq!(kind("<|end|>"), Some(TokenKind::Control));
        assert_eq!(kind("<tool>"), Some(TokenKind::UserDefined));
        assert_eq!(kind(" t"), Some(TokenKind::Normal));
    }
    let byte = byte_fallback.encode("漢", SpecialTokens::Parse, Affixes::None).unwrap();
    let bytes: Vec<_> = byte[1..].iter().map(|&id| byte_fallback.token_bytes(id).unwrap()).collect();
    assert_eq!(bytes.concat(), "漢".as_bytes());
    assert_eq!(byte_fallback.token_kind(byte[1]), Some(TokenKind::Byte));
    assert_eq!(byte_level.token_kind(byte_level.vocab_len() as u32), None);
}

#[test]
fn configurations_say_what_begins_and_ends() {
    let read = |config: &str, generation: Option<&str>| {
        Tokenizer::from_hf(HfFiles {
            tokenizer: BYTE_LEVEL.as_bytes(),
            tokenizer_config: Some(config.as_bytes()),
            generation_config: generation.map(str::as_bytes),
            chat_template: None,
        })
        .unwrap()
    };
    let tokenizer = read(
        r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "<|pad|>", "unk_token": "<unk>",
            "pad_token": null, "add_bos_token": true, "chat_template": "T", "model_max_length": 1e30}"#,
        None,
    );
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.unk(), tokenizer.pad()),
        (Some(1), Some(3), Some(0), None)
    );
    assert_eq!((tokenizer.adds_bos(), tokenizer.adds_eos()), (true, false));
    assert_eq!(tokenizer.chat_template(), Some("T"));
    // 3 by its role, 2 because `<|end|>` ends an answer wherever it is a special token.
    assert_eq!(tokenizer.end_of_generation_ids(), [2, 3]);
    let ids = tokenizer.encode("a", SpecialTokens::Parse, Affixes::Model).unwrap();
    assert_eq!(ids, [1, tokenizer.id_for_text("a").unwrap()]);

    let named = r#"{"add_eos_token": true, "eos_token": "<|end|>", "chat_template":
        [{"name": "tool_use", "template": "A"}, {"name": "default", "template": "B"}]}"#;
    let tokenizer = read(named, Some(r#"{"eos_token_id": [1, 3, 1], "temperature": 0.6}"#));
    assert_eq!(tokenizer.end_of_generation_ids(), [1, 2, 3]);
    assert_eq!(tokenizer.chat_template(), Some("B"));
    assert_eq!(tokenizer.encode("", SpecialTokens::Parse, Affixes::Model).unwrap(), [2]);
    assert_eq!(read("{}", Some(r#"{"eos_token_id": 3}"#)).end_of_generation_ids(), [2, 3]);
    assert_eq!(read("{}", Some("{}")).end_of_generation_ids(), [2]);

    let own = HfFiles {
        tokenizer: BYTE_FALLBACK.as_bytes(),
        tokenizer_config: Some(br#"{"add_bos_token": false, "chat_template": "T"}"#),
        generation_config: None,
        chat_template: Some("U"),
    };
    let tokenizer = Tokenizer::from_hf(own).unwrap();
    // BOS is known from the post-processor; the configuration has the last word on adding it.
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (Some(1), false));
    assert_eq!(tokenizer.chat_template(), Some("U"));
}

/// A `tokenizer.json` with the given model and further members.
fn tokenizer_json(model: &str, more: &str) -> String {
    let model = if model.is_empty() {
        r#"{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#
    } else {
        model
    };
    format!(
        r#"{{"version":"1.0","model":{model},"decoder":{{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}}{more}}}"#
    )
}

#[test]
fn hostile_tokenizer_files_are_refused_with_a_reason() {
    let bpe = |rest: &str| tokenizer_json(&format!(r#"{{"type":"BPE",{rest}}}"#), "");
    let with = |more: &str| tokenizer_json("", &format!(",{more}"));
    let nested =
        |open: &str, close: &str, depth| format!("{}null{}", open.repeat(depth), close.repeat(depth));
    let rows: Vec<(&str, String, &str)> = vec![
        ("empty", String::new(), "EOF"),
        ("not JSON", "GGUF".into(), "expected value"),
        ("not an object", "[]".into(), "a list, expected an object"),
        ("cut", BYTE_LEVEL[..BYTE_LEVEL.len() / 2].into(), "EOF"),
        ("no model", "{}".into(), "missing field `model`"),
        ("unknown version", tokenizer_json("", "").replace("1.0", "9.9"), "9.9"),
        ("unknown model", tokenizer_json(r#"{"type":"Nope","vocab":{}}"#, ""), "ModelUntagged"),
        ("deep lists", tokenizer_json(&nested("[", "]", 100_000), ""), "invalid type: sequence"),
        ("deep objects", nested(r#"{"model":"#, "}", 100_000), "recursion limit"),
        (
            "deep normalizers",
            with(&format!(
                r#""normalizer":{}"#,
                nested(r#"{"type":"Sequence","normalizers":["#, "]}", 10_000)
            )),
            "recursion limit",
        ),
        ("no tokens", bpe(r#""vocab":{},"merges":[]"#), "empty"),
        ("vocabulary of lists", bpe(r#""vocab":[["a",1]],"merges":[]"#), "expected a map"),
        ("id that is text", bpe(r#""vocab":{"a":"0"},"merges":[]"#), "expected u32"),
        ("negative id", bpe(r#""vocab":{"a":-1},"merges":[]"#), "integer `-1`"),
        ("id over 32 bits", bpe(r#""vocab":{"a":4294967296},"merges":[]"#), "4294967296"),
        ("largest id", bpe(r#""vocab":{"a":0,"b":4294967295},"merges":[]"#), "limit of 4194304"),
        ("one id twice", bpe(r#""vocab":{"a":0,"b":0},"merges":[]"#), "twice"),
        ("merge of no token", bpe(r#""vocab":{"a":0},"merges":["a z"]"#), "Token `z` out of vocabulary"),
        (
            "merge into no token",
            bpe(r#""vocab":{"a":0,"b":1},"merges":["a b"]"#),
            "the tokenizers library fails",
        ),
        ("merge of one part", bpe(r#""vocab":{"a":0},"merges":["a"]"#), "Merges text file invalid"),
        ("merges of numbers", bpe(r#""vocab":{"a":0},"merges":[1]"#), "MergeType"),
        (
            "prefix longer than tokens",
            bpe(r#""vocab":{"a":0,"b":1,"ab":2},"merges":["a b"],"continuing_subword_prefix":"__""#),
            "its continuing_subword_prefix is '__'",
        ),
        (
            "prefix that cuts a character",
            bpe(r#""vocab":{"a":0,"é":1,"aé":2},"merges":["a é"],"continuing_subword_prefix":"_""#),
            "its continuing_subword_prefix is '_'",
        ),
        (
            "mark of the last part",
            bpe(r#""vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>""#),
            "its end_of_word_suffix is '</w>'",
        ),
        ("dropout", bpe(r#""vocab":{"a":0,"b":1,"ab":2},"merges":["a b"],"dropout":7.0"#), "between 0 and 1"),
        (
            "pattern that is no pattern",
            with(
                r#""pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated","invert":false}"#,
            ),
            "parenthesis",
        ),
        ("pieces of length zero", with(r#""pre_tokenizer":{"type":"FixedLength","length":0}"#), "chunk size"),
        (
            "damaged character map",
            with(r#""normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"}"#),
            "precompiled_charsmap",
        ),
        (
            "empty trie",
            with(r#""normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAAAA=="}"#),
            "index out of bounds",
        ),
        (
            "trie that points outside",
            with(r#""normalizer":{"type":"Precompiled","precompiled_charsmap":"BAAAAAD8/38A"}"#),
            "index out of bounds",
        ),
        (
            "template of no token",
            with(
                r#""post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<x>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}}"#,
            ),
            "the tokenizers library fails",
        ),
        (
            "template that drops the text",
            with(
                r#""post_processor":{"type":"TemplateProcessing","single":[],"pair":[],"special_tokens":{}}"#,
            ),
            "changes the ids of the text",
        ),
        (
            "decoder that is no decoder",
            tokenizer_json("", "").replace("ByteLevel", "Nope"),
            "DecoderUntagged",
        ),
        (
            "decoder that is not supported",
            tokenizer_json("", "").replace(
                r#"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#,
                r#"{"type":"CTC","pad_token":"p","word_delimiter_token":"|","cleanup":true}"#,
            ),
            "CTC is not supported",
        ),
        (
            "unigram without tokens",
            tokenizer_json(r#"{"type":"Unigram","unk_id":0,"vocab":[]}"#, ""),
            "EmptyVocabulary",
        ),
        (
            "unigram of no unknown",
            tokenizer_json(r#"{"type":"Unigram","unk_id":9,"vocab":[["a",0.0]]}"#, ""),
            "UnkIdNotInVocabulary",
        ),
        (
            "added token far out",
            with(
                r#""added_tokens":[{"id":4294967295,"content":"<x>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]"#,
            ),
            "'<x>' has id 4294967295, expected 3",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, file, reason) in rows {
        match Tokenizer::from_hf(HfFiles { tokenizer: file.as_bytes(), ..HfFiles::default() }) {
            Ok(_) => wrong.push(format!("{what}: accepted")),
            Err(error) if error.to_string().contains(reason) => {}
            Err(error) => wrong.push(format!("{what}: {error}, expected {reason:?}")),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn damage_that_only_some_text_meets_is_an_error_for_that_text() {
    // 512 zero bytes of trie: no character is mapped, and one that begins with a byte over 127 is looked up outside.
    let map = format!("AAIA{}", "A".repeat(171 * 4));
    let normalizer = format!(r#","normalizer":{{"type":"Precompiled","precompiled_charsmap":"{map}"}}"#);
    let tokenizer = load(&tokenizer_json("", &normalizer));
    let encode = |text| tokenizer.encode(text, SpecialTokens::Parse, Affixes::Model);
    let error = encode("é").unwrap_err().to_string();
    assert!(error.contains("the tokenizers library fails: index out of bounds"), "{error}");
    assert_eq!(encode("ab").unwrap(), [2]);
}

#[test]
fn hostile_configurations_are_refused_with_a_reason() {
    let rows = [
        ("tokenizer_config.json", "", "EOF"),
        ("tokenizer_config.json", "[]", "a list, expected an object"),
        ("tokenizer_config.json", r#"{"bos_token": 1}"#, "a token is neither text nor"),
        ("tokenizer_config.json", r#"{"eos_token": {"text": "x"}}"#, "a token is neither text nor"),
        ("tokenizer_config.json", r#"{"add_bos_token": "yes"}"#, "expected a boolean"),
        (
            "tokenizer_config.json",
            r#"{"chat_template": {"default": "x"}}"#,
            "chat_template is neither text nor",
        ),
        (
            "tokenizer_config.json",
            r#"{"chat_template": [{"name": "default"}]}"#,
            "chat_template is neither text nor",
        ),
        ("generation_config.json", "{", "EOF"),
        ("generation_config.json", r#"{"eos_token_id": "2"}"#, "eos_token_id is neither an id nor"),
        ("generation_config.json", r#"{"eos_token_id": -1}"#, "eos_token_id is neither an id nor"),
        ("generation_config.json", r#"{"eos_token_id": [2, 99999]}"#, "eos token id 99999 is out of range"),
        (
            "generation_config.json",
            r#"{"eos_token_id": 4294967295}"#,
            "eos token id 4294967295 is out of range",
        ),
    ];
    let mut wrong = Vec::new();
    let deep =
        format!(r#"{{"bos_token":{0}{1},"eos_token_id":{0}{1}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let deep =
        ["tokenizer_config.json", "generation_config.json"].map(|name| (name, &*deep, "recursion limit"));
    for (name, text, reason) in rows.into_iter().chain(deep) {
        let config = (name == "tokenizer_config.json").then_some(text.as_bytes());
        let files = HfFiles {
            tokenizer: BYTE_LEVEL.as_bytes(),
            tokenizer_config: config,
            generation_config: config.is_none().then_some(text.as_bytes()),
            chat_template: None,
        };
        let text: String = text.chars().take(60).collect();
        match Tokenizer::from_hf(files) {
            Ok(_) => wrong.push(format!("{name} {text}: accepted")),
            Err(error) if error.to_string().contains(reason) => {}
            Err(error) => wrong.push(format!("{name} {text}: {error}, expected {reason:?}")),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
