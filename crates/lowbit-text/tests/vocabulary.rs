//! Vocabularies that lie, each with its own error, and small ones with ids worked out by hand.

use std::borrow::Cow;

use lowbit_text::{
    Affixes, HfFiles, HfTexts, SpecialText, SpecialTokens, TextError, TokenKind, Tokenizer, VocabData,
};
use proptest::prelude::*;

/// Single bytes as byte-level BPE spells them, then merges of `a`, and a control and a user-defined token.
struct BytePairs {
    tokens: Vec<String>,
    merges: Vec<&'static str>,
}

impl BytePairs {
    fn new() -> Self {
        let printable = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let mut others = 0x100..;
        let spelt = |byte: u8| if printable(byte) { byte as u32 } else { others.next().unwrap() };
        let mut tokens: Vec<String> =
            (0..=255u8).map(spelt).map(|code| char::from_u32(code).unwrap().to_string()).collect();
        tokens.extend(["aa", "aaaa", "Ġa", "<|end|>", "<tag>"].map(str::to_owned));
        Self { tokens, merges: vec!["a a", "aa aa", "Ġ a"] }
    }

    fn data(&self) -> VocabData<'_> {
        let mut kinds = vec![1; self.tokens.len()];
        kinds[259] = 3;
        kinds[260] = 4;
        VocabData {
            model: "gpt2",
            pre: Some("gpt-2"),
            tokens: self.tokens.iter().map(String::as_bytes).collect(),
            kinds: Some(Cow::Owned(kinds)),
            merges: self.merges.iter().map(|merge| merge.as_bytes()).collect(),
            ..VocabData::default()
        }
    }
}

fn error(data: &VocabData<'_>) -> String {
    Tokenizer::from_vocab(data).expect_err("it is refused").to_string()
}

const TEXTS: [&str; 6] = [
    "",
    "a",
    "aaa  aaaaa <tag>aa<|end|> a\n\n aa",
    "Don't\tSTOP 12345 naïve ΣΑΣ 漢字かな 한글 👍🏽 \r\n\r\n  x==y;\u{a0}٣٤ ़क\n ",
    " HelloWorld's I'LL pay",
    "<|end|>\u{2581}a\u{2581}\u{2581} b",
];

/// The ids of texts by a vocabulary and by the files made of it.
fn same_ids(data: &VocabData<'_>, what: &str) {
    let ours = Tokenizer::from_vocab(data).unwrap();
    let texts = HfTexts::from_vocab(data).unwrap();
    let theirs = Tokenizer::from_hf(HfFiles {
        tokenizer: texts.tokenizer.to_string().as_bytes(),
        tokenizer_config: Some(texts.tokenizer_config.to_string().as_bytes()),
        ..HfFiles::default()
    })
    .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(ours.vocab_len(), theirs.vocab_len(), "{what}");
    for text in TEXTS {
        for special in [SpecialTokens::Parse, SpecialTokens::AsText] {
            let [ours, theirs] = [&ours, &theirs].map(|tokenizer| {
                tokenizer
                    .encode(text, special, Affixes::Model)
                    .unwrap_or_else(|error| panic!("{what}: {error}"))
            });
            assert_eq!(ours, theirs, "{what}: {text:?}, {special:?}");
        }
        let ids = ours.encode(text, SpecialTokens::Parse, Affixes::None).unwrap();
        let [ours, theirs] =
            [&ours, &theirs].map(|tokenizer| tokenizer.decode(&ids, SpecialText::Show).unwrap());
        assert_eq!(ours, theirs, "{what}: {text:?}");
    }
}

#[test]
fn a_byte_level_vocabulary_as_files_gives_the_same_ids_with_every_pre_tokenizer() {
    let vocab = BytePairs::new();
    for pre in lowbit_text::known_pre_tokenizers() {
        same_ids(&VocabData { pre: Some(pre), bos: Some(259), eos: Some(259), ..vocab.data() }, pre);
    }
}

#[test]
fn a_sentencepiece_vocabulary_as_files_gives_the_same_ids() {
    let pieces = ["<unk>", "<|end|>", "<tag>", "a", "aa", "\u{2581}", "\u{2581}a", "aaaa", "b"];
    let bytes: Vec<String> = (0..=255u8).map(|byte| format!("<0x{byte:02X}>")).collect();
    let tokens: Vec<&[u8]> =
        pieces.iter().map(|piece| piece.as_bytes()).chain(bytes.iter().map(|byte| byte.as_bytes())).collect();
    let mut kinds = vec![6; tokens.len()];
    kinds[..pieces.len()].copy_from_slice(&[2, 3, 4, 1, 1, 1, 1, 1, 1]);
    let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id as f32)).collect();
    for add_space_prefix in [Some(true), Some(false)] {
        let data = VocabData {
            model: "llama",
            tokens: tokens.clone(),
            kinds: Some(kinds.clone().into()),
            scores: Some(scores.clone().into()),
            bos: Some(1),
            eos: Some(1),
            unk: Some(0),
            add_space_prefix,
            ..VocabData::default()
        };
        same_ids(&data, &format!("prefix {add_space_prefix:?}"));
    }
}

#[test]
fn every_lie_gets_its_own_error() {
    let vocab = BytePairs::new();
    let good = || vocab.data();
    let count = good().tokens.len();
    type Change<'a> = Box<dyn Fn(&mut VocabData<'a>) + 'a>;
    let cases: Vec<(&str, Change<'_>)> = vec![
        ("model 'gtp2' is not supported", Box::new(|v| v.model = "gtp2")),
        ("did you mean 'gpt2'?", Box::new(|v| v.model = "gtp2")),
        ("pre-tokenizer 'quen2' is not known", Box::new(|v| v.pre = Some("quen2"))),
        ("names no pre-tokenizer", Box::new(|v| v.pre = None)),
        ("the vocabulary is empty", Box::new(|v| v.tokens.clear())),
        ("token types has 3 entries", Box::new(|v| v.kinds = Some(vec![1; 3].into()))),
        ("scores has 3 entries", Box::new(|v| v.scores = Some(vec![1.0; 3].into()))),
        (
            "token 1 has the score NaN",
            Box::new(move |v| {
                let mut scores = vec![0.0; count];
                scores[1] = f32::NAN;
                v.scores = Some(scores.into());
            }),
        ),
        ("has kind 9", Box::new(|v| v.kinds.as_mut().unwrap().to_mut()[7] = 9)),
        ("byte token 65 has the text 'A'", Box::new(|v| v.kinds.as_mut().unwrap().to_mut()[65] = 6)),
        ("twice, as ids 97 and 256", Box::new(|v| v.tokens[256] = b"a")),
        ("merge 1 is 'aaaa', expected two tokens", Box::new(|v| v.merges[1] = b"aaaa")),
        ("merge 0 'zz a' needs the token 'zz'", Box::new(|v| v.merges[0] = b"zz a")),
        ("merge 0 'a b' needs the token 'ab'", Box::new(|v| v.merges[0] = b"a b")),
        ("needs merges", Box::new(|v| v.merges.clear())),
        ("eos token id 261 is out of range", Box::new(|v| v.eos = Some(261))),
        ("gives no bos id", Box::new(|v| v.add_bos = Some(true))),
        ("'llama' needs scores", Box::new(|v| v.model = "llama")),
        (
            "character map is damaged",
            Box::new(move |v| {
                v.model = "t5";
                v.eos = Some(1);
                v.scores = Some(vec![0.0; count].into());
                v.precompiled_charsmap = Some(b"\xff\xff\xff\xff");
            }),
        ),
    ];
    assert!(Tokenizer::from_vocab(&good()).is_ok());
    for (expected, change) in &cases {
        let mut data = good();
        change(&mut data);
        let found = error(&data);
        assert!(found.contains(expected), "{found}, expected {expected}");
    }
}

#[test]
fn small_vocabulary_encodes_as_by_hand() {
    let vocab = BytePairs::new();
    let tokenizer = Tokenizer::from_vocab(&VocabData { eos: Some(259), ..vocab.data() }).unwrap();
    let encode = |text: &str, special| tokenizer.encode(text, special, Affixes::None).unwrap();
    assert_eq!(encode("aaaaaaa a", SpecialTokens::AsText), [257, 256, 97, 258]);
    // A user-defined token is always found, a control token only where asked.
    assert_eq!(encode("a<tag>a", SpecialTokens::AsText), [97, 260, 97]);
    assert_eq!(encode("a<|end|>", SpecialTokens::Parse), [97, 259]);
    assert_eq!(encode("<|end|>", SpecialTokens::AsText).len(), 7);
    assert_eq!(encode("", SpecialTokens::Parse), [0u32; 0]);
    assert!(tokenizer.is_end_of_generation(259) && !tokenizer.is_end_of_generation(260));
    assert_eq!(tokenizer.token_kind(260), Some(TokenKind::UserDefined));
    assert_eq!(tokenizer.token_bytes(258), Some(&b" a"[..]));
    assert_eq!((tokenizer.id_for_text(" a"), tokenizer.id_for_text("<|end|>")), (Some(258), Some(259)));
    assert_eq!((tokenizer.token_bytes(261), tokenizer.token_kind(261)), (None, None));
    let out_of_range = tokenizer.decode(&[261], SpecialText::Show);
    assert!(matches!(out_of_range, Err(TextError::IdOutOfRange { id: 261, .. })));
}

#[test]
fn a_megabyte_of_one_letter_is_encoded_in_linear_time() {
    let vocab = BytePairs::new();
    let tokenizer = Tokenizer::from_vocab(&vocab.data()).unwrap();
    let start = std::time::Instant::now();
    let ids = tokenizer.encode(&"a".repeat(1 << 20), SpecialTokens::AsText, Affixes::None).unwrap();
    assert_eq!(ids.len(), 1 << 18);
    // Quadratic merging takes hours here; a loaded machine takes a second.
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    for text in [" ", "\n", "1", "é", " a", "'"] {
        let ids = tokenizer.encode(&text.repeat(1 << 20), SpecialTokens::AsText, Affixes::None).unwrap();
        assert!(!ids.is_empty());
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn byte_level_round_trip_keeps_any_text(text in any::<String>()) {
        let vocab = BytePairs::new();
        let tokenizer = Tokenizer::from_vocab(&vocab.data()).unwrap();
        for special in [SpecialTokens::AsText, SpecialTokens::Parse] {
            let ids = tokenizer.encode(&text, special, Affixes::Model).unwrap();
            prop_assert_eq!(&tokenizer.decode(&ids, SpecialText::Show).unwrap(), &text);
        }
    }

    #[test]
    fn any_vocabulary_is_refused_or_works(
        tokens in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..40),
        kinds in proptest::collection::vec(0..8i32, 40),
        model in prop_oneof![Just("gpt2"), Just("llama"), Just("t5")],
        merges in proptest::collection::vec("[ab]{1,2} [ab]{1,2}", 0..3),
        text in any::<String>(),
    ) {
        let count = tokens.len();
        let data = VocabData {
            model,
            pre: Some("llama-bpe"),
            tokens: tokens.iter().map(Vec::as_slice).collect(),
            kinds: Some(kinds[..count].to_vec().into()),
            scores: Some((0..count).map(|at| -(at as f32)).collect::<Vec<_>>().into()),
            merges: merges.iter().map(|merge| merge.as_bytes()).collect(),
            unk: Some(0),
            add_bos: Some(false),
            add_eos: Some(false),
            ..VocabData::default()
        };
        if let Ok(tokenizer) = Tokenizer::from_vocab(&data) {
            let ids = tokenizer.encode(&text, SpecialTokens::Parse, Affixes::Model);
            if let Ok(ids) = ids {
                prop_assert!(tokenizer.decode(&ids, SpecialText::Show).is_ok());
            }
        }
    }
}
