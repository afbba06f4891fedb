//! SentencePiece unigram: of all ways to cut the text into tokens, the one with the highest sum of scores.

use crate::charsmap::CharsMap;
use crate::error::{Result, TextError};
use crate::pieces::PieceTable;
use crate::vocab::TokenKind;

/// What an unknown character costs beyond the worst token, as in SentencePiece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// The encoder of a unigram vocabulary.
#[derive(Debug, Clone)]
pub(crate) struct Unigram {
    scores: Vec<f32>,
    unknown_score: f64,
    charsmap: CharsMap,
    pub(crate) spaces: UnigramSpaces,
}

/// What normalization does to spaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnigramSpaces {
    /// A space is put before the first word.
    pub(crate) prefix: bool,
    /// Runs of spaces become one, and those at the ends vanish.
    pub(crate) merge: bool,
}

#[derive(Debug, Clone, Copy)]
struct Best {
    id: Option<u32>,
    start: usize,
    score: f64,
}

impl Unigram {
    pub(crate) fn new(
        scores: Vec<f32>,
        charsmap: CharsMap,
        spaces: UnigramSpaces,
        pieces: &PieceTable,
    ) -> Self {
        let worst = (0..pieces.len() as u32)
            .filter(|&id| pieces.kind(id) == Some(TokenKind::Normal))
            .map(|id| f64::from(scores[id as usize]))
            .fold(f64::INFINITY, f64::min);
        let worst = if worst.is_finite() { worst } else { 0.0 };
        Self { scores, unknown_score: worst - UNKNOWN_PENALTY, charsmap, spaces }
    }

    /// Appends the ids of `text`. Consecutive unknown characters give one unknown token.
    pub(crate) fn encode(
        &self,
        pieces: &PieceTable,
        unk: Option<u32>,
        text: &str,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let text = self.normalize(text);
        let unreached = Best { id: None, start: 0, score: f64::NEG_INFINITY };
        let mut best = vec![unreached; text.len() + 1];
        best[0].score = 0.0;
        for (start, c) in text.char_indices() {
            let here = best[start].score;
            let single = start + c.len_utf8();
            let mut single_found = false;
            let limit = (start + pieces.longest()).min(text.len());
            for end in single..=limit {
                let Some(piece) = text.get(start..end) else { continue };
                let Some(id) = pieces.find(piece.as_bytes()) else { continue };
                single_found |= end == single;
                let score = if pieces.kind(id) == Some(TokenKind::UserDefined) {
                    here
                } else {
                    here + f64::from(self.scores[id as usize])
                };
                if score > best[end].score {
                    best[end] = Best { id: Some(id), start, score };
                }
            }
            if !single_found && here + self.unknown_score > best[single].score {
                best[single] = Best { id: None, start, score: here + self.unknown_score };
            }
        }
        self.backtrack(&text, &best, unk, out)
    }

    fn backtrack(&self, text: &str, best: &[Best], unk: Option<u32>, out: &mut Vec<u32>) -> Result<()> {
        let first = out.len();
        let mut end = text.len();
        let mut after_unknown = false;
        while end > 0 {
            let Best { id, start, .. } = best[end];
            match (id, unk) {
                (Some(id), _) => out.push(id),
                (None, Some(_)) if after_unknown => {}
                (None, Some(unk)) => out.push(unk),
                (None, None) => return Err(TextError::Unencodable { text: text[start..end].to_owned() }),
            }
            after_unknown = id.is_none();
            end = start;
        }
        out[first..].reverse();
        Ok(())
    }

    fn normalize(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 1);
        let mut in_word = false;
        let mut prefixed = false;
        let mut push = |c: char| {
            if c == ' ' || c == '▁' {
                in_word = false;
                if !self.spaces.merge {
                    out.push(' ');
                }
                return;
            }
            if !in_word {
                in_word = true;
                let space = if self.spaces.merge {
                    self.spaces.prefix || !out.is_empty()
                } else {
                    self.spaces.prefix && !prefixed
                };
                if space {
                    out.push(' ');
                }
                prefixed = true;
            }
            out.push(c);
        };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let consumed = match self.charsmap.replace_prefix(rest) {
                Some((len, replacement)) => {
                    replacement.chars().for_each(&mut push);
                    len
                }
                None => {
                    push(c);
                    c.len_utf8()
                }
            };
            rest = &rest[consumed..];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(spaces: UnigramSpaces) -> (Unigram, PieceTable) {
        let tokens = [("?", 0.0), (" a", -2.0), ("b", -3.0), ("ab", -9.0), (" ", -4.0), ("a", -2.5)];
        let mut pieces = PieceTable::with_capacity(8, 8);
        for (id, (text, _)) in tokens.iter().enumerate() {
            let kind = if id == 0 { TokenKind::Unknown } else { TokenKind::Normal };
            let id = pieces.push_with(kind, |arena| arena.extend(text.bytes()));
            if id != 0 {
                pieces.make_findable(id);
            }
        }
        let scores = tokens.iter().map(|&(_, score)| score).collect();
        (Unigram::new(scores, CharsMap::default(), spaces, &pieces), pieces)
    }

    fn ids(spaces: UnigramSpaces, text: &str) -> Vec<u32> {
        let (unigram, pieces) = model(spaces);
        let mut out = Vec::new();
        unigram.encode(&pieces, Some(0), text, &mut out).unwrap();
        out
    }

    #[test]
    fn the_best_sum_of_scores_wins() {
        let plain = UnigramSpaces { prefix: false, merge: false };
        // "a" + "b" scores -5.5, "ab" -9.
        assert_eq!(ids(plain, "ab"), [5, 2]);
        assert_eq!(ids(plain, " ab"), [1, 2]);
        assert_eq!(ids(plain, ""), [0u32; 0]);
    }

    #[test]
    fn unknown_characters_in_a_row_are_one_unknown_token() {
        let plain = UnigramSpaces { prefix: false, merge: false };
        assert_eq!(ids(plain, "xyb漢"), [0, 2, 0]);
    }

    #[test]
    fn spaces_are_prefixed_and_merged_as_asked() {
        assert_eq!(ids(UnigramSpaces { prefix: true, merge: true }, "  a   a  "), [1, 1]);
        assert_eq!(ids(UnigramSpaces { prefix: true, merge: false }, "a"), [1]);
        assert_eq!(ids(UnigramSpaces { prefix: false, merge: false }, "a  "), [5, 4, 4]);
    }
}
