//! Ids to text one at a time, without ever giving half a character.

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// Whether control tokens appear in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialText {
    /// They give no text: right for an answer that is shown.
    Hide,
    /// They give their spelling: right for looking at a prompt.
    Show,
}

/// Where the decoded text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextStart {
    /// It is a whole text: the space that SentencePiece puts before the first word is taken away.
    Beginning,
    /// It follows a prompt: every space is the model's own.
    Continuation,
}

/// Turns ids into text as they come. Bytes are held back until a character is complete or cannot become one;
/// what cannot is given as U+FFFD, as [`String::from_utf8_lossy`] does.
///
/// Whatever the cuts between tokens, the texts of all calls joined equal the text of all bytes at once.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    special: SpecialText,
    start: TextStart,
    /// An incomplete character: at most three bytes between calls.
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder that has seen nothing.
    pub fn new(special: SpecialText, start: TextStart) -> Self {
        Self { special, start, pending: Vec::new() }
    }

    /// The text that is certain after `id`; empty if the character is not complete yet. Fails only if the
    /// tokenizer has no such id.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        let kind = tokenizer.check_id(id)?;
        if kind.is_special() && self.special == SpecialText::Hide {
            return Ok(String::new());
        }
        let mut bytes = tokenizer.pieces.bytes(id);
        if self.start == TextStart::Beginning && !kind.is_special() && !bytes.is_empty() {
            self.start = TextStart::Continuation;
            if tokenizer.space_prefix {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        self.pending.extend_from_slice(bytes);
        Ok(self.take_certain())
    }

    /// What was held back, an incomplete character being one U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }

    fn take_certain(&mut self) -> String {
        let mut text = String::with_capacity(self.pending.len());
        let mut kept = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            // Only at the very end can more bytes still make a character of these.
            if chunks.peek().is_none() && could_continue(invalid) {
                kept = invalid.len();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - kept);
        text
    }
}

/// Whether the bytes are the beginning of a character that needs more.
fn could_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llama2c::tests::byte_tokenizer;

    fn streamed(bytes: &[u8]) -> String {
        let tokenizer = byte_tokenizer();
        let mut decoder = StreamDecoder::new(SpecialText::Hide, TextStart::Continuation);
        let mut text = String::new();
        for &byte in bytes {
            text.push_str(&decoder.push(&tokenizer, u32::from(byte) + 3).unwrap());
        }
        text + &decoder.finish()
    }

    #[test]
    fn characters_come_whole() {
        let tokenizer = byte_tokenizer();
        let mut decoder = StreamDecoder::new(SpecialText::Hide, TextStart::Continuation);
        let mut push = |byte: u8| decoder.push(&tokenizer, u32::from(byte) + 3).unwrap();
        assert_eq!(push(0xE6), "");
        assert_eq!(push(0xBC), "");
        assert_eq!(push(0xA2), "漢");
        assert_eq!(push(0xF0), "");
        // A letter in the middle of a character: what was held back cannot become one any more.
        assert_eq!(push(b'a'), "\u{FFFD}a");
        assert_eq!(push(0xC3), "");
        assert_eq!(decoder.finish(), "\u{FFFD}");
    }

    #[test]
    fn unknown_id_is_an_error() {
        let mut decoder = StreamDecoder::new(SpecialText::Hide, TextStart::Beginning);
        assert!(decoder.push(&byte_tokenizer(), 1 << 20).is_err());
    }

    proptest! {
        #[test]
        fn streaming_equals_decoding_all_bytes_at_once(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(streamed(&bytes), String::from_utf8_lossy(&bytes));
        }
    }
}
