//! Cutting text into words before byte-level BPE, with the patterns of the named pre-tokenizers.
//!
//! A pre-tokenizer is a list of stages; each cuts every piece of the stage before into matches and the gaps
//! between them. A stage is a list of alternatives, the first that matches wins. All published patterns are
//! regular but for one look-ahead, `\s+(?!\S)`: a run of white space gives up its last character when a word
//! follows. That is [`SPACES`] here, matched as `\s+` and shortened afterwards, so that a finite automaton
//! suffices: time is linear in the text whatever the text is.

use regex_automata::meta::{self, Regex};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternID, nfa::thompson::WhichCaptures};

/// The alternative `\s+(?!\S)|\s+`.
pub(crate) const SPACES: &str = r"\s+(?!\S)|\s+";

/// A compiled pre-tokenizer.
#[derive(Debug, Clone)]
pub(crate) struct Splitter {
    stages: Vec<Stage>,
}

#[derive(Debug, Clone)]
struct Stage {
    regex: Regex,
    /// Which pattern is [`SPACES`].
    spaces: Option<PatternID>,
}

impl Splitter {
    /// Compiles patterns of this crate's own table.
    ///
    /// # Panics
    /// If a pattern is malformed, which the test over the whole table excludes.
    pub(crate) fn new(stages: &[&[&str]]) -> Self {
        Self { stages: stages.iter().map(|alternatives| Stage::new(alternatives)).collect() }
    }

    /// Gives the pieces of `text` in order; joined they are `text` again.
    pub(crate) fn split<'t>(&self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        split_from(&self.stages, text, emit);
    }
}

fn split_from<'t>(stages: &[Stage], text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    match stages {
        [] => emit(text),
        [last] => last.split(text, emit),
        [first, rest @ ..] => first.split(text, &mut |piece| split_from(rest, piece, emit)),
    }
}

impl Stage {
    fn new(alternatives: &[&str]) -> Self {
        let spaces = alternatives.iter().position(|&pattern| pattern == SPACES);
        let patterns: Vec<&str> =
            alternatives.iter().map(|&pattern| if pattern == SPACES { r"\s+" } else { pattern }).collect();
        let regex = Regex::builder()
            .configure(
                meta::Config::new()
                    .match_kind(MatchKind::LeftmostFirst)
                    .which_captures(WhichCaptures::Implicit),
            )
            .syntax(syntax::Config::new())
            .build_many(&patterns)
            .expect("the patterns of the table compile");
        Self { regex, spaces: spaces.map(PatternID::must) }
    }

    fn split<'t>(&self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        let mut at = 0;
        while at < text.len() {
            let (start, end) = self.next_match(text, at);
            if start > at {
                emit(&text[at..start]);
            }
            if end > start {
                emit(&text[start..end]);
            }
            at = end;
        }
    }

    /// The first match at or after `at`; an empty one at the end of `text` when there is none.
    fn next_match(&self, text: &str, at: usize) -> (usize, usize) {
        let input = Input::new(text).range(at..);
        // Nearly every match starts where the last ended; asking for that first needs no search for the start.
        let here = self.regex.search_half(&input.clone().anchored(Anchored::Yes));
        let (pattern, start, end) = match here {
            Some(found) => (found.pattern(), at, found.offset()),
            None => match self.regex.search(&input) {
                Some(found) => (found.pattern(), found.start(), found.end()),
                None => return (text.len(), text.len()),
            },
        };
        if Some(pattern) == self.spaces && end < text.len() {
            let last = text[start..end].chars().next_back().map_or(0, char::len_utf8);
            if end - start > last {
                return (start, end - last);
            }
        }
        (start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'t>(stages: &[&[&str]], text: &'t str) -> Vec<&'t str> {
        let mut out = Vec::new();
        Splitter::new(stages).split(text, &mut |piece| out.push(piece));
        out
    }

    #[test]
    fn white_space_leaves_its_last_character_to_the_word_after_it() {
        let words: &[&[&str]] = &[&[r" ?\p{L}+", SPACES]];
        assert_eq!(pieces(words, "a   b"), ["a", "  ", " b"]);
        assert_eq!(pieces(words, "a\t\tb"), ["a", "\t", "\t", "b"]);
        assert_eq!(pieces(words, "a \u{2003}b  "), ["a", " ", "\u{2003}", "b", "  "]);
        assert_eq!(pieces(words, ""), [""; 0]);
    }

    #[test]
    fn gaps_are_pieces_and_stages_cut_pieces_of_the_stage_before() {
        assert_eq!(pieces(&[&[r"\p{N}"]], "ab12c"), ["ab", "1", "2", "c"]);
        // The second stage sees "x  " alone: its white space ends there and keeps its last character.
        assert_eq!(pieces(&[&[r"\p{N}"], &[r"\p{L}+", SPACES]], "x  1"), ["x", "  ", "1"]);
    }
}
