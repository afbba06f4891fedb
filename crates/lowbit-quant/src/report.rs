//! What a quantization did.

use crate::solve::Quantized;
use lowbit_format::NK;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TensorReport {
    /// Name in the file.
    pub name: String,
    /// What it is for.
    pub role: String,
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
    /// Tokens that its inputs were collected from, of experts in one tensor the fewest; 0 where it was rounded from
    /// its weights alone because no token chose it; absent without calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration_tokens: Option<u64>,
    /// What the figures are made of.
    pub(crate) sums: Sums,
}

/// Sums over weights.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) weights: u64,
    pub(crate) bytes: u64,
    /// Σ (w − ŵ)².
    pub(crate) error: f64,
    /// Σ w².
    pub(crate) squared: f64,
}

impl Sums {
    pub(crate) fn of(shape: NK, quantized: &Quantized) -> Self {
        Self {
            weights: shape.weights() as u64,
            bytes: quantized.bytes() as u64,
            error: quantized.squared_error,
            squared: quantized.squared,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.weights += other.weights;
        self.bytes += other.bytes;
        self.error += other.error;
        self.squared += other.squared;
    }

    pub(crate) fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.weights.max(1) as f64
    }

    pub(crate) fn nmse(&self) -> f64 {
        if self.squared > 0.0 { self.error / self.squared } else { 0.0 }
    }
}
