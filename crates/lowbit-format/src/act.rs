//! In which numbers activations are multiplied, where a model's quantization prescribes it.

use crate::{FormatError, suggest};

/// What a model was quantized for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActSpec {
    /// Activations of the linear layers of blocks in 8 bits, symmetric, one scale for each token, found when it is there
    /// ("dynamic, per token").
    Int8Token,
    /// The same in 4 bits: codes from -7 to 7.
    Int4Token,
    /// In 8 bits, one scale for each token, but for those of at least [`OUTLIER`], which are multiplied in 16 bits.
    Int8TokenOutliers,
}

/// From which magnitude on an activation is an outlier: α of LLM.int8().
pub const OUTLIER: f32 = 6.0;

impl ActSpec {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Int8Token, Self::Int4Token, Self::Int8TokenOutliers];

    /// Label in files.
    pub fn label(self) -> &'static str {
        match self {
            Self::Int8Token => "int8-token",
            Self::Int4Token => "int4-token",
            Self::Int8TokenOutliers => "int8-token-outliers",
        }
    }

    /// Bits of a code.
    pub fn bits(self) -> u32 {
        match self {
            Self::Int8Token | Self::Int8TokenOutliers => 8,
            Self::Int4Token => 4,
        }
    }

    /// Reads a label.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(label: &str) -> Result<Self, FormatError> {
        Self::ALL.into_iter().find(|spec| spec.label() == label).ok_or_else(|| FormatError::UnknownSpec {
            label: label.to_owned(),
            nearest: suggest::nearest(label, Self::ALL.iter().map(|spec| spec.label())).map(str::to_owned),
        })
    }
}
