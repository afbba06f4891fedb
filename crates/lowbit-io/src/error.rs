//! What can be wrong with a checkpoint.

use lowbit_format::FormatError;
use std::{io, path::Path, path::PathBuf};

/// Errors of this crate. [`IoError::InFile`] carries the path; readers of bytes leave it away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// Another error, in a named file.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<IoError>,
    },
    /// The operating system refused.
    #[error("cannot {doing} it: {error}")]
    Os {
        /// `open`, `read`, `map`, ...
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// A folder, socket or device where a file was expected.
    #[error("not a regular file")]
    NotAFile,
    /// Nothing there that this crate reads.
    #[error(
        "not a checkpoint: {found}; expected a GGUF file, a lowbit container, a llama2.c .bin or a Hugging Face folder"
    )]
    NotACheckpoint {
        /// What it looks like, and the next step.
        found: String,
    },
    /// The file ends too early.
    #[error("file ends at byte {found}, but {what} needs bytes up to {needs}: download it again")]
    Ends {
        /// What was to be read.
        what: String,
        /// Where it would end.
        needs: u64,
        /// Length of the file.
        found: u64,
    },
    /// The file is not as it was when it was opened.
    #[error("had {before} bytes when it was opened and has {now} now: another program is writing to it")]
    Changed {
        /// Length at opening.
        before: u64,
        /// Length now.
        now: u64,
    },
    /// More than this program accepts.
    #[error("{what} of {found}, at most {most} are accepted")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The size or count found.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// No memory for it.
    #[error("no memory for {what} ({bytes} bytes)")]
    OutOfMemory {
        /// What was to be held.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// A version of the format that is not read.
    #[error("{format} version {found}: {next}")]
    Version {
        /// Name of the file format.
        format: &'static str,
        /// The version found.
        found: u32,
        /// What is read instead, and the next step.
        next: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not valid UTF-8")]
    NotUtf8 {
        /// Which text.
        what: String,
    },
    /// A name that occurs twice.
    #[error("{what} {name:?} occurs twice")]
    Duplicate {
        /// `metadata key`, `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A structure of the file that breaks its format's rules.
    #[error("{what}: found {found}, expected {expected}")]
    Invalid {
        /// Which field or tensor.
        what: String,
        /// What is there.
        found: String,
        /// What belongs there.
        expected: String,
    },
    /// A metadata field that is needed and absent.
    #[error("metadata field {key:?} is missing")]
    MissingKey {
        /// The field.
        key: String,
    },
    /// A metadata field of another type than it must have.
    #[error("metadata field {key:?} is declared as {found}, expected {expected}")]
    KeyType {
        /// The field.
        key: String,
        /// The declared type.
        found: String,
        /// The type asked for.
        expected: &'static str,
    },
    /// A number outside its range.
    #[error("{key} is {found}, expected {least} to {most}")]
    Range {
        /// The field.
        key: String,
        /// The value.
        found: String,
        /// Smallest value accepted.
        least: String,
        /// Largest value accepted.
        most: String,
    },
    /// A tensor that is not there.
    #[error("tensor {name:?} is missing{}", nearest.as_ref().map(|n| format!(" (the nearest name is {n:?})")).unwrap_or_default())]
    MissingTensor {
        /// Its name.
        name: String,
        /// The nearest name that is there.
        nearest: Option<String>,
    },
    /// Dimensions that no tensor can have.
    #[error("tensor {name:?} has dimensions {dims:?}: {why}")]
    Dimensions {
        /// The tensor.
        name: String,
        /// Dimensions as in the file.
        dims: Vec<u64>,
        /// What is wrong with them.
        why: String,
    },
    /// A type number that is not known.
    #[error("tensor {name:?} has type number {number}: {origin}")]
    UnknownType {
        /// The tensor.
        name: String,
        /// The number.
        number: u32,
        /// Where it is likely from, and what to do.
        origin: &'static str,
    },
    /// A type number with several meanings, and spans that do not tell which.
    #[error(
        "tensor type {number} means {} and the tensors' sizes fit {}: {next}",
        meanings.join(" or "), if *fitting == 0 { "neither" } else { "both" }
    )]
    AmbiguousType {
        /// The number.
        number: u32,
        /// What it can mean, and whose files say so.
        meanings: Vec<String>,
        /// How many of the meanings fit.
        fitting: usize,
        /// What to do.
        next: &'static str,
    },
    /// A tensor that starts where none may.
    #[error("tensor {name:?} starts at byte {offset} of the data, no multiple of the alignment {alignment}")]
    Unaligned {
        /// The tensor.
        name: String,
        /// Its offset.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first:?} and {second:?} overlap at byte {at} of the data")]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The one that starts inside it.
        second: String,
        /// Where the second starts.
        at: u64,
    },
    /// Bytes between tensors that belong to none.
    #[error(
        "{bytes} bytes before tensor {name:?} belong to no tensor, at most padding was expected: the file was damaged or its tensor types are not what they say"
    )]
    Gap {
        /// The tensor after the gap.
        name: String,
        /// How many.
        bytes: u64,
    },
    /// A tensor whose bytes are not weights.
    #[error("tensor {name:?} holds {dtype} elements, which are no weights by themselves: {next}")]
    NotWeights {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: String,
        /// What to do.
        next: &'static str,
    },
    /// A tensor that its own format refuses.
    #[error("tensor {name:?}: {error}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        error: FormatError,
    },
    /// A set of shards that does not belong together.
    #[error("shard {shard}: {why}")]
    Shard {
        /// Which file of the set.
        shard: String,
        /// What does not fit.
        why: String,
    },
    /// A file name that leads out of the checkpoint's folder.
    #[error("file name {name:?} in {what} {why}: only files beside it are opened")]
    Escape {
        /// The name as written.
        name: String,
        /// Where it is written.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A pickle.
    #[error("{name} is a Python pickle, which can run code when it is loaded: {next}")]
    Pickle {
        /// The file.
        name: String,
        /// What to do.
        next: &'static str,
    },
    /// Fewer tokens than windows can be cut from.
    #[error(
        "the text has {found} tokens, {count} windows of {length} need at least {needed}; give a longer text, or ask for fewer or shorter windows"
    )]
    TooFewTokens {
        /// Tokens of the text.
        found: usize,
        /// Windows asked for.
        count: usize,
        /// Tokens of each.
        length: usize,
        /// Tokens by which they would start at different places.
        needed: usize,
    },
    /// JSON that does not parse.
    #[error("{what} is not the JSON it should be: {error}")]
    Json {
        /// Which part of the file.
        what: &'static str,
        /// Where and why.
        error: String,
    },
}

impl IoError {
    /// What the operating system refused.
    pub fn os(doing: &'static str, error: io::Error) -> Self {
        Self::Os { doing, error }
    }

    /// Adds the file's path, where none is there yet.
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::InFile { .. } => self,
            error => Self::InFile { path: path.to_owned(), error: Box::new(error) },
        }
    }

    /// The error without the file's path.
    pub fn inner(&self) -> &Self {
        match self {
            Self::InFile { error, .. } => error.inner(),
            error => error,
        }
    }

    pub(crate) fn invalid(
        what: impl Into<String>,
        found: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Invalid { what: what.into(), found: found.to_string(), expected: expected.into() }
    }
}
