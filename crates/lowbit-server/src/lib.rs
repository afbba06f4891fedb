//! An HTTP server over models of few bits, with OpenAI's, Anthropic's and Ollama's APIs, for many clients at once.
//!
//! ```text
//! connection (limits, time) → guard (Host, key) → route → fields (names, ranges) → conversation → lowbit-engine's scheduler
//!                                                   └──── form: one JSON object, or events ◄── parts ◄── answer ◄──┘
//! ```
//!
//! Every field of a request is honoured, or refused with status 400 and its name. What is not in this version is
//! listed in `docs/serve.md`.
#![forbid(unsafe_code)]

mod answer;
mod app;
mod body;
mod connection;
mod conversation;
mod error;
mod fields;
mod forms;
mod guard;
mod logprobs;
mod models;
mod parts;
mod routes;
mod sampling;
mod served;
mod server;
mod tls;
mod tools;

pub use lowbit_engine::{Speculation, scheduler::SchedulerOptions};
pub use models::{Loader, ModelEntry, Residency};
pub use server::{Exposure, Limits, ServeError, Server, ServerOptions, Stop};
pub use tls::TlsFiles;
