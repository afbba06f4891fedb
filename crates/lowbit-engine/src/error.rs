//! What can go wrong between a path and an answer.

use crate::sampler::SamplerError;
use lowbit_io::IoError;
use lowbit_model::ModelError;
use lowbit_text::TextError;
use std::path::PathBuf;

/// Errors of loading and running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The checkpoint is readable, but no model that this program runs.
    #[error("{}: {source}", path.display())]
    Model {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        source: ModelError,
    },
    /// The decoder refused a call.
    #[error(transparent)]
    Decode(#[from] ModelError),
    /// The vocabulary or the chat template cannot be used.
    #[error("{}: {source}", path.display())]
    Text {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
    /// Text cannot be encoded, or a conversation not rendered.
    #[error(transparent)]
    Encode(#[from] TextError),
    /// Text was to be read or written, and the checkpoint has no vocabulary.
    #[error("{}: no tokenizer: {why}; without one the model takes token ids only, as in `lowbit bench`", path.display())]
    NoTokenizer {
        /// The checkpoint.
        path: PathBuf,
        /// The file or metadata looked for.
        why: &'static str,
    },
    /// Tokenizer and weights disagree on the number of tokens.
    #[error("{}: the tokenizer has {tokenizer} tokens, the embedding matrix {model}", path.display())]
    VocabularySize {
        /// The checkpoint.
        path: PathBuf,
        /// Tokens that the tokenizer has.
        tokenizer: usize,
        /// Rows that the embedding matrix has.
        model: usize,
    },
    /// A shape of models that is not known.
    #[error(
        "no model shape is called {name:?}{}; known are {}",
        nearest.as_ref().map_or(String::new(), |n| format!(", did you mean {n}?")), known.join(", ")
    )]
    UnknownShape {
        /// The name given.
        name: String,
        /// The nearest one that exists.
        nearest: Option<String>,
        /// All that exist.
        known: Vec<String>,
    },
    /// A record of measured times cannot be read or written.
    #[error("{}: {why}; without the file, `lowbit tune` makes a new one", path.display())]
    Tuning {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Sampling parameters out of range, or logits that cannot be sampled from.
    #[error(transparent)]
    Sampling(#[from] SamplerError),
    /// A draft model whose tokens are others.
    #[error(
        "the draft model has another vocabulary: {draft} tokens, the model {vocab}{}; take one of the same family",
        differs.map_or(String::new(), |id| format!(", and token {id} is another"))
    )]
    DraftVocabulary {
        /// Tokens of the model.
        vocab: usize,
        /// Tokens of the draft model.
        draft: usize,
        /// The first token that differs.
        differs: Option<u32>,
    },
    /// A draft model for shorter texts.
    #[error(
        "the draft model was made for {most} tokens, the context has {context}; lower it with --ctx-size {most}"
    )]
    DraftContext {
        /// Tokens of the model's context.
        context: usize,
        /// Tokens that the draft model was made for.
        most: usize,
    },
    /// A prompt without a token.
    #[error("the prompt is empty; give at least one token")]
    EmptyPrompt,
    /// More tokens than the context holds.
    #[error("{needed} tokens do not fit the context of {capacity}; shorten the prompt or raise --ctx-size")]
    ContextFull {
        /// Tokens asked for.
        needed: usize,
        /// Tokens that fit.
        capacity: usize,
    },
    /// A context that was asked for and cannot be had.
    #[error("a context of {asked} tokens was asked for; the model was made for {most}")]
    ContextTooLong {
        /// Tokens asked for.
        asked: usize,
        /// Tokens that the model was made for.
        most: usize,
    },
    /// Memory for keys and values that does not hold one sequence.
    #[error(
        "{given} bytes for keys and values hold {fits} tokens, and a context of {context} needs {needed}; give more memory or a shorter context"
    )]
    KvMemory {
        /// Bytes given.
        given: usize,
        /// Tokens that they hold.
        fits: usize,
        /// Tokens of one context.
        context: usize,
        /// Bytes that it needs.
        needed: usize,
    },
    /// A thread could not be started.
    #[error("cannot start the thread of the scheduler: {why}")]
    Thread {
        /// What the system says.
        why: String,
    },
}
