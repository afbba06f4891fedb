//! What the sampler asks of a tokenizer: the size of its vocabulary, and the text of tokens for DRY's breakers.

use std::borrow::Cow;

/// A vocabulary as the sampler sees it.
pub trait Vocab {
    /// Number of tokens, which is the number of logits at each step.
    fn size(&self) -> usize;
    /// The bytes that token `id` adds to the text; empty for control tokens.
    fn piece(&self, id: u32) -> Cow<'_, [u8]>;
    /// The tokens of `text` in the middle of a text: no special tokens, no space put in front.
    fn encode(&self, text: &str) -> Vec<u32>;
}
