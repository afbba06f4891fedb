//! The few things an engine must be able to do to take part.

use anyhow::Result;

use crate::message::{Description, LoadOptions};

/// A language model loaded from a file, with one sequence in its cache.
pub trait Engine: Sized {
    /// Loads the model and makes room for `options.context` tokens: everything a first request needs.
    fn load(options: &LoadOptions) -> Result<Self>;

    /// Names the engine and the model as the engine sees it.
    fn describe(&self) -> Description;

    /// Token ids of `text`, with what the model's metadata adds at its ends; text that looks like a
    /// special token stays text.
    fn tokenize(&self, text: &[u8]) -> Result<Tokens>;

    /// Empties the cache.
    fn reset(&mut self) -> Result<()>;

    /// Evaluates `ids` from position zero of an empty cache, in the batches the engine likes, up to the
    /// logits of the last position. Returns when the work is done, not when it is queued.
    fn prefill(&mut self, ids: &[u32]) -> Result<()>;

    /// Evaluates one more token and its logits. Returns when the work is done.
    fn decode(&mut self, id: u32) -> Result<()>;

    /// Logits of positions `first..window.len()` of a window evaluated from an empty cache, row by row.
    fn logits(&mut self, window: &[u32], first: usize) -> Result<Logits>;
}

/// Rows of logits, one a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Row-major `[rows, vocabulary]`.
    pub values: Vec<f32>,
    /// Length of a row.
    pub vocabulary: usize,
}

/// A tokenized text and what is needed to cut it into windows as llama-perplexity does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The ids, with what the model adds at the beginning.
    pub ids: Vec<u32>,
    /// What the model wants at the beginning of every text.
    pub begin: Special,
}

/// Whether a model puts a token before every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Special {
    /// Text begins with its first own token.
    None,
    /// Text begins with this token.
    Bos(u32),
}
