//! Element formats: how a stored code becomes a number before scaling.

use crate::{Bits, Codebook, codes::Packing};

/// What a code of a grouped tensor means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementFormat {
    /// Integer codes 0 to 2^bits − 1, less a zero point.
    Int {
        /// Bits of a code.
        bits: Bits,
        /// What is subtracted.
        zero: ZeroPoint,
    },
    /// −1, 0, +1 as codes 0, 1, 2.
    Ternary,
    /// Codes that stand for the numbers of a table.
    Codebook(Codebook),
}

/// The number that is subtracted from an integer code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZeroPoint {
    /// The middle, 2^(bits − 1); for one bit one half, so that the two values are opposite.
    Symmetric,
    /// A code of its own for every group of the first scale level, stored in as many bits as the codes.
    Integer,
    /// A number for every group of the first scale level, in the format of that level's scales where it is f32, f16 or
    /// bf16, else in f16.
    Float,
}

impl ElementFormat {
    /// How codes are stored.
    pub fn packing(self) -> Packing {
        match self {
            Self::Int { bits, .. } => Packing::Bits(bits),
            Self::Ternary => Packing::Trits,
            Self::Codebook(book) => Packing::Bits(book.bits()),
        }
    }

    /// What is subtracted from every code, `None` where each group has its own and where codes stand for numbers.
    pub fn center(self) -> Option<f32> {
        match self {
            Self::Int { bits, zero: ZeroPoint::Symmetric } if bits.get() == 1 => Some(0.5),
            Self::Int { bits, zero: ZeroPoint::Symmetric } => Some(bits.levels() as f32 / 2.0),
            Self::Int { .. } | Self::Codebook(_) => None,
            Self::Ternary => Some(1.0),
        }
    }
}
