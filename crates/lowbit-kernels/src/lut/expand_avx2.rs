//! Expansion of bit planes to bytes, and their product with 8-bit terms of activations, with AVX2.
//!
//! The byte of a row and plane is copied to four, in each of which another bit decides whether the code there has the
//! plane's worth. Sums of codes `c` from 0 are exact integers, `Σ 2 c q − (2ᵇ − 1) Σ q` is the one which is looked up
//! elsewhere.

use super::{
    acts::GroupActs,
    avx2::Group,
    expand::Part,
    layout::{Layout, PANEL},
};
use crate::expand::avx2::unsigned;
use std::arch::x86_64::*;

/// Rows that are multiplied at once.
const ROWS: usize = 16;

/// Rows of a strip, whose sums are scaled at once.
const STRIP: usize = 2 * ROWS;

/// Expands the groups of a part and multiplies them with its tokens.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx2`].
pub(super) unsafe fn multiply<const PLANES: usize>(
    part: &Part<'_>,
    layout: &Layout,
    codes: &mut [u8],
    sums: &mut [[f32; PANEL]],
) {
    let rows = part.acts.terms().rows();
    // Sixteen rows after the other, each of all groups.
    let codes = &mut codes[..part.groups.len() * layout.lookups * 8 * PANEL];
    // SAFETY: passed on.
    unsafe { expand::<PLANES>(part, layout, codes) };
    let mut first = 0;
    while first < sums.len() {
        // SAFETY: passed on.
        first += unsafe {
            match (rows, sums.len() - first) {
                (1, 4..) => tokens::<PLANES, 1, 4, 4>(part, layout, codes, first, sums),
                (1, 2..) => tokens::<PLANES, 1, 2, 2>(part, layout, codes, first, sums),
                (1, _) => tokens::<PLANES, 1, 1, 1>(part, layout, codes, first, sums),
                (_, 2..) => tokens::<PLANES, 2, 2, 4>(part, layout, codes, first, sums),
                _ => tokens::<PLANES, 2, 1, 2>(part, layout, codes, first, sums),
            }
        };
    }
}

/// Expands the codes of all groups, `[sixteen rows][group][four weights][row][code]`.
///
/// # Safety
/// - As for [`multiply`].
#[target_feature(enable = "avx2")]
unsafe fn expand<const PLANES: usize>(part: &Part<'_>, layout: &Layout, out: &mut [u8]) {
    let sixteen_bytes = out.len() / (PANEL / ROWS);
    // Bits 0 to 3 of a row's byte, then 4 to 7.
    let bits = [_mm256_set1_epi32(0x0804_0201), _mm256_set1_epi32(0x8040_2010_u32.cast_signed())];
    for (sixteen, out) in out.chunks_exact_mut(sixteen_bytes.max(1)).enumerate() {
        let (strip, upper) = (sixteen / 2, sixteen % 2);
        let mut steps = out.chunks_exact_mut(4 * ROWS);
        for group in part.groups.clone() {
            let bytes = &part.w[layout.codes_at(group)..][..layout.group_bytes];
            for tuple in bytes.chunks_exact(PANEL * PLANES) {
                let tuple = &tuple[strip * STRIP * PLANES..][..STRIP * PLANES];
                let mut codes = [[_mm256_setzero_si256(); 2]; 2];
                for plane in 0..PLANES {
                    let odd = PLANES % 2 == 1 && plane == PLANES - 1;
                    let at = plane / 2 * 2 * STRIP + if odd { 0 } else { STRIP * upper };
                    let vector: &[u8; 32] = tuple[at..].first_chunk().expect("vectors of the strip");
                    // SAFETY: thirty-two bytes.
                    let vector = unsafe { _mm256_loadu_si256(vector.as_ptr().cast()) };
                    let byte = if odd { upper } else { plane % 2 };
                    let worth = _mm256_set1_epi8(1 << plane);
                    for eight in 0..2 {
                        // A lane of 32 bits has two rows, eight apart.
                        let copies = copies(byte + 2 * eight);
                        let rows = _mm256_shuffle_epi8(vector, copies);
                        for half in 0..2 {
                            let set = _mm256_cmpeq_epi8(_mm256_and_si256(rows, bits[half]), bits[half]);
                            let codes = &mut codes[half][eight];
                            *codes = _mm256_or_si256(*codes, _mm256_and_si256(set, worth));
                        }
                    }
                }
                for codes in codes {
                    let out = steps.next().expect("room for every group");
                    let (lower, upper) = out.split_at_mut(32);
                    for (out, codes) in [lower, upper].into_iter().zip(codes) {
                        let out: &mut [u8; 32] = out.first_chunk_mut().expect("eight rows of four codes");
                        // SAFETY: thirty-two bytes.
                        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), codes) };
                    }
                }
            }
        }
    }
}

/// Byte `byte` of every 32-bit lane, four times.
#[inline]
#[target_feature(enable = "avx2")]
fn copies(byte: usize) -> __m256i {
    let lanes =
        _mm256_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c, 0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c);
    _mm256_add_epi8(lanes, _mm256_set1_epi8(byte as i8))
}

/// Multiplies expanded codes with `M` tokens of `TERMS` terms, `T` rows together, from the part's token `first` on.
/// Returns the number of tokens.
///
/// # Safety
/// - As for [`multiply`].
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
unsafe fn tokens<const PLANES: usize, const TERMS: usize, const M: usize, const T: usize>(
    part: &Part<'_>,
    layout: &Layout,
    codes: &[u8],
    first: usize,
    sums: &mut [[f32; PANEL]],
) -> usize {
    let terms = part.acts.terms();
    let sums: &mut [[f32; PANEL]; M] = sums[first..].first_chunk_mut().expect("sums of the tokens");
    let token = part.tokens.start + first;
    let (steps, width) = (2 * layout.lookups, terms.width());
    let sixteen_bytes = codes.len() / (PANEL / ROWS);
    for (i, group) in part.groups.clone().enumerate() {
        let x = terms.from(token, group);
        assert!(x.len() >= (T - 1) * width + 4 * steps);
        let (mut acts, mut starts) = ([GroupActs::default(); M], [_mm256_setzero_si256(); M]);
        for m in 0..M {
            acts[m] = part.acts.group(token + m, group);
            starts[m] = _mm256_set1_epi32(terms.start(token + m, group));
        }
        let of_group = Group {
            x: acts,
            params: &part.w[layout.params_at(group)..],
            format: layout.params,
            planes: PLANES,
        };
        for strip in 0..PANEL / STRIP {
            let mut integers = [[[_mm256_setzero_si256(); 4]; 1]; M];
            for upper in 0..2 {
                let at = (2 * strip + upper) * sixteen_bytes + i * steps * 4 * ROWS;
                let w = &codes[at..][..steps * 4 * ROWS];
                // SAFETY: so many codes there are; so many activations by the assertion.
                let acc = unsafe { unsigned::<T>(w.as_ptr(), (x.as_ptr(), width), steps, (1 << PLANES) - 1) };
                for m in 0..M {
                    for eight in 0..2 {
                        let mut sum = acc[TERMS * m + TERMS - 1][eight];
                        if TERMS == 2 {
                            sum = _mm256_add_epi32(sum, _mm256_slli_epi32::<8>(acc[TERMS * m][eight]));
                        }
                        let twice = _mm256_add_epi32(sum, sum);
                        integers[m][0][2 * upper + eight] = _mm256_add_epi32(twice, starts[m]);
                    }
                }
            }
            of_group.add(sums, strip, integers);
        }
    }
    M
}
