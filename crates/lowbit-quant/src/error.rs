//! What can go wrong between a checkpoint and its quantized file.

use crate::solve::SolveError;
use lowbit_engine::EngineError;
use lowbit_format::{FormatError, NK, suggest};
use lowbit_io::IoError;
use lowbit_model::ModelError;
use std::path::PathBuf;

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
    /// A layer that cannot be rounded.
    #[error("tensor {tensor:?}: {error}")]
    Solve {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        error: SolveError,
    },
    /// A weight that belongs to another input than the model's.
    #[error(
        "tensor {tensor:?}: its input is permuted or rotated, as some quantized checkpoints have it; quantize the model that it was made from"
    )]
    ChangedInput {
        /// The tensor.
        tensor: String,
    },
    /// A role that no tensor has.
    #[error("the model has no weight matrix of the role `{role}`; `lowbit inspect` lists the tensors")]
    UnusedRole {
        /// The role given.
        role: &'static str,
    },
    /// A method that needs to see what layers read.
    #[error(
        "{method} needs calibration data: give a text with --calib FILE, not the one you will evaluate on"
    )]
    NoCalibration {
        /// The method.
        method: &'static str,
    },
    /// Calibration data that the model cannot read.
    #[error("calibration data: {why}")]
    Calibration {
        /// What is wrong.
        why: String,
    },
    /// The model cannot be run.
    #[error("cannot run the model over the calibration data: {0}")]
    Forward(ModelError),
    /// A block whose output is no number.
    #[error(
        "block {block} gives {value} for token {token} of calibration sample {sample}: its weights are not those of a working model"
    )]
    StreamNotFinite {
        /// The block.
        block: usize,
        /// The sample.
        sample: usize,
        /// The token in it.
        token: usize,
        /// What was found.
        value: f32,
    },
    /// Less memory than the run takes.
    #[error(
        "{given} bytes of memory are too few: this run takes {least} with residual streams in a file; fewer samples do not change that, a method without Hessians does"
    )]
    Memory {
        /// What it takes at least.
        least: u64,
        /// What was given.
        given: u64,
    },
    /// Bits of a weight that cannot be had.
    #[error("target of bits per weight: {why}")]
    Target {
        /// Why not.
        why: String,
    },
    /// An unfinished run is in the way.
    #[error(
        "{}: an unfinished run; --resume goes on with it, --restart begins anew", folder.display()
    )]
    Unfinished {
        /// Its folder.
        folder: PathBuf,
    },
    /// The unfinished run is another one.
    #[error(
        "{}: cannot resume, the unfinished run differs in: {differs}; give the same options, or --restart", folder.display()
    )]
    OtherRun {
        /// Its folder.
        folder: PathBuf,
        /// Fields of its description that are not the same.
        differs: String,
    },
    /// A file of an unfinished run that cannot be read.
    #[error("{}: {why}; --restart begins anew", path.display())]
    Partial {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It was told to stop.
    #[error("interrupted; what is done is kept, --resume goes on")]
    Interrupted,
    /// A pattern of names that no tensor has.
    #[error("no weight matrix is called like `{pattern}`; `lowbit inspect` lists the tensors")]
    UnusedPattern {
        /// The pattern given.
        pattern: String,
    },
    /// A tensor that the kind of file to be written has no place for.
    #[error("tensor {tensor:?} of {format}: {why}; {next}")]
    NotHeld {
        /// The tensor.
        tensor: String,
        /// Label of its format.
        format: String,
        /// Why not.
        why: String,
        /// What can be done.
        next: &'static str,
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
