//! Unquantized weights: f32, f16, bf16.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// A floating-point element type, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatFormat {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl FloatFormat {
    /// Every float format.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Label in files, reports and commands.
    pub const fn label(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes an element takes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Widens `out.len()` elements from `src`, exactly.
    ///
    /// # Panics
    /// Where `src` is not `out.len()` elements long.
    #[inline(always)]
    pub fn decode(self, src: &[u8], out: &mut [f32]) {
        assert_eq!(src.len(), out.len() * self.bytes(), "source and target differ in length");
        match self {
            Self::F32 => {
                for (x, b) in out.iter_mut().zip(src.as_chunks::<4>().0) {
                    *x = f32::from_le_bytes(*b);
                }
            }
            Self::F16 => {
                for (x, b) in out.iter_mut().zip(src.as_chunks::<2>().0) {
                    *x = f16::from_le_bytes(*b).to_f32();
                }
            }
            Self::Bf16 => {
                for (x, b) in out.iter_mut().zip(src.as_chunks::<2>().0) {
                    *x = bf16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }
}
