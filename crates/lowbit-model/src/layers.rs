//! The linear layers of a model without their weights: what each is for, its format and its size.

use crate::{LinearId, ModelSpec};
use lowbit_format::{NK, WeightSpec};

/// The linear layers of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Linears {
    /// Hyper-parameters.
    pub spec: ModelSpec,
    /// Every layer that is multiplied, the head among them.
    pub layers: Vec<LinearLayer>,
    /// Format of the token embeddings.
    pub embedding: WeightSpec,
    /// Whether the head is the token embeddings.
    pub tied: bool,
}

/// A linear layer as a checkpoint stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearLayer {
    /// What it is for.
    pub id: LinearId,
    /// Format of its weight.
    pub format: WeightSpec,
    /// Its shape.
    pub shape: NK,
    /// Bytes of its weight.
    pub bytes: usize,
}
