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

    /// Rounds to the nearest element, ties to even.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
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
                    *x = f16_to_f32(u16::from_le_bytes(*b));
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

/// Widens a half-precision number, exactly (a NaN keeps its payload).
///
/// Without branches, so that a loop over it vectorizes in every instruction set; the conversion of the `half` crate asks
/// for the CPU's features on each call.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let exponent = magnitude & 0x0f80_0000;
    let normal = magnitude + (112 << 23);
    let special = magnitude + (224 << 23); // exponent 31 becomes 255
    // A subnormal is its mantissa times 2^-24, the distance of neighbours of one half.
    let subnormal = (f32::from_bits((126 << 23) | (magnitude >> 13)) - 0.5).to_bits();
    let finite = if exponent == 0 { subnormal } else { normal };
    f32::from_bits(sign | if exponent == 0x0f80_0000 { special } else { finite })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_precision_number_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{bits:#06x}");
        }
    }
}
