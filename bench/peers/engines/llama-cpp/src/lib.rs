//! llama.cpp through its raw bindings: a safe model and session, and the engine made of them.

#![warn(missing_docs)]

mod engine;
mod model;
mod product;
mod session;

pub use engine::{LlamaCpp, Setting};
pub use model::{Contents, Model, ParseSpecial, Weights, system_info, version};
pub use product::{Product, ProductOptions, TYPES};
pub use session::{Attention, Session, SessionOptions};
