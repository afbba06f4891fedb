//! Expansion of bit planes to bytes, and their product with 8-bit terms of activations.
//!
//! The bits of eight weights in up to four planes are eight codes by one transposition of 8 × 8 bits, of two rows at a
//! time: `vgf2p8affineqb` with a matrix of data and the unit vectors for data. Codes are doubled, so that
//! `Σ 2 c q − (2ᵇ − 1) Σ q` is the integer which is looked up elsewhere.
//!
//! ```text
//! x ← bytes of two rows' planes, highest first     vpermb, as many as the planes' layout has vectors
//! x ← x ^ (all ones where bit 7 is set) | 0x80     vgf2p8affineqb: what tables of 128 entries need is undone
//! t ← the transpose of every 8 × 8 bits            vgf2p8affineqb
//! rows 2j, 2j + 1 ← (t << 1) & 0x1e, (t >> 3) & 0x1e
//! ```

use super::{
    acts::GroupActs,
    avx512::{load, scale_and_add, store},
    expand::Part,
    layout::{Layout, PANEL},
};
use std::arch::x86_64::*;

/// Expands the groups of a part and multiplies them with its tokens.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx512`].
pub(super) unsafe fn multiply<const PLANES: usize>(
    part: &Part<'_>,
    layout: &Layout,
    codes: &mut [u8],
    sums: &mut [[f32; PANEL]],
) {
    let lookups = layout.lookups;
    let (vectors, _) = codes.as_chunks_mut::<LOOKUP>();
    for (group, out) in part.groups.clone().zip(vectors.chunks_exact_mut(lookups)) {
        let bytes = &part.w[layout.codes_at(group)..][..layout.group_bytes];
        // SAFETY: passed on.
        unsafe { expand::<PLANES>(bytes, out) };
    }
    let rows = part.acts.terms().rows();
    let mut first = 0;
    while first < sums.len() {
        let left = sums.len() - first;
        // SAFETY: passed on.
        let done = unsafe {
            match (rows, left) {
                (1, 6..) => tokens::<PLANES, 1, 6, 6>(part, layout, vectors, first, sums),
                (1, 4..) => tokens::<PLANES, 1, 4, 4>(part, layout, vectors, first, sums),
                (1, 2..) => tokens::<PLANES, 1, 2, 2>(part, layout, vectors, first, sums),
                (1, _) => tokens::<PLANES, 1, 1, 1>(part, layout, vectors, first, sums),
                (_, 3..) => tokens::<PLANES, 2, 3, 6>(part, layout, vectors, first, sums),
                (_, 2..) => tokens::<PLANES, 2, 2, 4>(part, layout, vectors, first, sums),
                _ => tokens::<PLANES, 2, 1, 2>(part, layout, vectors, first, sums),
            }
        };
        first += done;
    }
}

/// Bytes of eight codes of every row: `[four of them][sixteen rows][row][code]`.
const LOOKUP: usize = 8 * PANEL;

/// Expands the codes of a group.
///
/// # Safety
/// - As for [`multiply`].
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn expand<const PLANES: usize>(bytes: &[u8], out: &mut [[u8; LOOKUP]]) {
    let places: [Place; 4] = std::array::from_fn(|q| Place::of(PLANES, q));
    let place = places.map(|place| place.load());
    let original = _mm512_set1_epi64(ORIGINAL);
    let unit = _mm512_set1_epi64(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
    let doubled = _mm512_set1_epi8(0x1e);
    for (bytes, out) in bytes.chunks_exact(64 * PLANES).zip(out) {
        for q in 0..4 {
            let at = |vector: usize| {
                let bytes: &[u8; 64] = bytes[64 * vector..].first_chunk().expect("vectors of the tuple");
                // SAFETY: sixty-four bytes.
                unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
            };
            let [pair, odd] = place[q];
            let mut x = _mm512_setzero_si512();
            if PLANES >= 2 {
                x = _mm512_maskz_permutexvar_epi8(pair.0, pair.1, at(if PLANES == 4 { q } else { q / 2 }));
            }
            if PLANES % 2 == 1 {
                x = _mm512_mask_permutexvar_epi8(x, odd.0, odd.1, at(PLANES - 1));
            }
            let planes = pair.0 | odd.0;
            let x = _mm512_maskz_gf2p8affine_epi64_epi8::<0x80>(planes, x, original);
            let codes = _mm512_gf2p8affine_epi64_epi8::<0>(unit, x);
            let even = _mm512_and_si512(_mm512_slli_epi16::<1>(codes), doubled);
            let odd = _mm512_and_si512(_mm512_srli_epi16::<3>(codes), doubled);
            let first = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64::<32>(odd));
            let second = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64::<32>(even), odd);
            for (half, vector) in [first, second].into_iter().enumerate() {
                let out: &mut [u8; 64] =
                    out[256 * half + 64 * q..].first_chunk_mut().expect("sixteen rows of four codes");
                // SAFETY: sixty-four bytes.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), vector) };
            }
        }
    }
}

/// Bit `i` from bits `i` and 7, bit 7 from itself, which the constant inverts: rows of the matrix, the one for bit 7 first.
const ORIGINAL: i64 = i64::from_le_bytes([0x80, 0xc0, 0xa0, 0x90, 0x88, 0x84, 0x82, 0x81]);

/// Which bytes of a vector of planes are those of sixteen rows: of a pair of planes (or two pairs) and of an odd one. Rows
/// are in order, the planes of two of them from the highest of the second one to the lowest of the first.
struct Place {
    index: [[u8; 64]; 2],
    mask: [u64; 2],
}

impl Place {
    const fn of(planes: usize, q: usize) -> Self {
        let mut place = Self { index: [[0; 64]; 2], mask: [0; 2] };
        let mut row = 0;
        while row < 16 {
            let mut plane = 0;
            while plane < planes {
                let to = 8 * (row / 2) + 7 - 4 * (row % 2) - plane;
                let odd = planes % 2 == 1 && plane == planes - 1;
                let from = match (planes, odd) {
                    (_, true) => (16 * (q % 2) + row) * 2 + q / 2,
                    (4, _) => 4 * row + plane,
                    _ => (16 * (q % 2) + row) * 2 + plane,
                };
                place.index[odd as usize][to] = from as u8;
                place.mask[odd as usize] |= 1 << to;
                plane += 1;
            }
            row += 1;
        }
        place
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(&self) -> [(u64, __m512i); 2] {
        // SAFETY: sixty-four bytes.
        let load = |index: &[u8; 64]| unsafe { _mm512_loadu_si512(index.as_ptr().cast()) };
        [(self.mask[0], load(&self.index[0])), (self.mask[1], load(&self.index[1]))]
    }
}

/// Multiplies expanded codes with `M` tokens of `ROWS` terms, `T` rows together, from the part's token `first` on. Returns
/// the number of tokens.
///
/// # Safety
/// - As for [`multiply`].
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn tokens<const PLANES: usize, const ROWS: usize, const M: usize, const T: usize>(
    part: &Part<'_>,
    layout: &Layout,
    codes: &[[u8; LOOKUP]],
    first: usize,
    sums: &mut [[f32; PANEL]],
) -> usize {
    let terms = part.acts.terms();
    let sums: &mut [[f32; PANEL]; M] = sums[first..].first_chunk_mut().expect("sums of the tokens");
    let token = part.tokens.start + first;
    let (lookups, width) = (layout.lookups, terms.width());
    let zeros_at = layout.params.scale_bytes();
    for (group, codes) in part.groups.clone().zip(codes.chunks_exact(lookups)) {
        let x = terms.from(token, group);
        assert!(x.len() >= (T - 1) * width + 8 * lookups);
        let mut acc = [[_mm512_setzero_si512(); 4]; T];
        for m in 0..M {
            // On the last term, which is worth one.
            acc[ROWS * m + ROWS - 1] = [_mm512_set1_epi32(terms.start(token + m, group)); 4];
        }
        for (l, codes) in codes.iter().enumerate() {
            for half in 0..2 {
                let mut c = [_mm512_setzero_si512(); 4];
                for q in 0..4 {
                    // SAFETY: two times four vectors are a look-up's codes.
                    c[q] = unsafe { _mm512_loadu_si512(codes.as_ptr().add(256 * half + 64 * q).cast()) };
                }
                for t in 0..T {
                    // SAFETY: every row reaches this far by the assertion.
                    let four = unsafe {
                        x.as_ptr().add(t * width + 8 * l + 4 * half).cast::<i32>().read_unaligned()
                    };
                    let four = _mm512_set1_epi32(four);
                    for q in 0..4 {
                        acc[t][q] = _mm512_dpbusd_epi32(acc[t][q], c[q], four);
                    }
                }
            }
        }
        let (mut integers, mut x) = ([[_mm512_setzero_si512(); 4]; M], [GroupActs::default(); M]);
        for m in 0..M {
            x[m] = part.acts.group(token + m, group);
            integers[m] = acc[ROWS * m + ROWS - 1];
            if ROWS == 2 {
                for q in 0..4 {
                    let upper = _mm512_slli_epi32::<8>(acc[2 * m][q]);
                    integers[m][q] = _mm512_add_epi32(upper, integers[m][q]);
                }
            }
        }
        let params = part.w[layout.params_at(group)..][..layout.scale_bytes].split_at(zeros_at);
        // SAFETY: this function has the instructions.
        unsafe {
            let mut scaled = load(sums);
            scale_and_add::<PLANES, M>(layout.params, params, &integers, &x, &mut scaled);
            store(&scaled, sums);
        }
    }
    M
}
