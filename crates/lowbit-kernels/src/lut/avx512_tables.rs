//! Tables of 128 entries, made with AVX-512: the signed sums of a tuple of activations, thirty-two at a time.

use super::{TableBits, acts::ternary_digits};
use std::arch::x86_64::*;

/// Makes the tables of tuples of activations, one after the other.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx512`].
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) unsafe fn build(x: &[i16], tuple: usize, bits: TableBits, out: &mut [u8]) {
    let odd: [u8; 64] = std::array::from_fn(|i| 2 * i as u8 + 1);
    let even: [u8; 64] = std::array::from_fn(|i| 2 * i as u8);
    // SAFETY: sixty-four bytes each.
    let (odd, even) =
        unsafe { (_mm512_loadu_si512(odd.as_ptr().cast()), _mm512_loadu_si512(even.as_ptr().cast())) };
    let lookup_bytes = 128 * bits.bytes();
    let offset = if bits == TableBits::Eight { 0x8000u16.cast_signed() } else { 32640 };
    for (x, out) in x.chunks_exact(tuple).zip(out.chunks_exact_mut(lookup_bytes)) {
        let u = match x.first_chunk::<8>() {
            Some(x) if tuple == 8 => eight(x, offset),
            _ => five(x.first_chunk().expect("five activations"), offset),
        };
        let store = |out: &mut [u8], v| {
            let out: &mut [u8; 64] = out.first_chunk_mut().expect("half a table");
            // SAFETY: sixty-four bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), v) }
        };
        match bits {
            TableBits::Eight => {
                store(out, _mm512_permutex2var_epi8(u[0], odd, u[1]));
                store(&mut out[64..], _mm512_permutex2var_epi8(u[2], odd, u[3]));
            }
            TableBits::Sixteen => {
                // u / 255 and u mod 255.
                let by_255 = _mm512_set1_epi16(0x8081u16.cast_signed());
                let high: [_; 4] =
                    std::array::from_fn(|i| _mm512_srli_epi16::<7>(_mm512_mulhi_epu16(u[i], by_255)));
                let low: [_; 4] = std::array::from_fn(|i| _mm512_add_epi16(u[i], high[i]));
                store(out, _mm512_permutex2var_epi8(high[0], even, high[1]));
                store(&mut out[64..], _mm512_permutex2var_epi8(high[2], even, high[3]));
                store(&mut out[128..], _mm512_permutex2var_epi8(low[0], even, low[1]));
                store(&mut out[192..], _mm512_permutex2var_epi8(low[2], even, low[3]));
            }
        }
    }
}

/// The 128 sums of eight activations, the last always added, plus `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn eight(x: &[i16; 8], offset: i16) -> [__m512i; 4] {
    // SAFETY: sixteen bytes.
    let x = _mm512_castsi128_si512(unsafe { _mm_loadu_si128(x.as_ptr().cast()) });
    let twice = _mm512_add_epi16(x, x);
    let of = |i: i16| _mm512_permutexvar_epi16(_mm512_set1_epi16(i), twice);
    // −x₀ − … − x₆ + x₇ in every lane: products with ±1 in pairs, which wrap around as sums of 16 bits do.
    let signs = _mm_set_epi16(1, -1, -1, -1, -1, -1, -1, -1);
    let pairs = _mm_madd_epi16(_mm512_castsi512_si128(x), signs);
    let fours = _mm_add_epi32(pairs, _mm_shuffle_epi32::<0b01_00_11_10>(pairs));
    let all = _mm_add_epi32(fours, _mm_shuffle_epi32::<0b10_11_00_01>(fours));
    let mut base = _mm512_add_epi16(_mm512_broadcastw_epi16(all), _mm512_set1_epi16(offset));
    for (i, mask) in [0xaaaa_aaaa, 0xcccc_cccc, 0xf0f0_f0f0, 0xff00_ff00, 0xffff_0000].into_iter().enumerate()
    {
        base = _mm512_mask_add_epi16(base, mask, base, of(i as i16));
    }
    let (fifth, sixth) = (of(5), of(6));
    let next = _mm512_add_epi16(base, fifth);
    [base, next, _mm512_add_epi16(base, sixth), _mm512_add_epi16(next, sixth)]
}

/// For every digit of balanced ternary numbers, of which of 0..128 it is 1 and of which −1.
const DIGITS: [[[u32; 4]; 2]; 5] = {
    let mut masks = [[[0; 4]; 2]; 5];
    let mut e = 0;
    while e < 128 {
        let digits = ternary_digits(e);
        let mut i = 0;
        while i < 5 {
            if digits[i] != 0 {
                masks[i][(digits[i] < 0) as usize][e / 32] |= 1 << (e % 32);
            }
            i += 1;
        }
        e += 1;
    }
    masks
};

/// The 122 sums of five activations with ternary weights, plus `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn five(x: &[i16; 5], offset: i16) -> [__m512i; 4] {
    let mut sums = [_mm512_set1_epi16(offset); 4];
    for (x, [plus, minus]) in x.iter().zip(&DIGITS) {
        let x = _mm512_set1_epi16(*x);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = _mm512_mask_add_epi16(*sum, plus[i], *sum, x);
            *sum = _mm512_mask_sub_epi16(*sum, minus[i], *sum, x);
        }
    }
    sums
}
