//! What can go wrong while a model is evaluated.

use lowbit_engine::{EngineError, Model};
use lowbit_io::IoError;
use lowbit_sandbox::SandboxError;
use std::path::PathBuf;

/// Errors of evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The model refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file of rows.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A folder with data.
    #[error("cannot read {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two files go by the same name.
    #[error("{} and {} both hold the data; leave one of them in the folder", first.display(), second.display())]
    SeveralFiles {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Examples of a task that has none.
    #[error("{task} has no examples to show; ask for 0")]
    NoExamples {
        /// The task.
        task: &'static str,
    },
    /// More examples than there are.
    #[error("{task}: {asked} examples were asked for, {found} are there")]
    TooFewExamples {
        /// The task.
        task: &'static str,
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        found: usize,
    },
    /// A text without a token of its own.
    #[error("{continuation:?} has no tokens of its own after what comes before it, so nothing can be scored")]
    NothingToScore {
        /// The text.
        continuation: String,
    },
    /// A text that is longer than the context.
    #[error(
        "a continuation has {tokens} tokens, the context holds {context}; give more memory (--kv-memory)"
    )]
    ContinuationTooLong {
        /// Its tokens.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// Nothing to stand before a text.
    #[error(
        "the tokenizer names neither a token that begins a text nor one that ends it, so its first token cannot be scored"
    )]
    NoPrefix,
    /// The scheduler refused or failed.
    #[error("the model did not answer: {why}")]
    Asking {
        /// Why.
        why: String,
    },
    /// Programs would have to be run.
    #[error("{task} runs programs that the model writes; allow it with --allow-code-execution")]
    CodeExecution {
        /// The task.
        task: &'static str,
    },
    /// A program could not be run.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The file of results.
    #[error("{}: {source}", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file of results holds something else.
    #[error("{}: {problem}", path.display())]
    ResultsContent {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The text is shorter than one window.
    #[error("the text has {tokens} tokens, one window needs {window}; give a longer text")]
    TextTooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a window.
        window: usize,
    },
    /// The model cannot see a whole window.
    #[error(
        "a window has {window} tokens, the model was made for {context}; choose a preset with shorter windows"
    )]
    WindowTooLong {
        /// Tokens of a window.
        window: usize,
        /// Tokens that the model was made for.
        context: usize,
    },
    /// No window was asked for.
    #[error("0 chunks were asked for, expected at least 1")]
    NoChunks,
    /// The model gave something else than numbers.
    #[error(
        "{}: logits after token {position} of window {window} are no numbers; the model's weights or activations overflowed",
        path.display()
    )]
    NotFinite {
        /// The model.
        path: PathBuf,
        /// The window, from 0.
        window: usize,
        /// The token in it, from 0.
        position: usize,
    },
    /// Two models that do not mean the same by a token.
    #[error(
        "the vocabularies of {} and {} differ: {why}; only models of one vocabulary compare token by token",
        reference.display(), other.display()
    )]
    OtherVocabulary {
        /// The first model.
        reference: PathBuf,
        /// The second.
        other: PathBuf,
        /// Where they differ.
        why: String,
    },
}

impl EvalError {
    pub(crate) fn not_finite(model: &Model, window: usize, position: usize) -> Self {
        Self::NotFinite { path: model.path().to_owned(), window, position }
    }
}
