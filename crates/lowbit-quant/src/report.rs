//! What a quantization did.

use serde::Serialize;

/// Of the whole model.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The method.
    pub method: &'static str,
    /// SHA-256 of the source's tensor files, one after the other.
    pub source_sha256: String,
    /// Every tensor that was rounded, in the source's order.
    pub tensors: Vec<TensorReport>,
    /// Weights that were rounded.
    pub quantized_weights: u64,
    /// Bits of each of them, scales and zero points included.
    pub quantized_bits_per_weight: f64,
    /// Σ (w − ŵ)² over Σ w² of all that were rounded; 0 where all are zero.
    pub nmse: f64,
    /// Weights of the model, with those that stayed as they were stored.
    pub weights: u64,
    /// Bits of each of them in the file, vocabulary and all.
    pub bits_per_weight: f64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Of one tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorReport {
    /// Name in the file.
    pub name: String,
    /// What it is for.
    pub role: &'static str,
    /// Label of the format it had.
    pub from: String,
    /// Label of the format it has.
    pub format: String,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Bits of a weight, scales and zero points included.
    pub bits_per_weight: f64,
    /// Σ (w − ŵ)² over Σ w²; 0 where all are zero.
    pub nmse: f64,
}
