//! What the coordinator and an engine process say to each other.
//!
//! Every engine runs in a process of its own, so that peak memory and load time are its own too. The
//! process reads one JSON [`Request`] a line from standard input and answers each with one JSON
//! [`Reply`] a line on standard output; bulk data (token ids, logits) travels through raw
//! little-endian files named in the request. An engine implements [`Engine`]; [`run`] does the rest,
//! and above all holds the stopwatch, so that every engine is timed by the same few lines.

#![forbid(unsafe_code)]

mod engine;
mod files;
mod memory;
mod message;
mod serve;

pub use engine::{Engine, Logits, Special, Tokens};
pub use files::{read_f32, read_ids, write_f32, write_ids};
pub use memory::Memory;
pub use message::{Description, LoadOptions, Reply, Request};
pub use serve::run;
