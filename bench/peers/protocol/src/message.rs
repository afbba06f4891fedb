//! The lines themselves.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::Special;
use crate::memory::Memory;

/// What the coordinator asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Load a model; answered by [`Reply::Loaded`]. Must come first, once.
    Load(LoadOptions),
    /// Tokenize the bytes of file `text` into the id file `ids`; answered by [`Reply::Tokenized`].
    Tokenize {
        /// Plain text.
        text: PathBuf,
        /// Where the ids go, u32 little-endian.
        ids: PathBuf,
    },
    /// Time the evaluation of these ids as a prompt, from an empty cache; answered by [`Reply::Timed`].
    Prefill {
        /// Token ids.
        ids: Vec<u32>,
    },
    /// Time the evaluation of these ids one after the other, from an empty cache; answered by
    /// [`Reply::Timed`].
    Decode {
        /// Token ids.
        ids: Vec<u32>,
    },
    /// Write the logits of positions `first..` of a window; answered by [`Reply::Logits`].
    Logits {
        /// Token ids of the whole window.
        window: Vec<u32>,
        /// First position whose logits are wanted.
        first: usize,
        /// Where the rows go, f32 little-endian.
        out: PathBuf,
    },
    /// Report memory; answered by [`Reply::Memory`].
    Memory,
    /// End; answered by nothing.
    Quit,
}

/// How a model is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// The GGUF file.
    pub model: PathBuf,
    /// Threads for prefill and decoding alike.
    pub threads: usize,
    /// Positions the cache must hold.
    pub context: usize,
}

/// What an engine answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The model is ready.
    Loaded {
        /// Wall time of [`Engine::load`](crate::Engine::load).
        load_s: f64,
        /// The same plus the first token, which with a mapped file is when the weights are read.
        first_token_s: f64,
        /// Who answers.
        description: Description,
    },
    /// The ids are in the file.
    Tokenized {
        /// How many.
        count: usize,
        /// What the model puts before every text.
        begin: Special,
    },
    /// A timed run is over.
    Timed {
        /// Wall time.
        seconds: f64,
    },
    /// The rows are in the file.
    Logits {
        /// How many rows.
        rows: usize,
        /// Length of a row.
        vocabulary: usize,
    },
    /// Memory of this process.
    Memory(Memory),
    /// The request failed; the process still answers.
    Failed {
        /// Why.
        message: String,
    },
}

/// An engine and its model, for the head of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name and version.
    pub engine: String,
    /// Instruction sets, thread pool, whatever the engine says of how it was built.
    pub system: String,
    /// Architecture of the model.
    pub architecture: String,
    /// Length of a row of logits.
    pub vocabulary: usize,
    /// A known fault of the engine with this architecture, for a footnote.
    pub caveat: Option<String>,
}
