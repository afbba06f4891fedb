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
}

impl ActSpec {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Int8Token, Self::Int4Token];

    /// Label in files.
    pub fn label(self) -> &'static str {
        match self {
            Self::Int8Token => "int8-token",
            Self::Int4Token => "int4-token",
        }
    }

    /// Bits of a code.
    pub fn bits(self) -> u32 {
        match self {
            Self::Int8Token => 8,
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
