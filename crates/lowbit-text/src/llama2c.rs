//! llama2.c's tokenizer file: the tokens of a SentencePiece BPE vocabulary with their scores.
//!
//! Little-endian: an `i32` with the length of the longest token, then for each token an `f32` score, an `i32`
//! length and that many bytes. Id 0 is the unknown token, 1 and 2 are BOS and EOS, 3 to 258 the 256 bytes.
//! Spaces are spaces, not `▁`.

use std::borrow::Cow;

use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;
use crate::vocab::{VocabData, parse_byte_token, printable};

/// Unknown, BOS, EOS and the bytes.
const FIXED_TOKENS: usize = 259;

impl Tokenizer {
    /// A tokenizer from the bytes of a llama2.c tokenizer file such as `tok512.bin`. `vocab_len` is the number
    /// of tokens that the model has; the file does not say and must have exactly as many.
    pub fn from_llama2c(file: &[u8], vocab_len: usize) -> Result<Self> {
        let (scores, mut tokens) = read_tokens(file)?;
        if tokens.len() != vocab_len {
            return Err(bad(format!("it has {} tokens, expected {vocab_len} as in the model", tokens.len())));
        }
        if tokens.len() < FIXED_TOKENS {
            return Err(bad(format!("it has {} tokens, expected at least {FIXED_TOKENS}", tokens.len())));
        }
        for byte in 0..=255u8 {
            let id = 3 + byte as usize;
            if parse_byte_token(tokens[id]) != Some(byte) {
                return Err(bad(format!(
                    "token {id} is '{}', expected '<0x{byte:02X}>'",
                    printable(tokens[id])
                )));
            }
        }
        // The file writes BOS and EOS with line ends around them.
        tokens[1] = b"<s>";
        tokens[2] = b"</s>";
        let kinds = (0..tokens.len()).map(|id| match id {
            0 => 2,
            1 | 2 => 3,
            3..FIXED_TOKENS => 6,
            _ => 1,
        });
        Self::from_vocab(&VocabData {
            model: "llama",
            kinds: Some(Cow::Owned(kinds.collect())),
            tokens,
            scores: Some(Cow::Owned(scores)),
            bos: Some(1),
            eos: Some(2),
            unk: Some(0),
            add_bos: Some(true),
            add_eos: Some(false),
            add_space_prefix: Some(true),
            ..VocabData::default()
        })
    }
}

fn read_tokens(file: &[u8]) -> Result<(Vec<f32>, Vec<&[u8]>)> {
    let cut = |at: usize| bad(format!("it ends inside token {at}"));
    let (_, mut rest) = file.split_first_chunk::<4>().ok_or_else(|| bad("it has no header".into()))?;
    let mut scores = Vec::new();
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let at = tokens.len();
        let (score, after) = rest.split_first_chunk::<4>().ok_or_else(|| cut(at))?;
        let (len, after) = after.split_first_chunk::<4>().ok_or_else(|| cut(at))?;
        let len = i32::from_le_bytes(*len);
        let (text, after) =
            usize::try_from(len).ok().and_then(|len| after.split_at_checked(len)).ok_or_else(|| {
                bad(format!("token {at} says it has {len} bytes, but {} are left", after.len()))
            })?;
        scores.push(f32::from_le_bytes(*score));
        tokens.push(text);
        rest = after;
    }
    Ok((scores, tokens))
}

fn bad(reason: String) -> TextError {
    TextError::BadFile { file: "the llama2.c tokenizer", reason }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stream::SpecialText;
    use crate::tokenizer::{Affixes, SpecialTokens};

    fn file(extra: &[(&str, f32)]) -> Vec<u8> {
        let mut out = 7i32.to_le_bytes().to_vec();
        let mut push = |text: &[u8], score: f32| {
            out.extend(score.to_le_bytes());
            out.extend((text.len() as i32).to_le_bytes());
            out.extend(text);
        };
        push(b"<unk>", 0.0);
        push(b"\n<s>\n", 0.0);
        push(b"\n</s>\n", 0.0);
        for byte in 0..=255u8 {
            push(format!("<0x{byte:02X}>").as_bytes(), 0.0);
        }
        extra.iter().for_each(|&(text, score)| push(text.as_bytes(), score));
        out
    }

    /// A tokenizer with the 256 bytes and nothing else; byte `b` is id `b + 3`.
    pub(crate) fn byte_tokenizer() -> Tokenizer {
        Tokenizer::from_llama2c(&file(&[]), FIXED_TOKENS).unwrap()
    }

    #[test]
    fn best_scores_merge_first_and_the_rest_is_bytes() {
        let tokens = [(" ", -9.0), ("a", -9.0), ("b", -9.0), ("ab", -2.0), (" a", -1.0), ("ba", -1.5)];
        let tokenizer = Tokenizer::from_llama2c(&file(&tokens), 265).unwrap();
        let ids = tokenizer.encode("aba é", SpecialTokens::AsText, Affixes::Model).unwrap();
        // " aba é": " a" merges before "ab" would, then "ba"; "é" has no token and becomes two bytes.
        assert_eq!(ids, [1, 263, 264, 259, 3 + 0xC3, 3 + 0xA9]);
        assert_eq!(tokenizer.decode(&ids, SpecialText::Hide).unwrap(), "aba é");
    }

    #[test]
    fn damaged_files_get_their_own_error() {
        let good = file(&[]);
        let error = |bytes: &[u8], len| Tokenizer::from_llama2c(bytes, len).unwrap_err().to_string();
        assert!(error(&good, 512).contains("has 259 tokens, expected 512"));
        assert!(error(&good[..3], 259).contains("no header"));
        assert!(
            error(&good[..good.len() - 1], 259).contains("token 258 says it has 6 bytes, but 5 are left")
        );
        assert!(error(&good[..7], 259).contains("ends inside token 0"));
        let mut swapped = good.clone();
        let at = swapped.windows(6).position(|w| w == b"<0x41>").unwrap();
        swapped[at + 4] = b'2';
        assert!(error(&swapped, 259).contains("expected '<0x41>'"));
        let mut negative = good;
        negative[8..12].copy_from_slice(&(-1i32).to_le_bytes());
        assert!(error(&negative, 259).contains("says it has -1 bytes"));
    }
}
