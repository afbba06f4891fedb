//! What can go wrong when a cost is asked for.

use lowbit_format::NK;

/// Errors of traces and machines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// No machine has the name.
    #[error(
        "no machine is called {name:?}{}; there are measured, {}",
        nearest.as_ref().map_or_else(String::new, |near| format!(", did you mean {near}?")),
        known.join(", ")
    )]
    UnknownMachine {
        /// The name.
        name: String,
        /// The nearest that there is.
        nearest: Option<String>,
        /// All that there are.
        known: Vec<String>,
    },
    /// Rows of a layer are no whole number of a format's blocks.
    #[error(
        "{layer} of {shape} cannot be {format}: a row is no whole number of its blocks of {block} weights"
    )]
    RowNotBlocks {
        /// What the layer is for.
        layer: &'static str,
        /// Its shape.
        shape: NK,
        /// The format that was asked for.
        format: String,
        /// Weights of a block.
        block: usize,
    },
    /// A pass without a token.
    #[error("a pass needs at least one sequence and one token, found {sequences} and {tokens}")]
    Empty {
        /// Sequences asked for.
        sequences: usize,
        /// Tokens of each.
        tokens: usize,
    },
    /// A tensor to measure with could not be made.
    #[error("no weight of {shape} in {format} to measure with: {why}")]
    Tensor {
        /// The shape.
        shape: NK,
        /// The format.
        format: String,
        /// What went wrong.
        why: String,
    },
}
