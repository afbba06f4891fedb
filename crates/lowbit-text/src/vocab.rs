//! The plain vocabulary a tokenizer is built from, and the kinds of token.

use std::borrow::Cow;

use crate::error::{Result, TextError};

/// A vocabulary as a GGUF file stores it, borrowed from wherever the file lies. Each field says which metadata
/// key it comes from; an absent key is `None` (or an empty list).
///
/// Nothing here is trusted: [`crate::Tokenizer::from_vocab`] checks all of it.
#[derive(Debug, Clone, Default)]
pub struct VocabData<'a> {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE) or `t5` (unigram).
    pub model: &'a str,
    /// `tokenizer.ggml.pre`: how byte-level BPE cuts text into words.
    pub pre: Option<&'a str>,
    /// `tokenizer.ggml.tokens`: the text of every token, the index being the id.
    pub tokens: Vec<&'a [u8]>,
    /// `tokenizer.ggml.scores`: needed by `llama` and `t5`.
    pub scores: Option<Cow<'a, [f32]>>,
    /// `tokenizer.ggml.token_type`, as numbered in the file; absent means that all tokens are normal.
    pub kinds: Option<Cow<'a, [i32]>>,
    /// `tokenizer.ggml.merges`: needed by `gpt2`, two token texts with a space between, in order of rank.
    pub merges: Vec<&'a [u8]>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces` (unigram).
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap` (unigram).
    pub precompiled_charsmap: Option<&'a [u8]>,
    /// `general.name`: vocabularies of the Phi-3 family are known by it alone.
    pub general_name: Option<&'a str>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<&'a str>,
}

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Stands for text that has no token.
    Unknown,
    /// Structure, such as the end of a turn: found in text only where the caller asks, and not printed.
    Control,
    /// Text added to the vocabulary after training; always found as a whole, before anything else.
    UserDefined,
    /// A place in the vocabulary that means nothing.
    Unused,
    /// One byte, written `<0xAB>`.
    Byte,
}

impl TokenKind {
    /// The kind numbered so in `tokenizer.ggml.token_type`.
    pub(crate) fn from_gguf(id: u32, kind: i32) -> Result<Self> {
        Ok(match kind {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            // 0 is "undefined" there; such tokens mean nothing either.
            0 | 5 => Self::Unused,
            6 => Self::Byte,
            _ => return Err(TextError::BadTokenKind { id, kind }),
        })
    }

    /// Whether the token is structure and not text.
    pub fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }
}

/// The byte a token written `<0xAB>` stands for: exactly two hex digits, of either case.
pub(crate) fn parse_byte_token(text: &[u8]) -> Option<u8> {
    let [b'<', b'0', b'x', high, low, b'>'] = text else { return None };
    let digit = |c: u8| (c as char).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

/// A token's text for a message: not longer than a line and free of control characters.
pub(crate) fn printable(text: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(&text[..text.len().min(80)]).escape_debug().collect();
    if text.len() > 80 { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_have_exactly_two_hex_digits() {
        assert_eq!(parse_byte_token(b"<0x0A>"), Some(10));
        assert_eq!(parse_byte_token(b"<0xfF>"), Some(255));
        for bad in ["<0xA>", "<0x+A>", "<0x0AA>", "<0xG0>", "<0X0A>", "0x0A", ""] {
            assert_eq!(parse_byte_token(bad.as_bytes()), None, "{bad}");
        }
    }
}
