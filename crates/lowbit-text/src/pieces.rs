//! The bytes every token stands for, in one arena, and the way back from bytes to id.
//!
//! A hundred thousand small strings cost more in headers and allocator slack than in text, so the text lies end
//! to end in one vector and the index holds only ids: hashing and comparing look into the arena.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::vocab::TokenKind;

/// What each id stands for; byte-level and `▁` spelling already undone.
#[derive(Debug, Clone)]
pub(crate) struct PieceTable {
    arena: Vec<u8>,
    /// Where each piece ends; it starts where the one before ends.
    ends: Vec<u32>,
    kinds: Vec<TokenKind>,
    /// Ids of the pieces that ordinary text may turn into.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    longest: usize,
}

impl PieceTable {
    pub(crate) fn with_capacity(pieces: usize, bytes: usize) -> Self {
        Self {
            arena: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(pieces),
            kinds: Vec::with_capacity(pieces),
            index: HashTable::with_capacity(pieces),
            hasher: DefaultHashBuilder::default(),
            longest: 0,
        }
    }

    /// Adds the next id; `fill` appends its bytes.
    pub(crate) fn push_with(&mut self, kind: TokenKind, fill: impl FnOnce(&mut Vec<u8>)) -> u32 {
        fill(&mut self.arena);
        self.ends.push(self.arena.len() as u32);
        self.kinds.push(kind);
        (self.ends.len() - 1) as u32
    }

    /// Lets text turn into this piece. Where two ids have the same bytes, the first normal one is meant.
    pub(crate) fn make_findable(&mut self, id: u32) {
        let Self { arena, ends, kinds, index, hasher, longest } = self;
        let bytes = slice(arena, ends, id);
        if bytes.is_empty() {
            return;
        }
        *longest = (*longest).max(bytes.len());
        let hash = hasher.hash_one(bytes);
        if let Some(other) = index.find_mut(hash, |&other| slice(arena, ends, other) == bytes) {
            if kinds[*other as usize] != TokenKind::Normal && kinds[id as usize] == TokenKind::Normal {
                *other = id;
            }
            return;
        }
        index.insert_unique(hash, id, |&other| hasher.hash_one(slice(arena, ends, other)));
    }

    /// The findable piece with exactly these bytes.
    #[inline]
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<u32> {
        // Without this the hash of every pair in a long run would read the whole run.
        if bytes.len() > self.longest {
            return None;
        }
        self.index.find(self.hasher.hash_one(bytes), |&id| self.bytes(id) == bytes).copied()
    }

    /// The bytes of `id`, which must be in range.
    #[inline]
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        slice(&self.arena, &self.ends, id)
    }

    pub(crate) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The length in bytes of the longest findable piece.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    pub(crate) fn shrink(&mut self) {
        self.arena.shrink_to_fit();
    }
}

fn slice<'a>(arena: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] as usize };
    &arena[start..ends[id] as usize]
}

/// Ids by the text of tokens as spelt in the file; lives only while a tokenizer is built.
pub(crate) struct SpellingIndex<'v, 'a> {
    tokens: &'v [&'a [u8]],
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<'v, 'a> SpellingIndex<'v, 'a> {
    /// Fails with the two ids that share a spelling. Empty tokens are places, not spellings.
    pub(crate) fn new(tokens: &'v [&'a [u8]]) -> Result<Self, (u32, u32)> {
        let hasher = DefaultHashBuilder::default();
        let mut index = HashTable::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate().filter(|(_, token)| !token.is_empty()) {
            let hash = hasher.hash_one(token);
            if let Some(&first) = index.find(hash, |&other: &u32| tokens[other as usize] == *token) {
                return Err((first, id as u32));
            }
            index.insert_unique(hash, id as u32, |&other| hasher.hash_one(tokens[other as usize]));
        }
        Ok(Self { tokens, index, hasher })
    }

    pub(crate) fn find(&self, spelling: &[u8]) -> Option<u32> {
        self.index.find(self.hasher.hash_one(spelling), |&id| self.tokens[id as usize] == spelling).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normal_piece_is_found_before_another_kind_with_the_same_bytes() {
        let mut table = PieceTable::with_capacity(2, 8);
        let user = table.push_with(TokenKind::UserDefined, |arena| arena.extend(b"ab"));
        let normal = table.push_with(TokenKind::Normal, |arena| arena.extend(b"ab"));
        table.make_findable(user);
        assert_eq!(table.find(b"ab"), Some(user));
        table.make_findable(normal);
        assert_eq!(table.find(b"ab"), Some(normal));
        assert_eq!(table.find(b"a"), None);
        assert_eq!(table.bytes(user), b"ab");
    }
}
