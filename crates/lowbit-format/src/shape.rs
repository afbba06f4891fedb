//! Shapes and bit counts.

use crate::FormatError;
use serde::{Deserialize, Serialize};

/// Shape of a weight matrix: N output features by K input features, so that `y[M, N] = x[M, K] · W[N, K]ᵀ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NK {
    /// Output features: rows of the stored matrix.
    pub n: usize,
    /// Input features: columns of the stored matrix.
    pub k: usize,
}

impl NK {
    /// Number of weights.
    ///
    /// # Panics
    /// Where `n * k` does not fit in `usize`; readers check shapes before they build one.
    pub fn weights(self) -> usize {
        self.n.checked_mul(self.k).expect("shape was checked by the reader")
    }
}

impl std::fmt::Display for NK {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}]", self.n, self.k)
    }
}

/// A number of bits a code takes, 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Bits(u8);

impl Bits {
    /// # Errors
    /// [`FormatError::Bits`] outside 1..=8.
    pub fn new(bits: u8) -> Result<Self, FormatError> {
        if (1..=8).contains(&bits) { Ok(Self(bits)) } else { Err(FormatError::Bits { found: bits }) }
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }

    /// How many codes there are: 2 to the bits.
    pub fn levels(self) -> u32 {
        1 << self.0
    }
}

impl TryFrom<u8> for Bits {
    type Error = FormatError;
    fn try_from(bits: u8) -> Result<Self, FormatError> {
        Self::new(bits)
    }
}

impl From<Bits> for u8 {
    fn from(bits: Bits) -> u8 {
        bits.0
    }
}
