//! SentencePiece BPE: characters merge into whatever makes a token, best score first; what is left without a
//! token becomes byte tokens. llama2.c's vocabularies work the same way.
//!
//! SentencePiece writes spaces as `▁`. Here pieces are stored with real spaces and a `▁` in the text counts as
//! a space, which comes to the same and needs no second spelling of every piece.

use crate::error::{Result, TextError};
use crate::merge::{Merge, Merger, Symbol};
use crate::pieces::PieceTable;
use crate::tokenizer::WordMemory;

/// The encoder of a SentencePiece BPE vocabulary.
#[derive(Debug, Clone)]
pub(crate) struct ScoredPairs {
    /// The rank of each token: lower for a higher score.
    ranks: Vec<u32>,
    byte_ids: Box<[Option<u32>; 256]>,
    /// The bytes that have a space after them inside some token. Nothing merges across a space after any other
    /// byte, so text may be cut there; a rare token such as `> </` must not make whole texts one word.
    before_space: Box<[bool; 256]>,
}

impl ScoredPairs {
    pub(crate) fn new(scores: &[f32], byte_ids: [Option<u32>; 256], pieces: &PieceTable) -> Self {
        let mut before_space = [false; 256];
        for id in 0..pieces.len() as u32 {
            let pairs = pieces.bytes(id).windows(2);
            pairs.filter(|pair| pair[1] == b' ').for_each(|pair| before_space[pair[0] as usize] = true);
        }
        // Runs of spaces are kept whole in any case.
        before_space[b' ' as usize] = true;
        Self {
            ranks: scores.iter().map(|&score| rank_of(score)).collect(),
            byte_ids: Box::new(byte_ids),
            before_space: Box::new(before_space),
        }
    }

    /// Appends the ids of `text`, in which spaces are spaces and not `▁`.
    pub(crate) fn encode<'t>(
        &self,
        pieces: &PieceTable,
        unk: Option<u32>,
        text: &'t str,
        words: &mut WordMemory<'t>,
    ) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let end = self.word_end(rest);
            let (word, after) = rest.split_at(end);
            words.recall_or(word, |merger, out| self.encode_word(pieces, unk, word, merger, out))?;
            rest = after;
        }
        Ok(())
    }

    /// Where the first word ends: before a space that no token has after the byte before it.
    fn word_end(&self, text: &str) -> usize {
        let mut pairs = text.as_bytes().windows(2);
        let cut = pairs.position(|pair| pair[1] == b' ' && !self.before_space[pair[0] as usize]);
        cut.map_or(text.len(), |at| at + 1)
    }

    fn encode_word(
        &self,
        pieces: &PieceTable,
        unk: Option<u32>,
        word: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let span = |start: u32, len: u32| &word.as_bytes()[start as usize..(start + len) as usize];
        let symbols = word.char_indices().map(|(at, c)| {
            let (start, len) = (at as u32, c.len_utf8() as u32);
            Symbol { id: pieces.find(span(start, len)), start, len }
        });
        let lookup = |left: Symbol, right: Symbol| {
            let id = pieces.find(span(left.start, left.len + right.len))?;
            Some(Merge { rank: self.ranks[id as usize], id })
        };
        let mut result = Ok(());
        merger.run(symbols, lookup, |symbol| match symbol.id {
            Some(id) => out.push(id),
            None if result.is_ok() => {
                result = self.spell_out(span(symbol.start, symbol.len), unk, out);
            }
            None => {}
        });
        result
    }

    /// A character without a token: its byte tokens, or the unknown token where some byte has none.
    fn spell_out(&self, character: &[u8], unk: Option<u32>, out: &mut Vec<u32>) -> Result<()> {
        let before = out.len();
        for &byte in character {
            match self.byte_ids[byte as usize] {
                Some(id) => out.push(id),
                None => {
                    out.truncate(before);
                    let text = || String::from_utf8_lossy(character).into_owned();
                    out.push(unk.ok_or_else(|| TextError::Unencodable { text: text() })?);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Integers ordered as the (finite) scores, turned round: the best score is the lowest rank.
fn rank_of(score: f32) -> u32 {
    // Both zeros are the same score.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_scores_have_lower_ranks() {
        let scores = [f32::MAX, 1.5, 0.0, -0.5, -1000.0, f32::MIN];
        let ranks: Vec<u32> = scores.iter().map(|&score| rank_of(score)).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert_eq!(rank_of(-0.0), rank_of(0.0));
    }

    #[test]
    fn text_is_cut_before_spaces_that_no_token_joins() {
        let mut pieces = PieceTable::with_capacity(2, 8);
        for text in ["> </", " a"] {
            let id = pieces.push_with(crate::vocab::TokenKind::Normal, |arena| arena.extend(text.bytes()));
            pieces.make_findable(id);
        }
        let spm = ScoredPairs::new(&[0.0, 0.0], [None; 256], &pieces);
        for (text, end) in [("  a b", 3), ("ab", 2), ("   ", 3), ("> </ b", 4), (" a> b c", 5)] {
            assert_eq!(spm.word_end(text), end, "{text:?}");
        }
    }
}
