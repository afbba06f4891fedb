//! Sequence breakers of DRY as token sequences.
//!
//! A breaker is a text, and tokens do not respect its borders: it may lie inside one token, or begin in the middle
//! of one and go on in the next. As in llama.cpp (after pi6am, koboldcpp pull request 982) it is turned into all
//! sequences that cover it: each token that contains it, and each token that ends with a beginning of it, followed by
//! the encoding of what is left.

use std::collections::HashMap;

use super::error::SamplerError;
use super::vocab::Vocab;

/// All token sequences that stand for the breakers.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    /// First token to the tokens that must follow it, longest first.
    tails: HashMap<u32, Vec<Vec<u32>>>,
}

impl Breakers {
    /// Looks at every token of the vocabulary for each breaker.
    pub(super) fn resolve(texts: &[String], vocab: &dyn Vocab) -> Result<Self, SamplerError> {
        let mut breakers = Self::default();
        for text in texts {
            let mut found = false;
            for id in 0..vocab.size() as u32 {
                for tail in tails_after(&vocab.piece(id), text, vocab) {
                    breakers.insert(id, tail);
                    found = true;
                }
            }
            if !found {
                return Err(SamplerError::UnresolvedBreaker { breaker: text.clone() });
            }
        }
        Ok(breakers)
    }

    fn insert(&mut self, head: u32, tail: Vec<u32>) {
        let tails = self.tails.entry(head).or_default();
        if !tails.contains(&tail) {
            let place = tails.partition_point(|other| other.len() >= tail.len());
            tails.insert(place, tail);
        }
    }

    /// Whether the token is a breaker by itself.
    pub(super) fn is_one_token(&self, id: u32) -> bool {
        self.tails.get(&id).is_some_and(|tails| tails.iter().any(Vec::is_empty))
    }

    /// Number of tokens after the last breaker in `window`; all of them if there is none.
    ///
    /// The last breaker is the one whose first token comes last, and among those that start there the longest.
    pub(super) fn tokens_after_last(&self, window: &[u32]) -> usize {
        if self.tails.is_empty() {
            return window.len();
        }
        for (start, head) in window.iter().enumerate().rev() {
            let rest = &window[start + 1..];
            let tails = self.tails.get(head).into_iter().flatten();
            if let Some(tail) = tails.into_iter().find(|tail| rest.starts_with(tail)) {
                return rest.len() - tail.len();
            }
        }
        window.len()
    }
}

/// What must follow a token with these bytes for the two to cover `breaker`.
fn tails_after(piece: &[u8], breaker: &str, vocab: &dyn Vocab) -> Vec<Vec<u32>> {
    let bytes = breaker.as_bytes();
    if piece.windows(bytes.len()).any(|part| part == bytes) {
        return vec![Vec::new()];
    }
    (1..bytes.len().min(piece.len() + 1))
        .filter(|&length| piece.ends_with(&bytes[..length]))
        // A rest that begins inside a character has no encoding of its own.
        .filter_map(|length| breaker.get(length..))
        .map(|rest| vocab.encode(rest))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Words;
    use super::*;

    fn resolve(texts: &[&str], vocab: &Words) -> Result<Breakers, SamplerError> {
        Breakers::resolve(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), vocab)
    }

    #[test]
    fn a_breaker_inside_a_token_and_one_across_tokens() {
        let vocab = Words(&["a", "x\ny", "<", "<|", "|>", "a<", ">", "|"]);
        let breakers = resolve(&["\n", "<|>"], &vocab).unwrap();
        assert!(breakers.is_one_token(1));
        assert!(!breakers.is_one_token(2));
        // "<" + "|>", "<|" + ">", "a<" + "|>".
        for sequence in [&[2u32, 4][..], &[3, 6], &[5, 4]] {
            let window = [&[0, 0], sequence, &[0]].concat();
            assert_eq!(breakers.tokens_after_last(&window), 1, "{sequence:?}");
        }
        assert_eq!(breakers.tokens_after_last(&[0, 2, 6, 0]), 4, "an incomplete sequence breaks nothing");
        assert_eq!(breakers.tokens_after_last(&[1, 0, 1, 0, 0]), 2, "the last one counts");
        assert_eq!(breakers.tokens_after_last(&[]), 0);
    }

    #[test]
    fn a_breaker_no_token_begins_is_refused() {
        let error = resolve(&["%"], &Words(&["a", "b"])).unwrap_err();
        assert_eq!(error, SamplerError::UnresolvedBreaker { breaker: "%".to_owned() });
    }

    #[test]
    fn a_rest_inside_a_character_is_skipped() {
        // The token ends with the first byte of "é"; what is left is no text.
        struct Bytes;
        impl Vocab for Bytes {
            fn size(&self) -> usize {
                2
            }
            fn piece(&self, id: u32) -> std::borrow::Cow<'_, [u8]> {
                [&b"\xc3"[..], "é".as_bytes()][id as usize].into()
            }
            fn encode(&self, _: &str) -> Vec<u32> {
                unreachable!("no rest of é is a text")
            }
        }
        let breakers = Breakers::resolve(&["é".to_owned()], &Bytes).unwrap();
        assert!(breakers.is_one_token(1) && !breakers.is_one_token(0));
    }
}
