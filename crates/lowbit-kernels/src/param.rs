//! Scales and zero points of packed weights, in the formats that kernels read.

use lowbit_format::ParamFormat;

/// A number's bytes, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// An unsigned integer.
    Byte,
    F16,
    F32,
}

impl Number {
    /// The same as a stored format, `None` where that is another.
    pub(crate) fn of(format: ParamFormat) -> Option<Self> {
        match format {
            ParamFormat::F16 => Some(Self::F16),
            ParamFormat::F32 => Some(Self::F32),
            ParamFormat::Int(_) => Some(Self::Byte),
            _ => None,
        }
    }

    /// Bytes of one.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// Writes number `i`.
    pub(crate) fn put(self, at: &mut [u8], i: usize, value: f32) {
        match self {
            Self::Byte => at[i] = value as u8,
            Self::F16 => {
                at[2 * i..][..2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
            }
            Self::F32 => at[4 * i..][..4].copy_from_slice(&value.to_le_bytes()),
        }
    }

    /// Reads number `i`.
    #[inline(always)]
    pub(crate) fn get(self, at: &[u8], i: usize) -> f32 {
        match self {
            Self::Byte => f32::from(at[i]),
            Self::F16 => lowbit_format::f16_to_f32(u16::from_le_bytes([at[2 * i], at[2 * i + 1]])),
            Self::F32 => f32::from_le_bytes([at[4 * i], at[4 * i + 1], at[4 * i + 2], at[4 * i + 3]]),
        }
    }

    /// Reads the first sixteen numbers: one loop for each format, which compilers turn into vector code.
    #[inline(always)]
    pub(crate) fn get_sixteen(self, at: &[u8], out: &mut [f32; 16]) {
        match self {
            Self::Byte => out.iter_mut().zip(&at[..16]).for_each(|(out, byte)| *out = f32::from(*byte)),
            Self::F16 => {
                let numbers = at[..32].as_chunks::<2>().0;
                for (out, bytes) in out.iter_mut().zip(numbers) {
                    *out = lowbit_format::f16_to_f32(u16::from_le_bytes(*bytes));
                }
            }
            Self::F32 => {
                let numbers = at[..64].as_chunks::<4>().0;
                for (out, bytes) in out.iter_mut().zip(numbers) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
        }
    }

    /// Numbers `16 q..16 q + 16`.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn sixteen(self, bytes: &[u8], q: usize) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::*;
        match self {
            Self::Byte => {
                let bytes: &[u8; 16] = bytes[16 * q..].first_chunk().expect("sixteen numbers");
                // SAFETY: sixteen bytes.
                _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }))
            }
            Self::F16 => {
                let bytes: &[u8; 32] = bytes[32 * q..].first_chunk().expect("sixteen numbers");
                // SAFETY: thirty-two bytes.
                _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
            }
            Self::F32 => {
                let bytes: &[u8; 64] = bytes[64 * q..].first_chunk().expect("sixteen numbers");
                // SAFETY: sixty-four bytes.
                unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
            }
        }
    }
}
