//! Thirty-two activations at a time: their largest magnitude, their codes, what the codes leave. Written for each level: left to
//! the compiler, sums of codes are taken one by one.

use crate::ACT_GROUP;

/// Activations that are rounded together.
///
/// # Safety
/// An implementor's methods may only be called where its instructions exist.
pub(super) unsafe trait Group: Copy {
    unsafe fn load(x: &[f32; ACT_GROUP]) -> Self;
    /// The bits of the largest magnitude: as whole numbers, magnitudes have the order they have as floats.
    unsafe fn max_bits(self) -> u32;
    /// Writes the codes `round(x · inverse)`, halves to even, in the low 8 bits; a NaN has code 0. Returns the sum of each half.
    unsafe fn round(self, inverse: f32, q: &mut [i8; ACT_GROUP]) -> [i32; 2];
    /// `x − code · step`.
    unsafe fn rest(self, inverse: f32, step: f32) -> Self;
}

/// Adding 1.5 · 2^23 leaves no place for digits after the point.
const SHIFT: f32 = 12_582_912.0;

/// The nearest whole number, halves to even, in the low bits.
#[inline(always)]
pub(crate) fn whole_bits(x: f32) -> u32 {
    (x + SHIFT).to_bits()
}

/// As an array: the scalar level.
#[derive(Clone, Copy)]
pub(super) struct Array([f32; ACT_GROUP]);

// SAFETY: needs no instruction beyond the architecture's own.
unsafe impl Group for Array {
    #[inline(always)]
    unsafe fn load(x: &[f32; ACT_GROUP]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    unsafe fn max_bits(self) -> u32 {
        self.0.iter().map(|x| x.abs().to_bits()).fold(0, u32::max)
    }

    #[inline(always)]
    unsafe fn round(self, inverse: f32, q: &mut [i8; ACT_GROUP]) -> [i32; 2] {
        for (q, x) in q.iter_mut().zip(&self.0) {
            *q = whole_bits(x * inverse) as i8;
        }
        let sum = |codes: &[i8]| codes.iter().map(|code| i32::from(*code)).sum();
        [sum(&q[..ACT_GROUP / 2]), sum(&q[ACT_GROUP / 2..])]
    }

    #[inline(always)]
    unsafe fn rest(self, inverse: f32, step: f32) -> Self {
        Self(self.0.map(|x| x - f32::from(whole_bits(x * inverse) as i8) * step))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    //! Groups as four or two registers. No closures: they would be compiled without the instructions.
    use super::{ACT_GROUP, Group, SHIFT};
    use std::arch::x86_64::*;

    /// Four 256-bit registers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Ymm4([__m256; 4]);

    /// Codes in 32 bits, from their low eight.
    #[inline(always)]
    unsafe fn codes_256(x: __m256, inverse: __m256) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe {
            let whole = _mm256_add_ps(_mm256_mul_ps(x, inverse), _mm256_set1_ps(SHIFT));
            _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(_mm256_castps_si256(whole)))
        }
    }

    #[inline(always)]
    unsafe fn rest_256(x: __m256, inverse: __m256, step: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_sub_ps(x, _mm256_mul_ps(_mm256_cvtepi32_ps(codes_256(x, inverse)), step)) }
    }

    #[inline(always)]
    unsafe fn magnitude_256(x: __m256) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(i32::MAX)) }
    }

    // SAFETY: AVX2 only; arrays have the length that is read and written.
    unsafe impl Group for Ymm4 {
        #[inline(always)]
        unsafe fn load(x: &[f32; ACT_GROUP]) -> Self {
            // SAFETY: 32 floats; the caller has AVX2.
            unsafe {
                let p = x.as_ptr();
                Self([
                    _mm256_loadu_ps(p),
                    _mm256_loadu_ps(p.add(8)),
                    _mm256_loadu_ps(p.add(16)),
                    _mm256_loadu_ps(p.add(24)),
                ])
            }
        }

        #[inline(always)]
        unsafe fn max_bits(self) -> u32 {
            // SAFETY: the caller has AVX2.
            unsafe {
                let [a, b, c, d] = self.0;
                let (a, b, c, d) = (magnitude_256(a), magnitude_256(b), magnitude_256(c), magnitude_256(d));
                let eight = _mm256_max_epu32(_mm256_max_epu32(a, b), _mm256_max_epu32(c, d));
                let four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
                let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0b_00_00_11_10>(four));
                let one = _mm_max_epu32(two, _mm_shuffle_epi32::<0b_00_00_00_01>(two));
                _mm_cvtsi128_si32(one).cast_unsigned()
            }
        }

        #[inline(always)]
        unsafe fn round(self, inverse: f32, q: &mut [i8; ACT_GROUP]) -> [i32; 2] {
            // SAFETY: 32 bytes are written; the caller has AVX2.
            unsafe {
                let inverse = _mm256_set1_ps(inverse);
                let [a, b, c, d] = self.0;
                let (a, b) = (codes_256(a, inverse), codes_256(b, inverse));
                let (c, d) = (codes_256(c, inverse), codes_256(d, inverse));
                // Packing goes by halves of registers: their quarters are put in order at the end.
                let packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                let codes = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
                _mm256_storeu_si256(q.as_mut_ptr().cast(), codes);
                let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
                halves(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        }

        #[inline(always)]
        unsafe fn rest(self, inverse: f32, step: f32) -> Self {
            // SAFETY: the caller has AVX2.
            unsafe {
                let (inverse, step) = (_mm256_set1_ps(inverse), _mm256_set1_ps(step));
                let [a, b, c, d] = self.0;
                Self([
                    rest_256(a, inverse, step),
                    rest_256(b, inverse, step),
                    rest_256(c, inverse, step),
                    rest_256(d, inverse, step),
                ])
            }
        }
    }

    /// Sums of the first four numbers and of the others.
    #[inline(always)]
    unsafe fn halves(sums: __m256i) -> [i32; 2] {
        // SAFETY: the caller has AVX2.
        unsafe {
            let two = _mm256_add_epi32(sums, _mm256_shuffle_epi32::<0b_00_00_11_10>(sums));
            let one = _mm256_add_epi32(two, _mm256_shuffle_epi32::<0b_00_00_00_01>(two));
            [_mm256_extract_epi32::<0>(one), _mm256_extract_epi32::<4>(one)]
        }
    }

    /// Two 512-bit registers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Zmm2([__m512; 2]);

    #[inline(always)]
    unsafe fn codes_512(x: __m512, inverse: __m512) -> __m512i {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let whole = _mm512_add_ps(_mm512_mul_ps(x, inverse), _mm512_set1_ps(SHIFT));
            _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(_mm512_castps_si512(whole)))
        }
    }

    #[inline(always)]
    unsafe fn rest_512(x: __m512, inverse: __m512, step: __m512) -> __m512 {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_sub_ps(x, _mm512_mul_ps(_mm512_cvtepi32_ps(codes_512(x, inverse)), step)) }
    }

    // SAFETY: AVX-512 F, BW, VL and VNNI; arrays have the length that is read and written.
    unsafe impl Group for Zmm2 {
        #[inline(always)]
        unsafe fn load(x: &[f32; ACT_GROUP]) -> Self {
            // SAFETY: 32 floats; the caller has AVX-512.
            unsafe { Self([_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16))]) }
        }

        #[inline(always)]
        unsafe fn max_bits(self) -> u32 {
            // SAFETY: the caller has AVX-512.
            unsafe {
                let mask = _mm512_set1_epi32(i32::MAX);
                let [a, b] = self.0;
                let a = _mm512_and_si512(_mm512_castps_si512(a), mask);
                let b = _mm512_and_si512(_mm512_castps_si512(b), mask);
                _mm512_reduce_max_epu32(_mm512_max_epu32(a, b))
            }
        }

        #[inline(always)]
        unsafe fn round(self, inverse: f32, q: &mut [i8; ACT_GROUP]) -> [i32; 2] {
            // SAFETY: 32 bytes are written; the caller has AVX-512.
            unsafe {
                let inverse = _mm512_set1_ps(inverse);
                let [a, b] = self.0;
                let a = _mm512_cvtepi32_epi8(codes_512(a, inverse));
                let b = _mm512_cvtepi32_epi8(codes_512(b, inverse));
                let codes = _mm256_set_m128i(b, a);
                _mm256_storeu_si256(q.as_mut_ptr().cast(), codes);
                halves(_mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), codes))
            }
        }

        #[inline(always)]
        unsafe fn rest(self, inverse: f32, step: f32) -> Self {
            // SAFETY: the caller has AVX-512.
            unsafe {
                let (inverse, step) = (_mm512_set1_ps(inverse), _mm512_set1_ps(step));
                let [a, b] = self.0;
                Self([rest_512(a, inverse, step), rest_512(b, inverse, step)])
            }
        }
    }
}
