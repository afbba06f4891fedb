//! What can be wrong with a tensor or a label.

use crate::NK;

/// Errors of this crate. Callers that read files add the file and the tensor's name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A bit count outside 1..=8.
    #[error("{found} bits a code, expected 1 to 8")]
    Bits {
        /// The count given.
        found: u8,
    },
    /// A row that is no whole number of blocks.
    #[error("rows of {k} weights are no whole number of {format} blocks of {block} weights")]
    RowNotBlocks {
        /// Label of the format.
        format: &'static str,
        /// Weights in a row.
        k: usize,
        /// Weights in a block.
        block: usize,
    },
    /// Too few or too many bytes for the shape.
    #[error("{format} {shape} takes {expected} bytes, found {found}")]
    Length {
        /// Label of the format.
        format: &'static str,
        /// The shape given.
        shape: NK,
        /// Bytes that the shape takes.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// A shape whose byte count does not fit in memory addresses.
    #[error("a shape of {n} by {k} weights overflows")]
    Overflow {
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// A group size that cannot be.
    #[error("groups of {found} weights, expected a positive multiple of 4")]
    GroupSize {
        /// The size given.
        found: u32,
    },
    /// Scale levels that do not fit together.
    #[error("{reason}")]
    Levels {
        /// What is wrong.
        reason: &'static str,
    },
    /// An operation on a layer's input that is none.
    #[error("{op} of a layer's input: found {found}, expected {expected}")]
    Online {
        /// Which operation.
        op: &'static str,
        /// What is wrong in it.
        found: String,
        /// What belongs there.
        expected: String,
    },
    /// What is added to a matrix does not fit it.
    #[error("{term} added to {shape} weights: expected {expected}")]
    Term {
        /// The term.
        term: String,
        /// The shape of the matrix.
        shape: NK,
        /// What belongs there.
        expected: String,
    },
    /// A label that names no weight format.
    #[error("unknown weight format `{label}`{}", nearest.as_ref().map_or(String::new(), |n| format!(", did you mean `{n}`?")))]
    UnknownSpec {
        /// The label given.
        label: String,
        /// The nearest one that exists.
        nearest: Option<String>,
    },
    /// A byte that is no five ternary codes.
    #[error("byte {at} of ternary codes is {found}, expected at most 242")]
    TernaryByte {
        /// Where.
        at: usize,
        /// The byte.
        found: u8,
    },
    /// A weight that cannot be quantized.
    #[error("weight {value} at row {n}, column {k} is not finite")]
    NotFinite {
        /// Row.
        n: usize,
        /// Column.
        k: usize,
        /// The weight.
        value: f32,
    },
    /// A slice of weights that is not as long as the shape says.
    #[error("{found} weights for shape {shape}")]
    WeightCount {
        /// The shape given.
        shape: NK,
        /// Number of weights given.
        found: usize,
    },
    /// A format that this crate cannot quantize to.
    #[error(
        "cannot round weights to {label}: such blocks are only read here; choose an int or ternary format"
    )]
    NoEncoder {
        /// Label of the format.
        label: String,
    },
}
