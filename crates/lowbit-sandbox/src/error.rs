//! Why nothing was run.

use crate::Language;
use serde::{Deserialize, Serialize};
use std::{fmt, io, path::PathBuf};

/// Errors of the sandbox. A program that fails is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Another system than Linux.
    #[error("programs run in a sandbox of Linux, and this is {system}; run the task on Linux")]
    System {
        /// The system.
        system: &'static str,
    },
    /// The machine lacks something that the sandbox is made of.
    #[error("no sandbox can be made here: {0}")]
    Refused(Problem),
    /// The child did not do its part.
    #[error("the sandbox failed: {0}")]
    Child(Problem),
    /// No interpreter.
    #[error(
        "{program} is not on the PATH, which programs in {language} need; install it (Debian and Ubuntu: {packages})"
    )]
    NoInterpreter {
        /// What was looked for.
        program: &'static str,
        /// The language.
        language: Language,
        /// What to install.
        packages: &'static str,
    },
    /// An interpreter that does not say where it is.
    #[error("{} does not run: {why}", path.display())]
    Interpreter {
        /// The interpreter.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What was to be done.
    pub step: String,
    /// Why it could not be.
    pub why: String,
}

impl Problem {
    /// Of an error of the system.
    pub fn new(step: impl Into<String>, why: impl Into<io::Error>) -> Self {
        Self { step: step.into(), why: why.into().to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.step, self.why)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "Python",
            Self::R => "R",
            Self::Racket => "Racket",
            Self::Rust => "Rust",
        })
    }
}
