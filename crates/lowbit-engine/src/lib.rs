//! Running a model: loading a checkpoint, sessions with their key/value cache, sampling, generation.
//!
//! ```text
//! Checkpoint (lowbit-io) ─┬─ configuration → ModelSpec → Decoder (lowbit-model) ─┐
//!                         └─ vocabulary, chat template (lowbit-text) ────────────┴→ Model ─┬→ Session → generate
//!                                                                                          └→ Scheduler
//! ```
//!
//! What the command line, the server and evaluation share is here; none of them meets a file format or a kernel.
#![forbid(unsafe_code)]

mod adapter;
mod answer;
mod draft;
mod error;
mod generate;
mod load;
mod model;
mod packed;
pub mod sampler;
pub mod scheduler;
mod session;
pub mod synth;
pub mod tuning;
mod vocabulary;

pub use adapter::{Tensors, naming};
pub use draft::Speculation;
pub use error::EngineError;
pub use generate::{Event, Finish, GenerateRequest, Generated, Timing};
pub use load::{Layer, LoadOptions, LoadStats, spec as model_spec};
pub use model::{Model, TensorSummary};
pub use packed::pack;
pub use session::Session;
pub use vocabulary::tokenizer_texts;
