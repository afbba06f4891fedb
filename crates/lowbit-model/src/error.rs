//! What can be wrong with a configuration, a checkpoint or a call.

use crate::{build::WeightError, kv::KvGeometry};
use lowbit_format::NK;

/// Errors of this crate. Messages name the key or tensor; callers add the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No architecture of that name.
    #[error("unknown architecture `{found}`{hint}; known are {known}")]
    UnknownArchitecture {
        /// The name in the file.
        found: String,
        /// `, did you mean ...` or nothing.
        hint: String,
        /// Every known name.
        known: String,
    },
    /// A key that has no default is absent.
    #[error("`{key}` is missing")]
    MissingKey {
        /// The key as the file would spell it.
        key: String,
    },
    /// A value of the wrong type, outside its range, or at odds with another one.
    #[error("`{key}` is {found}, expected {expected}")]
    Value {
        /// The key as the file spells it.
        key: String,
        /// The value, shortened.
        found: String,
        /// What would have been right.
        expected: String,
    },
    /// An option that changes the computation in a way that the decoder does not know.
    #[error("`{key}` = {found} is not supported")]
    Unsupported {
        /// The key as the file spells it.
        key: String,
        /// Its value, shortened.
        found: String,
    },
    /// The metadata could not be read.
    #[error("cannot read `{key}`")]
    Metadata {
        /// The key.
        key: String,
        /// Why.
        source: WeightError,
    },
    /// A tensor that the configuration asks for is absent.
    #[error("tensor `{tensor}` is missing")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor that is there although the configuration says that the model has none.
    #[error("tensor `{tensor}` is in the checkpoint, but the configuration says that the model has none")]
    UnexpectedTensor {
        /// Its name.
        tensor: String,
    },
    /// A matrix whose shape is not the one that the configuration implies.
    #[error("tensor `{tensor}` is {found}, the configuration asks for {expected}")]
    MatrixShape {
        /// Its name.
        tensor: String,
        /// Shape in the checkpoint.
        found: NK,
        /// Shape by the configuration.
        expected: NK,
    },
    /// A vector whose length is not the one that the configuration implies.
    #[error("tensor `{tensor}` has {found} elements, the configuration asks for {expected}")]
    VectorLength {
        /// Its name.
        tensor: String,
        /// Elements in the checkpoint.
        found: usize,
        /// Elements by the configuration.
        expected: usize,
    },
    /// A tensor that could not be read.
    #[error("cannot read tensor `{tensor}`")]
    Tensor {
        /// Its name.
        tensor: String,
        /// Why.
        source: WeightError,
    },
    /// A value of a tensor that has no meaning.
    #[error("tensor `{tensor}` holds {found}, expected {expected}")]
    TensorValue {
        /// Its name.
        tensor: String,
        /// What is there.
        found: String,
        /// What would have been right.
        expected: String,
    },
    /// A token id that is not in the vocabulary.
    #[error("token {index} has id {id}, the vocabulary has {vocab}")]
    Token {
        /// Place in the batch.
        index: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// More tokens than the cache was opened for.
    #[error(
        "{held} tokens in the cache and {new} new ones exceed its capacity of {capacity}; open a larger one or start anew"
    )]
    CacheFull {
        /// Tokens already there.
        held: usize,
        /// Tokens of this call.
        new: usize,
        /// Tokens the cache was opened for.
        capacity: usize,
    },
    /// A cache that was opened for another model.
    #[error("the cache was opened for another model: {found}, expected {expected}")]
    OtherCache {
        /// Layers and heads of the cache.
        found: KvGeometry,
        /// Layers and heads of the model.
        expected: KvGeometry,
    },
    /// A cache longer than the model can address.
    #[error("a cache of {found} tokens, expected 1 to {limit}, the context of the model")]
    Capacity {
        /// Tokens asked for.
        found: usize,
        /// Context length of the model.
        limit: usize,
    },
    /// Logits asked for from a row that the batch does not have.
    #[error("logits from row {from} of a batch of {tokens} tokens")]
    LogitRows {
        /// First row asked for.
        from: usize,
        /// Tokens in the batch.
        tokens: usize,
    },
    /// A part of a model whose gradient is not known.
    #[error("no gradient is known of {what}; {next}")]
    NoGradient {
        /// The part.
        what: String,
        /// What can be done.
        next: &'static str,
    },
}
