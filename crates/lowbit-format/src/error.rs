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
}
