//! Programs that a model wrote, with the tests they have to pass.

use std::time::Duration;

/// A program to run: it passes where it ends with status 0 in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What runs it.
    pub language: Language,
    /// Its text, tests included.
    pub source: String,
    /// When it has failed.
    pub deadline: Duration,
}

/// A language that programs are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Run by `python3`.
    Python,
    /// Run by `Rscript`.
    R,
    /// Run by `racket`.
    Racket,
    /// Compiled by `rustc`.
    Rust,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Status 0.
    Passed,
    /// Another status, a signal or a limit; the end of what it said.
    Failed(String),
}
