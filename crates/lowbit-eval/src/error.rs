//! What can go wrong while a model is evaluated.

use lowbit_engine::{EngineError, Model};
use std::path::PathBuf;

/// Errors of evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The model refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
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
