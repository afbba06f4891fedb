//! Language models as data, and the one decoder that runs them.
//!
//! An architecture is one file of `arch/`: it reads hyper-parameters into a [`ModelSpec`] and says how checkpoints name
//! its tensors. It has no forward code: [`Decoder`] interprets the spec. The decoder meets weights only through
//! [`LinearOp`] and cached keys and values only through [`KvStore`], so no architecture has a quantized twin.
//!
//! ```text
//! config.json / GGUF metadata ─ Config ─→ Architecture::spec ─→ ModelSpec ─┐
//!                                              Weights (a checkpoint) ────┴→ Decoder::build → Decoder::forward
//! ```

#![forbid(unsafe_code)]

pub mod arch;
mod attention;
pub mod backward;
mod batch;
mod block;
mod build;
mod config;
mod decoder;
mod error;
mod ffn;
mod input;
pub mod kv;
mod layers;
mod linear;
mod names;
mod profile;
mod rope;
mod rows;
mod spec;
mod ternary;

pub use arch::{ARCHITECTURES, Architecture};
pub use attention::{Attention, Queries};
pub use batch::Sequence;
pub use block::{OneBlock, Work, embed};
pub use build::{PackedBytes, WeightError, Weights};
pub use config::{Config, GgufMeta, HuggingFace, Key, Llama2c, hugging_face};
pub use decoder::{Decoder, Logits};
pub use error::ModelError;
pub use input::InputOps;
pub use kv::{KvCache, KvElement, KvGeometry, KvStore};
pub use layers::{LinearLayer, Linears};
pub use linear::{LinearOp, Stored};
pub use names::{GGUF, HUGGING_FACE, Names, Naming, in_block};
pub use profile::{Part, Profile};
pub use rope::{RopeScaling, RopeSpec};
pub use spec::{
    Biases, BlockSpec, ExpertWeights, Ffn, Head, LinearId, ModelSpec, Norms, PackedScale, Presence, QkNorm,
    Role, WeightCoding,
};
