//! The tokenizer: text to ids and back, whatever algorithm the vocabulary needs.

use std::borrow::Cow;
use std::collections::HashMap;

use hashbrown::DefaultHashBuilder;

use crate::bpe::BytePairs;
use crate::error::{Result, TextError};
use crate::hf::HfEncoder;
use crate::merge::Merger;
use crate::pieces::PieceTable;
use crate::special::{Fragment, SpecialMatcher};
use crate::spm::ScoredPairs;
use crate::stream::{SpecialText, StreamDecoder, TextStart};
use crate::unigram::Unigram;
use crate::vocab::TokenKind;

/// What to do with text that spells a control token, such as `<|im_end|>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// It is text like any other: right for everything a user wrote.
    AsText,
    /// It is the token: right for what a chat template wrote.
    Parse,
}

/// Whether the tokens that the model expects at the ends of a text are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affixes {
    /// No token beyond the text: for a part of a text, or a rendered template, which writes its own.
    None,
    /// BOS and EOS where the vocabulary asks for them.
    Model,
}

/// Turns text into ids and ids into text. Immutable and shareable between threads.
#[derive(Debug)]
pub struct Tokenizer {
    pub(crate) pieces: PieceTable,
    pub(crate) encoder: Encoder,
    /// Finds user-defined tokens only.
    pub(crate) user_defined: Option<SpecialMatcher>,
    /// Finds user-defined and control tokens.
    pub(crate) all_special: Option<SpecialMatcher>,
    /// Ids of all tokens that are found as a whole.
    pub(crate) special_ids: Vec<u32>,
    pub(crate) named: NamedTokens,
    /// Sorted.
    pub(crate) end_ids: Vec<u32>,
    pub(crate) add_bos: bool,
    pub(crate) add_eos: bool,
    pub(crate) space_prefix: bool,
    pub(crate) chat_template: Option<String>,
}

/// The tokens with a role.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NamedTokens {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) unk: Option<u32>,
    pub(crate) pad: Option<u32>,
}

#[derive(Debug)]
pub(crate) enum Encoder {
    BytePairs(BytePairs),
    ScoredPairs(ScoredPairs),
    Unigram(Unigram),
    HuggingFace(Box<HfEncoder>),
}

/// Offsets inside a text are `u32`, and SentencePiece may add a space.
const MAX_TEXT_BYTES: usize = 1 << 30;

impl Tokenizer {
    /// The ids of `text`. Empty text has no ids but for the affixes.
    pub fn encode<'t>(&self, text: &'t str, special: SpecialTokens, affixes: Affixes) -> Result<Vec<u32>> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TextError::TextTooLong { found: text.len(), limit: MAX_TEXT_BYTES });
        }
        let mut words = WordMemory::with_capacity(text.len() / 4 + 2);
        let wanted = |role: Option<u32>, add: bool| role.filter(|_| add && affixes == Affixes::Model);
        words.ids.extend(wanted(self.named.bos, self.add_bos));
        if let Encoder::HuggingFace(encoder) = &self.encoder {
            encoder.encode(text, special, &mut words.ids)?;
        } else {
            let matcher = match special {
                SpecialTokens::AsText => &self.user_defined,
                SpecialTokens::Parse => &self.all_special,
            };
            // SentencePiece puts a space before the first word, also after a special token.
            let mut at_start = true;
            let mut add = |fragment: Fragment<'t>| {
                match fragment {
                    Fragment::Token(id) => {
                        words.ids.push(id);
                        at_start = true;
                    }
                    Fragment::Text(text) => {
                        self.encode_text(text, at_start, &mut words)?;
                        at_start = false;
                    }
                }
                Ok(())
            };
            match matcher {
                Some(matcher) => matcher.fragments(text, &mut add)?,
                None if text.is_empty() => {}
                None => add(Fragment::Text(text))?,
            }
        }
        let mut ids = words.ids;
        ids.extend(wanted(self.named.eos, self.add_eos));
        Ok(ids)
    }

    fn encode_text<'t>(&self, text: &'t str, at_start: bool, words: &mut WordMemory<'t>) -> Result<()> {
        let unk = self.named.unk;
        match &self.encoder {
            Encoder::BytePairs(bpe) => bpe.encode(&self.pieces, unk, text, words),
            Encoder::ScoredPairs(spm) => match with_spaces(text, self.space_prefix && at_start) {
                Cow::Borrowed(text) => spm.encode(&self.pieces, unk, text, words),
                // What is remembered of a changed text cannot outlive it.
                Cow::Owned(text) => {
                    let mut own =
                        WordMemory { ids: std::mem::take(&mut words.ids), ..WordMemory::with_capacity(0) };
                    let result = spm.encode(&self.pieces, unk, &text, &mut own);
                    words.ids = own.ids;
                    result
                }
            },
            Encoder::Unigram(unigram) => unigram.encode(&self.pieces, unk, text, &mut words.ids),
            Encoder::HuggingFace(_) => unreachable!("it encodes whole texts, special tokens included"),
        }
    }

    /// `text` with [`CUT`](Self::CUT) inside of everything that is written like a control token, so that what lies between
    /// two of them can be encoded without becoming one.
    pub fn cut_control_tokens<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut cut = Cow::Borrowed(text);
        if cut.contains(Self::CUT) {
            cut = cut.replace(Self::CUT, "").into();
        }
        let control = |id: &&u32| self.token_kind(**id).is_some_and(TokenKind::is_special);
        for id in self.special_ids.iter().filter(control) {
            let spelling =
                self.token_bytes(*id).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("");
            let mut characters = spelling.chars();
            if let Some(first) = characters.next()
                && !characters.as_str().is_empty()
                && cut.contains(spelling)
            {
                cut = cut.replace(spelling, &format!("{first}{}{}", Self::CUT, characters.as_str())).into();
            }
        }
        cut
    }

    /// A character that no text has: Unicode keeps it for programs' own use.
    pub const CUT: char = '\u{fdd0}';

    /// The text of `ids`. Bytes that are no UTF-8 become U+FFFD; a space that was put before the first word is
    /// taken away again.
    pub fn decode(&self, ids: &[u32], special: SpecialText) -> Result<String> {
        let mut decoder = StreamDecoder::new(special, TextStart::Beginning);
        let mut text = String::with_capacity(ids.len() * 4);
        for &id in ids {
            text.push_str(&decoder.push(self, id)?);
        }
        text.push_str(&decoder.finish());
        Ok(text)
    }

    /// How many ids there are.
    pub fn vocab_len(&self) -> usize {
        self.pieces.len()
    }

    /// The token that begins a text, if the vocabulary names one.
    pub fn bos(&self) -> Option<u32> {
        self.named.bos
    }

    /// The token that ends a text, if the vocabulary names one.
    pub fn eos(&self) -> Option<u32> {
        self.named.eos
    }

    /// The token for padding, if the vocabulary names one.
    pub fn pad(&self) -> Option<u32> {
        self.named.pad
    }

    /// The token that stands for unknown text, if the vocabulary names one.
    pub fn unk(&self) -> Option<u32> {
        self.named.unk
    }

    /// Whether [`Affixes::Model`] puts BOS before a text.
    pub fn adds_bos(&self) -> bool {
        self.add_bos && self.named.bos.is_some()
    }

    /// Whether [`Affixes::Model`] puts EOS after a text.
    pub fn adds_eos(&self) -> bool {
        self.add_eos && self.named.eos.is_some()
    }

    /// Whether the model says with this token that its answer is over: end of text, of turn or of message.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.end_ids.binary_search(&id).is_ok()
    }

    /// All tokens for which [`Tokenizer::is_end_of_generation`] holds, in ascending order.
    pub fn end_of_generation_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// The bytes a token stands for, spaces and bytes as themselves; control tokens as spelt. `None` if there
    /// is no such id. They need not be UTF-8: a character may be spread over several tokens.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.pieces.kind(id).map(|_| self.pieces.bytes(id))
    }

    /// What sort of token `id` is, `None` if there is no such id.
    pub fn token_kind(&self, id: u32) -> Option<TokenKind> {
        self.pieces.kind(id)
    }

    /// The token that stands for exactly this text (spaces as spaces), ordinary or special.
    pub fn id_for_text(&self, text: &str) -> Option<u32> {
        let special =
            || self.special_ids.iter().copied().find(|&id| self.pieces.bytes(id) == text.as_bytes());
        self.pieces.find(text.as_bytes()).or_else(special)
    }

    /// The chat template that came with the vocabulary, in its source form.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    pub(crate) fn check_id(&self, id: u32) -> Result<TokenKind> {
        self.pieces.kind(id).ok_or(TextError::IdOutOfRange { role: "token", id, vocab_len: self.vocab_len() })
    }
}

/// The text as SentencePiece sees it: `▁` is a space, and one more space stands before it if asked for.
fn with_spaces(text: &str, prefixed: bool) -> Cow<'_, str> {
    let text = if text.contains('▁') { Cow::Owned(text.replace('▁', " ")) } else { Cow::Borrowed(text) };
    if prefixed { Cow::Owned(format!(" {text}")) } else { text }
}

/// The ids of a text in the making, and where the words seen so far stand in them: most words of a text have
/// come before.
pub(crate) struct WordMemory<'t> {
    ids: Vec<u32>,
    seen: HashMap<&'t str, (u32, u32), DefaultHashBuilder>,
    merger: Merger,
}

impl<'t> WordMemory<'t> {
    /// Long words do not come back, and hashing them costs.
    const LONGEST: usize = 32;

    fn with_capacity(ids: usize) -> Self {
        Self { ids: Vec::with_capacity(ids), seen: HashMap::default(), merger: Merger::default() }
    }

    /// Appends the ids of `word`, from memory or by `encode`.
    pub(crate) fn recall_or(
        &mut self,
        word: &'t str,
        encode: impl FnOnce(&mut Merger, &mut Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        if word.len() > Self::LONGEST {
            return encode(&mut self.merger, &mut self.ids);
        }
        if let Some(&(start, end)) = self.seen.get(word) {
            self.ids.extend_from_within(start as usize..end as usize);
            return Ok(());
        }
        let start = self.ids.len() as u32;
        encode(&mut self.merger, &mut self.ids)?;
        self.seen.insert(word, (start, self.ids.len() as u32));
        Ok(())
    }
}
