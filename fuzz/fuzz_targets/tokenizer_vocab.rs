//! Vocabularies: as a GGUF file holds them, and llama2.c tokenizer files.
//!
//! Text input: a first line of model name, pre-tokenizer and whether BOS is added; a line for each token of a kind
//! digit, a letter for its score and its text; after an empty line the merges. Input that begins with `B` is a
//! llama2.c file after a two-byte count.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_text::{Affixes, SpecialText, SpecialTokens, Tokenizer, VocabData};
use std::borrow::Cow;

fuzz_target!(|data: &[u8]| {
    let tokenizer = match data {
        [b'B', low, high, file @ ..] => {
            Tokenizer::from_llama2c(file, usize::from(u16::from_le_bytes([*low, *high])))
        }
        _ => match vocabulary(data) {
            Some(vocabulary) => Tokenizer::from_vocab(&vocabulary),
            None => return,
        },
    };
    let Ok(tokenizer) = tokenizer else { return };
    for text in ["ab ba", " a\u{e9}\u{1f600}\n<s>", ""] {
        for special in [SpecialTokens::Parse, SpecialTokens::AsText] {
            let Ok(ids) = tokenizer.encode(text, special, Affixes::Model) else { continue };
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len()));
            let _ = tokenizer.decode(&ids, SpecialText::Show);
        }
    }
});

fn vocabulary(data: &[u8]) -> Option<VocabData<'_>> {
    let mut lines = data.split(|b| *b == b'\n');
    let mut head = str::from_utf8(lines.next()?).ok()?.split(' ');
    let mut vocabulary = VocabData {
        model: head.next()?,
        pre: head.next().filter(|pre| *pre != "-"),
        add_bos: head.next().map(|flag| flag == "1"),
        bos: Some(1),
        unk: Some(0),
        ..VocabData::default()
    };
    let (mut kinds, mut scores) = (Vec::new(), Vec::new());
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let [kind, score, text @ ..] = line else { return None };
        kinds.push(i32::from(kind.wrapping_sub(b'0')));
        scores.push(-f32::from(*score));
        vocabulary.tokens.push(text);
    }
    vocabulary.merges = lines.collect();
    vocabulary.kinds = Some(Cow::Owned(kinds));
    vocabulary.scores = Some(Cow::Owned(scores));
    Some(vocabulary)
}
