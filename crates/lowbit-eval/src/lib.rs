//! What a model is worth: tasks, perplexity over a text, and how far the predictions of two models are apart.
//!
//! A task of [`tasks::TASKS`] is put to a model by [`harness::evaluate`], which hands over every graded document;
//! [`results::Results`] keeps them.
//!
//! [`perplexity`] follows a [`Protocol`], which says how a text is cut into windows and which of their tokens count;
//! figures compare only under the same one. [`compare`] runs two models over the same windows. [`Divergence`] and [`Pairs`]
//! compare logits row by row, whoever made them.
#![forbid(unsafe_code)]

mod compare;
mod divergence;
mod error;
mod figure;
pub mod harness;
mod layers;
mod loss;
mod mean;
mod pairs;
mod perplexity;
mod protocol;
pub mod results;
mod step;
pub mod study;
pub mod tasks;
mod verify;
mod windows;

pub use compare::{CompareProgress, Comparison, ModelPair, compare};
pub use divergence::{Divergence, kl_divergence, top_token};
pub use error::EvalError;
pub use figure::figure;
pub use layers::LayerError;
pub use loss::{Loss, score};
pub use pairs::{Difference, Figures, Pairs, Row, Scored, Spread};
pub use perplexity::{Options, Perplexity, perplexity};
pub use protocol::{Begin, FinalNewline, PROTOCOLS, Protocol};
pub use verify::{SMOKE_TEXT, Verification, verify};
