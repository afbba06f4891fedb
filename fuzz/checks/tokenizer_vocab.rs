//! One input of the target `tokenizer_vocab`: how it is read and what must hold. The target and the replay of its
//! corpus in lowbit-text's ordinary tests include this file both.
//!
//! Text input: a first line of model name, pre-tokenizer and whether BOS is added; a line for each token of a kind
//! digit, a letter for its score and its text; after an empty line the merges. Input that begins with `C` has before
//! that a character map, after its length in two bytes. Input that begins with `B` is a llama2.c file after a two-byte
//! count.

use lowbit_text::{Affixes, Result, SpecialText, SpecialTokens, TextError, Tokenizer, VocabData};
use std::borrow::Cow;

/// Panics where the crate does not do what it says for any bytes; `Err` is the vocabulary refused.
pub(crate) fn check(data: &[u8]) -> Result<()> {
    let tokenizer = match data {
        [b'B', low, high, file @ ..] => {
            Tokenizer::from_llama2c(file, usize::from(u16::from_le_bytes([*low, *high])))?
        }
        [b'C', low, high, rest @ ..] => {
            let (map, text) = rest
                .split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))
                .ok_or(TextError::BadCharsMap("the input ends inside it"))?;
            Tokenizer::from_vocab(&VocabData {
                precompiled_charsmap: Some(map),
                ..vocabulary(text).ok_or(TextError::EmptyVocab)?
            })?
        }
        _ => Tokenizer::from_vocab(&vocabulary(data).ok_or(TextError::EmptyVocab)?)?,
    };
    for text in ["ab  ba A", " a\u{e9}\u{1f600}\n<s>", ""] {
        for special in [SpecialTokens::Parse, SpecialTokens::AsText] {
            let Ok(ids) = tokenizer.encode(text, special, Affixes::Model) else { continue };
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len()));
            tokenizer.decode(&ids, SpecialText::Show).expect("its own ids are known to it");
        }
    }
    Ok(())
}

/// `None` for bytes that are not in the form above.
fn vocabulary(data: &[u8]) -> Option<VocabData<'_>> {
    let mut lines = data.split(|b| *b == b'\n');
    let mut head = str::from_utf8(lines.next()?).ok()?.split(' ');
    let mut vocabulary = VocabData {
        model: head.next()?,
        pre: head.next().filter(|pre| *pre != "-"),
        add_bos: head.next().map(|flag| flag == "1"),
        bos: Some(1),
        // Unigram vocabularies add it to every text and are refused without.
        eos: Some(1),
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
