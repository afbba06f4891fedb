//! A text cut into windows as a protocol has it.

use crate::{Begin, EvalError, Protocol};
use lowbit_engine::{EngineError, Model};

/// The windows of a text.
pub(crate) struct Windows {
    tokens: Vec<u32>,
    protocol: &'static Protocol,
    begin: Option<u32>,
    /// How many.
    pub(crate) count: usize,
}

impl Windows {
    /// Cuts `text`, encoded as a whole by the tokenizer of `model`, into at most `most` windows.
    ///
    /// # Errors
    /// Where the text is shorter than a window, a window longer than the model's context, or no window is wanted.
    pub(crate) fn of(
        model: &Model,
        text: &str,
        protocol: &'static Protocol,
        most: Option<usize>,
    ) -> Result<Self, EvalError> {
        let context = model.spec().longest();
        if protocol.window > context {
            return Err(EvalError::WindowTooLong { window: protocol.window, context });
        }
        if most == Some(0) {
            return Err(EvalError::NoChunks);
        }
        let tokens = model.encode(protocol.text(text))?;
        let count = (tokens.len() / protocol.window).min(most.unwrap_or(usize::MAX));
        if count == 0 {
            return Err(EvalError::TextTooShort { tokens: tokens.len(), window: protocol.window });
        }
        let begin = begin_token(model, protocol.begin)?;
        Ok(Self { tokens, protocol, begin, count })
    }

    /// Tokens of the whole text.
    pub(crate) fn text_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens of each window.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Vec<u32>> {
        self.tokens.chunks_exact(self.protocol.window).take(self.count).map(|window| {
            let mut window = window.to_vec();
            if let Some(begin) = self.begin {
                window[0] = begin;
            }
            window
        })
    }
}

/// The token that takes the place of each window's first.
fn begin_token(model: &Model, begin: Begin) -> Result<Option<u32>, EngineError> {
    let tokenizer = model.tokenizer()?;
    Ok(match begin {
        Begin::AsText => None,
        Begin::Replaced => tokenizer.bos().filter(|_| tokenizer.adds_bos()),
    })
}
