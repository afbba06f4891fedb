//! Scales and zero points of packed weights, in the formats that kernels read.

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{chosen, integers};
use lowbit_format::ParamFormat;

/// How a number is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// An unsigned integer of 1, 2 or 4 bits; sixteen are one little-endian number. Those of four bits alternate between its
    /// 32-bit words, so that a shift of every lane by its own distance finds them.
    Bits(usize),
    /// An unsigned integer.
    Byte,
    /// Little endian, as all that follow.
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

    /// Bytes of so many, a multiple of sixteen.
    pub(crate) fn bytes(self, count: usize) -> usize {
        let bits = match self {
            Self::Bits(width) => width,
            Self::Byte => 8,
            Self::F16 => 16,
            Self::F32 => 32,
        };
        count / 8 * bits
    }

    /// Writes number `i`, in bytes that were zeros.
    pub(crate) fn put(self, at: &mut [u8], i: usize, value: f32) {
        match self {
            Self::Bits(width) => {
                let bit = Self::bit(width, i);
                at[bit / 8] |= (value as u8) << (bit % 8);
            }
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
            Self::Bits(width) => {
                let bit = Self::bit(width, i);
                f32::from(at[bit / 8] >> (bit % 8) & ((1 << width) - 1) as u8)
            }
            Self::Byte => f32::from(at[i]),
            Self::F16 => lowbit_format::f16_to_f32(u16::from_le_bytes([at[2 * i], at[2 * i + 1]])),
            Self::F32 => f32::from_le_bytes([at[4 * i], at[4 * i + 1], at[4 * i + 2], at[4 * i + 3]]),
        }
    }

    /// The bit at which integer `i` of so many bits starts.
    #[inline(always)]
    fn bit(width: usize, i: usize) -> usize {
        let (sixteen, row) = (i / 16 * 16 * width, i % 16);
        sixteen + if width == 4 { 32 * (row % 2) + 4 * (row / 2) } else { width * row }
    }

    /// Reads the first sixteen numbers: one loop for each format, which compilers turn into vector code.
    #[inline(always)]
    pub(crate) fn get_sixteen(self, at: &[u8], out: &mut [f32; 16]) {
        match self {
            Self::Bits(_) => out.iter_mut().enumerate().for_each(|(i, out)| *out = self.get(at, i)),
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
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    //! Sixteen numbers a vector. Inlined always, so that vectors stay in registers, into functions for which the compiler knows
    //! the instructions.
    use super::Number;
    use std::arch::x86_64::*;

    impl Number {
        /// The first `16 Q` numbers.
        ///
        /// # Safety
        /// - The CPU has AVX-512F, and the compiler knows it where this is inlined.
        #[inline(always)]
        pub(crate) unsafe fn vectors<const Q: usize>(self, bytes: &[u8]) -> [__m512; Q] {
            // SAFETY: the instructions are there; a vector is read from an array as large as what it is made of.
            unsafe {
                let mut numbers = [_mm512_setzero_ps(); Q];
                match self {
                    Self::Bits(4) => return chosen::<4, Q>(bytes, integers::<4>()),
                    Self::Bits(_) => {
                        for (q, number) in numbers.iter_mut().enumerate() {
                            let sixteen: [f32; 16] = std::array::from_fn(|i| self.get(bytes, 16 * q + i));
                            *number = _mm512_loadu_ps(sixteen.as_ptr());
                        }
                    }
                    Self::Byte => {
                        let bytes = &bytes.as_chunks::<16>().0[..Q];
                        for q in 0..Q {
                            let bytes = _mm_loadu_si128(bytes[q].as_ptr().cast());
                            numbers[q] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
                        }
                    }
                    Self::F16 => {
                        let bytes = &bytes.as_chunks::<32>().0[..Q];
                        for q in 0..Q {
                            numbers[q] = _mm512_cvtph_ps(_mm256_loadu_si256(bytes[q].as_ptr().cast()));
                        }
                    }
                    Self::F32 => {
                        let bytes = &bytes.as_chunks::<64>().0[..Q];
                        for q in 0..Q {
                            numbers[q] = _mm512_loadu_ps(bytes[q].as_ptr().cast());
                        }
                    }
                }
                numbers
            }
        }
    }

    /// What each of the first `16 Q` integers of `WIDTH` bits chooses: four bits do, so that `worth` has to repeat itself where
    /// those of the next integer are among them.
    ///
    /// # Safety
    /// - As for [`Number::vectors`].
    #[inline(always)]
    pub(crate) unsafe fn chosen<const WIDTH: usize, const Q: usize>(
        bytes: &[u8],
        worth: __m512,
    ) -> [__m512; Q] {
        let bytes = &bytes[..2 * WIDTH * Q];
        // SAFETY: the instructions are there.
        unsafe {
            let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            let shift = match WIDTH {
                1 => lanes,
                2 => _mm512_slli_epi32::<1>(lanes),
                _ => _mm512_slli_epi32::<2>(_mm512_srli_epi32::<1>(lanes)),
            };
            let mut numbers = [_mm512_setzero_ps(); Q];
            for q in 0..Q {
                let bytes = &bytes[2 * WIDTH * q..][..2 * WIDTH];
                let fields = match WIDTH {
                    1 => _mm512_set1_epi32(i32::from(u16::from_le_bytes([bytes[0], bytes[1]]))),
                    2 => _mm512_set1_epi32(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
                    _ => _mm512_set1_epi64(bytes.first_chunk().map_or(0, |b| i64::from_le_bytes(*b))),
                };
                numbers[q] = _mm512_permutexvar_ps(_mm512_srlv_epi32(fields, shift), worth);
            }
            numbers
        }
    }

    /// Integers of `WIDTH` bits, again and again.
    ///
    /// # Safety
    /// - As for [`Number::vectors`].
    #[inline(always)]
    pub(crate) unsafe fn integers<const WIDTH: usize>() -> __m512 {
        let integers: [f32; 16] = std::array::from_fn(|i| (i & ((1 << WIDTH) - 1)) as f32);
        // SAFETY: the array has sixteen floats.
        unsafe { _mm512_loadu_ps(integers.as_ptr()) }
    }
}
