//! What can go wrong between a checkpoint and its quantized file.

use lowbit_engine::EngineError;
use lowbit_format::{FormatError, NK, suggest};
use lowbit_io::IoError;

/// Errors of quantization.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// A checkpoint cannot be read, or the file not be written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The checkpoint is no model that is known.
    #[error(transparent)]
    Model(#[from] EngineError),
    /// A label names no format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// No method or role is called so.
    #[error(
        "no {kind} is called `{name}`{}; known are {}",
        nearest.map_or(String::new(), |n| format!(", did you mean `{n}`?")), known.join(", ")
    )]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name given.
        name: String,
        /// The nearest one that exists.
        nearest: Option<&'static str>,
        /// All that exist.
        known: Vec<&'static str>,
    },
    /// Settings that the method does not have, or values out of range.
    #[error("settings of {method}: {why}")]
    Settings {
        /// The method.
        method: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A format that the method cannot make.
    #[error("tensor {tensor:?}: {method} cannot make {format}: {why}")]
    Refused {
        /// The tensor that was to have it.
        tensor: String,
        /// The method.
        method: &'static str,
        /// Label of the format.
        format: String,
        /// What it can make.
        why: &'static str,
    },
    /// Rows that are no whole number of groups.
    #[error(
        "tensor {tensor:?} {shape}: rows of {} weights are no whole number of groups of {group}; give it another format with --tensor '{tensor}=LABEL'", shape.k
    )]
    RowNotGroups {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: NK,
        /// Weights of a group.
        group: usize,
    },
    /// Weights that cannot be rounded.
    #[error("tensor {tensor:?}: {error}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        error: FormatError,
    },
    /// A pattern of names that no tensor has.
    #[error("no weight matrix is called like `{pattern}`; `lowbit inspect` lists the tensors")]
    UnusedPattern {
        /// The pattern given.
        pattern: String,
    },
    /// A checkpoint whose weights are not plain numbers, or that a container has no place for.
    #[error("{path}: {why}")]
    Unsupported {
        /// The checkpoint.
        path: String,
        /// What it is and what to do.
        why: &'static str,
    },
}

impl QuantError {
    /// No `kind` of those that are known is called `name`.
    pub(crate) fn unknown(kind: &'static str, name: &str, known: impl Iterator<Item = &'static str>) -> Self {
        let known: Vec<_> = known.collect();
        let nearest = suggest::nearest(name, known.iter().copied());
        Self::Unknown { kind, name: name.to_owned(), nearest, known }
    }
}
