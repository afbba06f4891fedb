//! Sixteen f32 lanes, whatever the registers are: one 512-bit vector, two of 256 bits, or an array.
//!
//! Float kernels are written once over [`Lanes`] and inlined into one wrapper for every level. As the number of lanes
//! and the order of additions are fixed, every level gives the same bits.

use half::f16;

/// Sixteen lanes of f32.
///
/// # Safety
/// An implementor's methods may only be called where its instructions exist.
pub(crate) unsafe trait Lanes: Copy {
    /// All lanes zero.
    unsafe fn zero() -> Self;
    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;
    /// Sixteen floats, unaligned.
    ///
    /// # Safety
    /// - `p` is valid for reads of 16 elements.
    unsafe fn load(p: *const f32) -> Self;
    /// Sixteen halves, widened.
    ///
    /// # Safety
    /// - `p` is valid for reads of 16 elements of 2 bytes.
    unsafe fn load_f16(p: *const u8) -> Self;
    /// Sixteen bfloat16, widened.
    ///
    /// # Safety
    /// - `p` is valid for reads of 16 elements of 2 bytes.
    unsafe fn load_bf16(p: *const u8) -> Self;
    /// Sixteen integers of a byte, as floats.
    ///
    /// # Safety
    /// - `p` is valid for reads of 16 elements.
    unsafe fn load_i8(p: *const i8) -> Self;
    /// Sixteen signed integers of four bits, as floats: even lanes from the first four bytes, odd ones from the others.
    ///
    /// # Safety
    /// - `p` is valid for reads of 8 bytes.
    unsafe fn load_i4(p: *const u8) -> Self;
    /// Writes sixteen floats, unaligned.
    ///
    /// # Safety
    /// - `p` is valid for writes of 16 elements.
    unsafe fn store(self, p: *mut f32);
    /// `self · a`.
    unsafe fn mul(self, a: Self) -> Self;
    /// `self · a + b`, rounded once.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    /// The first `n` lanes, the others zero; `n` is at most 16.
    unsafe fn first(self, n: usize) -> Self;

    /// Sum of the lanes, halves added to halves.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut lanes = [0f32; 16];
        // SAFETY: the array has sixteen elements; the instructions exist by this method's contract.
        unsafe { self.store(lanes.as_mut_ptr()) };
        crate::ops::pairwise(lanes)
    }

    /// Sums of four, each as [`Self::sum`] adds it.
    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: passed on.
        four.map(|lanes| unsafe { lanes.sum() })
    }
}

/// Lanes as an array: the scalar level.
#[derive(Clone, Copy)]
pub(crate) struct Array([f32; 16]);

// SAFETY: needs no instruction beyond the architecture's own; reads and writes are those of the contracts.
unsafe impl Lanes for Array {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 16])
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 16])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: valid for 16 elements by contract; f32 arrays have the alignment of f32.
        Self(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> Self {
        // SAFETY: valid for 32 bytes by contract.
        let halves = unsafe { p.cast::<[[u8; 2]; 16]>().read_unaligned() };
        Self(halves.map(|h| f16::from_le_bytes(h).to_f32()))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self {
        // SAFETY: valid for 32 bytes by contract.
        let halves = unsafe { p.cast::<[[u8; 2]; 16]>().read_unaligned() };
        Self(halves.map(|h| f32::from_bits(u32::from(u16::from_le_bytes(h)) << 16)))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: valid for 16 elements by contract.
        Self(unsafe { p.cast::<[i8; 16]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn load_i4(p: *const u8) -> Self {
        // SAFETY: valid for 8 bytes by contract.
        let bytes = unsafe { p.cast::<[i8; 8]>().read_unaligned() };
        let lane = |i: usize| bytes[i % 2 * 4 + i / 4] << (4 - i / 2 % 2 * 4) >> 4;
        Self(std::array::from_fn(|i| f32::from(lane(i))))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: valid for 16 elements by contract.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn mul(self, a: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * a.0[i]))
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(a.0[i], b.0[i])))
    }
    #[inline(always)]
    unsafe fn first(self, n: usize) -> Self {
        Self(std::array::from_fn(|i| if i < n { self.0[i] } else { 0.0 }))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! Lanes as one or two registers.
    use super::Lanes;
    use std::arch::x86_64::*;

    /// Two 256-bit registers.
    #[derive(Clone, Copy)]
    pub(crate) struct Ymm2(__m256, __m256);

    // SAFETY: AVX2, FMA and F16C only; reads and writes are those of the contracts.
    unsafe impl Lanes for Ymm2 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller has AVX2.
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the caller has AVX2.
            unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: valid for 16 elements by contract.
            unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u8) -> Self {
            // SAFETY: valid for 32 bytes by contract; the caller has F16C.
            unsafe {
                Self(
                    _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
                    _mm256_cvtph_ps(_mm_loadu_si128(p.add(16).cast())),
                )
            }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u8) -> Self {
            // SAFETY: valid for 32 bytes by contract.
            unsafe {
                let widen = |p: *const u8| {
                    let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
                };
                Self(widen(p), widen(p.add(16)))
            }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> Self {
            // SAFETY: valid for 16 bytes by contract.
            unsafe {
                let widen =
                    |p: *const i8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())));
                Self(widen(p), widen(p.add(8)))
            }
        }
        #[inline(always)]
        unsafe fn load_i4(p: *const u8) -> Self {
            // SAFETY: valid for 8 bytes by contract.
            unsafe {
                let bytes = _mm256_set1_epi64x(p.cast::<i64>().read_unaligned());
                let lanes = |shifts| {
                    let lowest = _mm256_slli_epi32::<28>(_mm256_srlv_epi64(bytes, shifts));
                    _mm256_cvtepi32_ps(_mm256_srai_epi32::<28>(lowest))
                };
                Self(lanes(_mm256_setr_epi64x(0, 4, 8, 12)), lanes(_mm256_setr_epi64x(16, 20, 24, 28)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: valid for 16 elements by contract.
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn mul(self, a: Self) -> Self {
            // SAFETY: the caller has AVX2.
            unsafe { Self(_mm256_mul_ps(self.0, a.0), _mm256_mul_ps(self.1, a.1)) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller has FMA.
            unsafe { Self(_mm256_fmadd_ps(self.0, a.0, b.0), _mm256_fmadd_ps(self.1, a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn first(self, n: usize) -> Self {
            // SAFETY: the caller has AVX2.
            unsafe {
                let n = _mm256_set1_epi32(n as i32);
                let below = |lanes| _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, lanes));
                let (low, high) = (
                    _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                    _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15),
                );
                Self(_mm256_and_ps(self.0, below(low)), _mm256_and_ps(self.1, below(high)))
            }
        }
        #[inline(always)]
        unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
            // SAFETY: the caller has AVX2.
            unsafe {
                let [a, b, c, d] = four.map(|x| _mm256_add_ps(x.0, x.1));
                let halves = |a, b| {
                    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
                };
                let (ab, cd) = (halves(a, b), halves(c, d));
                // Lanes of 128 bits: a and c, then b and d, two partial sums each.
                let pairs =
                    _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
                let sums = _mm256_add_ps(
                    _mm256_shuffle_ps::<0x88>(pairs, pairs),
                    _mm256_shuffle_ps::<0xdd>(pairs, pairs),
                );
                let mut lanes = [0f32; 8];
                _mm256_storeu_ps(lanes.as_mut_ptr(), sums);
                [lanes[0], lanes[4], lanes[1], lanes[5]]
            }
        }
    }

    /// One 512-bit register.
    #[derive(Clone, Copy)]
    pub(crate) struct Zmm(__m512);

    // SAFETY: AVX-512 F and BW only; reads and writes are those of the contracts.
    unsafe impl Lanes for Zmm {
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller has AVX-512.
            unsafe { Self(_mm512_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the caller has AVX-512.
            unsafe { Self(_mm512_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: valid for 16 elements by contract.
            unsafe { Self(_mm512_loadu_ps(p)) }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u8) -> Self {
            // SAFETY: valid for 32 bytes by contract.
            unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u8) -> Self {
            // SAFETY: valid for 32 bytes by contract.
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
            }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> Self {
            // SAFETY: valid for 16 bytes by contract.
            unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))) }
        }
        #[inline(always)]
        unsafe fn load_i4(p: *const u8) -> Self {
            // SAFETY: valid for 8 bytes by contract.
            unsafe {
                let bytes = _mm512_set1_epi64(p.cast::<i64>().read_unaligned());
                let lowest = _mm512_srlv_epi64(bytes, _mm512_setr_epi64(0, 4, 8, 12, 16, 20, 24, 28));
                let all = _mm512_setr_ps(
                    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0,
                );
                // Only the low four bits of an index count.
                Self(_mm512_permutexvar_ps(lowest, all))
            }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: valid for 16 elements by contract.
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn mul(self, a: Self) -> Self {
            // SAFETY: the caller has AVX-512.
            unsafe { Self(_mm512_mul_ps(self.0, a.0)) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller has AVX-512.
            unsafe { Self(_mm512_fmadd_ps(self.0, a.0, b.0)) }
        }
        #[inline(always)]
        unsafe fn first(self, n: usize) -> Self {
            // SAFETY: the caller has AVX-512.
            unsafe { Self(_mm512_maskz_mov_ps(!(u32::MAX << n) as u16, self.0)) }
        }
        #[inline(always)]
        unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
            // SAFETY: the caller has AVX-512.
            unsafe {
                let [a, b, c, d] = four.map(|x| x.0);
                let halves = |a, b| {
                    _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b))
                };
                let (ab, cd) = (halves(a, b), halves(c, d));
                // A 128-bit lane each for a, b, c and d, four partial sums in it.
                let fours =
                    _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
                let pairs = _mm512_add_ps(fours, _mm512_shuffle_ps::<0x4e>(fours, fours));
                let sums = _mm512_add_ps(pairs, _mm512_shuffle_ps::<0xb1>(pairs, pairs));
                let mut lanes = [0f32; 16];
                _mm512_storeu_ps(lanes.as_mut_ptr(), sums);
                [lanes[0], lanes[4], lanes[8], lanes[12]]
            }
        }
    }
}
