//! What can go wrong while a model is evaluated.

use lowbit_engine::EngineError;

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
        "logits after token {position} of window {window} are no numbers; the model's weights or activations overflowed"
    )]
    NotFinite {
        /// The window, from 0.
        window: usize,
        /// The token in it, from 0.
        position: usize,
    },
}
