//! What a model is worth: perplexity over a text, and how far the predictions of two models are apart.
//!
//! [`perplexity`] follows a [`Protocol`], which says how a text is cut into windows and which of their tokens count;
//! figures compare only under the same one. [`Divergence`] compares logits row by row, whoever made them.
#![forbid(unsafe_code)]

mod divergence;
mod error;
mod loss;
mod perplexity;
mod protocol;

pub use divergence::{Divergence, kl_divergence, top_token};
pub use error::EvalError;
pub use loss::{Loss, score};
pub use perplexity::{Options, Perplexity, perplexity};
pub use protocol::{Begin, FinalNewline, PROTOCOLS, Protocol};
