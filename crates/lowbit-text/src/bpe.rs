//! Byte-level BPE: text is cut into words, each word is its bytes, and byte pairs merge by rank.

use std::collections::HashMap;

use hashbrown::DefaultHashBuilder;

use crate::error::{Result, TextError};
use crate::merge::{Merge, Merger, Symbol};
use crate::pieces::{PieceTable, SpellingIndex};
use crate::pretokenize::Splitter;
use crate::pretokenizers::PreTokenizer;
use crate::tokenizer::WordMemory;
use crate::vocab::printable;

/// The encoder of a byte-level vocabulary.
#[derive(Debug, Clone)]
pub(crate) struct BytePairs {
    splitter: Splitter,
    whole_words_first: bool,
    byte_ids: Box<[Option<u32>; 256]>,
    merges: HashMap<(u32, u32), Merge, DefaultHashBuilder>,
}

impl BytePairs {
    /// `merges` in order of rank, in the spelling of the file.
    pub(crate) fn new(
        pre: &PreTokenizer,
        merges: &[&[u8]],
        spellings: &SpellingIndex<'_, '_>,
        pieces: &PieceTable,
    ) -> Result<Self> {
        let mut table = HashMap::with_capacity_and_hasher(merges.len(), DefaultHashBuilder::default());
        let mut joined = Vec::new();
        for (index, &merge) in merges.iter().enumerate() {
            let (left, right) =
                split_merge(merge).ok_or_else(|| TextError::BadMerge { index, merge: printable(merge) })?;
            joined.clear();
            joined.extend_from_slice(left);
            joined.extend_from_slice(right);
            let id = |token: &[u8]| {
                spellings.find(token).ok_or_else(|| TextError::UnknownMergeToken {
                    index,
                    merge: printable(merge),
                    token: printable(token),
                })
            };
            let pair = (id(left)?, id(right)?);
            let merge = Merge { rank: index as u32, id: id(&joined)? };
            // A pair listed twice keeps its first, better rank.
            table.entry(pair).or_insert(merge);
        }
        Ok(Self {
            splitter: Splitter::new(pre.stages),
            whole_words_first: pre.whole_words_first,
            byte_ids: Box::new(std::array::from_fn(|byte| pieces.find(&[byte as u8]))),
            merges: table,
        })
    }

    /// Appends the ids of `text`, which is at most `u32::MAX - 1` bytes.
    pub(crate) fn encode<'t>(
        &self,
        pieces: &PieceTable,
        unk: Option<u32>,
        text: &'t str,
        words: &mut WordMemory<'t>,
    ) -> Result<()> {
        let mut failed = None;
        self.splitter.split(text, &mut |word| {
            if failed.is_none() {
                failed = words
                    .recall_or(word, |merger, out| self.encode_word(pieces, unk, word, merger, out))
                    .err();
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn encode_word(
        &self,
        pieces: &PieceTable,
        unk: Option<u32>,
        word: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let bytes = word.as_bytes();
        if self.whole_words_first
            && let Some(id) = pieces.find(bytes)
        {
            out.push(id);
            return Ok(());
        }
        let symbols = bytes.iter().enumerate().map(|(at, &byte)| Symbol {
            id: self.byte_ids[byte as usize],
            start: at as u32,
            len: 1,
        });
        let mut lost = None;
        let lookup = |left: Symbol, right: Symbol| self.merges.get(&(left.id?, right.id?)).copied();
        merger.run(symbols, lookup, |symbol| match symbol.id.or(unk) {
            Some(id) => out.push(id),
            None => lost = Some(bytes[symbol.start as usize]),
        });
        match lost {
            None => Ok(()),
            Some(byte) => Err(TextError::Unencodable { text: format!("byte 0x{byte:02X}") }),
        }
    }
}

/// The two tokens of a merge. The space between is the first one that is not the first byte: a token may
/// begin with a space in vocabularies that do not spell bytes.
pub(crate) fn split_merge(merge: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = 1 + merge.get(1..)?.iter().position(|&byte| byte == b' ')?;
    let (left, right) = (&merge[..space], &merge[space + 1..]);
    (!right.is_empty()).then_some((left, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_two_tokens_with_a_space_between() {
        assert_eq!(split_merge("Ġ t".as_bytes()), Some(("Ġ".as_bytes(), &b"t"[..])));
        assert_eq!(split_merge(b"  a"), Some((&b" "[..], &b"a"[..])));
        for bad in ["", "a", "ab", "a ", " a"] {
            assert_eq!(split_merge(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
