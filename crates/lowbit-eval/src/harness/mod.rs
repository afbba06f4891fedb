//! Puts tasks to a model: examples, prompts, tokens, replies, grades.

mod data;
mod lm;
mod programs;
mod prompt;
mod python_random;
mod run;

pub use data::{TaskData, find_split};
pub use lm::{Lm, LmOptions};
pub use programs::Execute;
pub(crate) use python_random::PythonRandom;
pub use run::{Answer, Bench, Settings, Style, documents, evaluate};
