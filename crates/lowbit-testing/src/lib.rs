//! What lowbit's tests share: tiny checkpoints with known logits, shaped inputs, comparisons, a GGUF writer.
//!
//! A *golden case* is a tiny model of one architecture with the logits that an independent implementation gave
//! for it. Its weights are not stored: each tensor is filled by a formula from its name, here as in the script
//! that made the logits. A test writes the case as a checkpoint folder, loads it through the reader under test
//! and compares:
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! let case = lowbit_testing::golden_case("qwen3");
//! let folder = tempfile::tempdir()?;
//! case.write_folder(folder.path(), 1)?;
//! // let logits = load(folder.path()).forward(&case.tokens);
//! # let logits = case.logits.clone();
//! for (row, expected) in logits.iter().zip(&case.logits) {
//!     assert!(lowbit_testing::max_relative_error(row, expected) < 1e-4);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything here panics with the values at hand when it is misused: it runs in tests only.
#![forbid(unsafe_code)]

mod compare;
mod data;
mod gguf;
mod golden;
mod inputs;
mod seeded;
mod tiny;

pub use compare::{max_abs_error, max_relative_error, nmse};
pub use data::{data_file, model_file};
pub use gguf::{GgufFile, GgufTensor, GgufValue};
pub use golden::{GoldenCase, StoredType, TensorDecl, golden_case, golden_cases};
pub use inputs::{Shaped, normal, uniform};
pub use seeded::{SplitMix64, fnv1a, packed_ternary, seeded_values};
pub use tiny::{Template, swapped_gguf, tiny_gguf};
