//! Programs that a model wrote, with the tests they have to pass.

use std::time::Duration;

/// A program to run: it passes where it ends with status 0 in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What runs it.
    pub language: Language,
    /// Its text, tests included.
    pub source: String,
    /// Processor time after which it has failed; it has three times as much by the clock.
    pub deadline: Duration,
}

/// A language that programs are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// Run by `python3`.
    Python,
    /// Run by `Rscript`.
    R,
    /// Run by `racket`. What it says on standard error is a test that failed.
    Racket,
    /// Compiled by `rustc`.
    Rust,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Otherwise: with another status, by a signal or a limit, which is said, and the end of what it wrote.
    Failed(String),
}
