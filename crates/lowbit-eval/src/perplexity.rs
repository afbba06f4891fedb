//! Perplexity of a model on a text.

use crate::{EvalError, Loss, Protocol, score, windows::Windows};
use lowbit_engine::{EngineError, Model, Session};
use lowbit_kernels::Ctx;
use lowbit_model::KvElement;
use std::ops::ControlFlow;

/// How [`perplexity`] runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How the text is cut and scored.
    pub protocol: &'static Protocol,
    /// Most windows to score; all where `None`.
    pub chunks: Option<usize>,
    /// In which floats keys and values are kept.
    pub cache: KvElement,
}

/// A perplexity, and what it stands on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Perplexity {
    /// Exponential of the mean negative log-likelihood.
    pub perplexity: f64,
    /// Its standard error, tokens taken as independent.
    pub stderr: f64,
    /// Windows scored so far.
    pub chunks: usize,
    /// Windows to be scored.
    pub of_chunks: usize,
    /// Tokens scored.
    pub scored_tokens: usize,
    /// Tokens of the whole text.
    pub text_tokens: usize,
}

/// Scores `text`. `watch` sees the estimate after each window and ends the work by breaking; the result is then what
/// was reached.
///
/// The text is encoded as a whole, with the tokens that the model puts around a text; text that spells a control token
/// is text.
///
/// # Errors
/// Where the text is shorter than a window, a window longer than the model's context, or logits are no numbers.
pub fn perplexity(
    model: &Model,
    ctx: &Ctx,
    text: &str,
    options: Options,
    mut watch: impl FnMut(&Perplexity) -> ControlFlow<()>,
) -> Result<Perplexity, EvalError> {
    let protocol = options.protocol;
    let windows = Windows::of(model, text, protocol, options.chunks)?;
    let mut session = Session::new(model, ctx, protocol.window, options.cache)?;
    let mut loss = Loss::default();
    let mut reached = None;
    for (index, window) in windows.iter().enumerate() {
        score(&mut session, &window, protocol.first_scored, index, &mut loss)?;
        let estimate = Perplexity {
            perplexity: loss.perplexity(),
            stderr: loss.perplexity_error(),
            chunks: index + 1,
            of_chunks: windows.count,
            scored_tokens: loss.tokens(),
            text_tokens: windows.text_tokens(),
        };
        let stop = watch(&estimate).is_break();
        reached = Some(estimate);
        if stop {
            break;
        }
    }
    reached.ok_or(EvalError::Engine(EngineError::EmptyPrompt))
}
