//! Finding special tokens in text, and knowing which of them end an answer.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::error::{Result, TextError};
use crate::pieces::SpellingIndex;

/// Finds a set of token texts; where several match, the leftmost, and of those the longest.
#[derive(Debug, Clone)]
pub(crate) struct SpecialMatcher {
    automaton: AhoCorasick,
    found: Vec<SpecialToken>,
}

/// A token that is found as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpecialToken {
    pub(crate) id: u32,
    /// White space after the token belongs to it and is dropped.
    pub(crate) takes_space_after: bool,
}

/// Part of a text: ordinary text or a special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

impl SpecialMatcher {
    /// `None` when there is nothing to find.
    pub(crate) fn new<'t>(tokens: impl Iterator<Item = (SpecialToken, &'t [u8])>) -> Result<Option<Self>> {
        let (found, texts): (Vec<_>, Vec<_>) = tokens.filter(|(_, text)| !text.is_empty()).unzip();
        if found.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(texts)
            .map_err(|_| TextError::VocabTooLarge {
                what: "special tokens",
                found: found.len(),
                limit: u32::MAX as usize,
            })?;
        Ok(Some(Self { automaton, found }))
    }

    /// Whether a token of the set takes the white space after it.
    pub(crate) fn takes_space_after(&self, id: u32) -> bool {
        self.found.iter().any(|token| token.id == id && token.takes_space_after)
    }

    /// Cuts `text` at special tokens.
    pub(crate) fn fragments<'t>(
        &self,
        text: &'t str,
        mut emit: impl FnMut(Fragment<'t>) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        for found in self.automaton.find_iter(text) {
            let token = self.found[found.pattern().as_usize()];
            // A match inside white space that the token before took is gone with it.
            if found.start() < at {
                continue;
            }
            // Invalid UTF-8 in a vocabulary could match inside a character; that is no occurrence.
            let (Some(before), true) = (text.get(at..found.start()), text.is_char_boundary(found.end()))
            else {
                continue;
            };
            if !before.is_empty() {
                emit(Fragment::Text(before))?;
            }
            emit(Fragment::Token(token.id))?;
            at = found.end();
            if token.takes_space_after {
                let rest = &text[at..];
                at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']).len();
            }
        }
        if at < text.len() {
            emit(Fragment::Text(&text[at..]))?;
        }
        Ok(())
    }
}

/// Texts of tokens that end an answer in the published models. Files name only one or two by id, and chat
/// models often end a turn with another, so the text decides, as in llama.cpp.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    // Fill-in-the-middle models end a file or a repository with these.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// The ids in `named` and those whose text is known to end an answer, sorted.
pub(crate) fn end_ids(named: impl Iterator<Item = u32>, id_of: impl Fn(&str) -> Option<u32>) -> Vec<u32> {
    let mut ids: Vec<u32> = named.chain(END_TEXTS.iter().filter_map(|text| id_of(text))).collect();
    let mut drop_text = |text: &str| {
        if let Some(id) = id_of(text) {
            ids.retain(|&other| other != id);
        }
    };
    let has = |text: &str| id_of(text).is_some();
    // In the harmony format and in Solar, <|end|> ends one message of several in the same answer.
    if (has("<|return|>") && has("<|call|>")) || ((has("<|calls|>") || has("<|call|>")) && has("<|flush|>")) {
        drop_text("<|end|>");
    }
    // There </s> is an ordinary tag of marked-up text.
    if has("<|tool_response>") {
        drop_text("</s>");
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Ids of end texts, for raising their kind to control where a converter forgot it.
pub(crate) fn control_looking(spellings: &SpellingIndex<'_, '_>) -> Vec<u32> {
    END_TEXTS.iter().filter_map(|text| spellings.find(text.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(texts: &[(&str, bool)], text: &str) -> Vec<String> {
        let tokens = texts.iter().enumerate().map(|(id, &(text, takes_space_after))| {
            (SpecialToken { id: id as u32, takes_space_after }, text.as_bytes())
        });
        let mut out = Vec::new();
        SpecialMatcher::new(tokens)
            .unwrap()
            .unwrap()
            .fragments(text, |fragment| {
                out.push(format!("{fragment:?}"));
                Ok(())
            })
            .unwrap();
        out
    }

    #[test]
    fn longest_special_token_wins() {
        let runs = [("\n", false), ("\n\n\n", false), ("\n\n", false)];
        assert_eq!(cut(&runs, "a\n\n\n\n\n"), ["Text(\"a\")", "Token(1)", "Token(2)"]);
    }

    #[test]
    fn a_token_may_take_the_white_space_after_it() {
        let tags = [("<|user|>", true), ("<s>", false)];
        assert_eq!(cut(&tags, "<s> <|user|>\n hi"), ["Token(1)", "Text(\" \")", "Token(0)", "Text(\"hi\")"]);
    }

    #[test]
    fn message_end_of_harmony_does_not_end_the_answer() {
        let harmony = ["<|return|>", "<|call|>", "<|end|>"];
        let id_of = |text: &str| harmony.iter().position(|&t| t == text).map(|id| id as u32);
        assert_eq!(end_ids([0].into_iter(), id_of), [0, 1]);
        let phi = |text: &str| (text == "<|end|>").then_some(7);
        assert_eq!(end_ids([3].into_iter(), phi), [3, 7]);
    }
}
