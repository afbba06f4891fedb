//! Look-up in tables of 16 entries: `vpshufb` takes thirty-two at a time, four weights of a bit plane each.
//!
//! ```text
//! table ← sixteen entries, in both halves
//! u     ← pshufb(table, codes & 15)         and again for codes >> 4, with the next table
//! pair of planes:    words ← words + maddubs(u, (1, 2))
//! plane by itself:   words ← words + u;  upper ← upper + (u >> 8)
//! ```
//!
//! A plane by itself has two rows in a word. Bytes are added as words, modulo 2¹⁶, and their upper halves once more by
//! themselves: `words − 256 · upper` is the sum of the lower ones. A pair needs no such trick, as `maddubs` adds up two
//! bytes of one row. No sum of a group leaves 16 bits: of 256 weights, `64 · 3 · 255 < 2¹⁶`.
//!
//! A strip of 32 rows has at most 4 vectors of words for a token and byte of the entries; what runs at a time is such
//! that they are at most 8, which leaves registers for two tables, two vectors of indices and two constants.

use super::{
    TableBits, Tile,
    acts::GroupActs,
    layout::{LONGEST, PANEL, Params, Zero},
    nibble::{BLOCK, BLOCK_BYTES, ternary_bytes},
};
use crate::param::Number;
use std::arch::x86_64::*;

// Words hold the sums of a group.
const _: () = assert!(LONGEST / 4 * 3 * 255 < 1 << 16);

/// Rows of a strip.
const STRIP: usize = 32;

/// Adds the products of a tile to the sums `[panel][token][row]`.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx2`].
pub(super) unsafe fn tile(tile: &Tile<'_>, sums: &mut [[f32; PANEL]]) {
    let planes = if tile.layout.ternary { 0 } else { tile.layout.planes };
    // SAFETY: passed on.
    unsafe {
        match (planes, tile.acts.bits()) {
            (0, TableBits::Eight) => panels::<0, 1>(tile, sums),
            (1, TableBits::Eight) => panels::<1, 1>(tile, sums),
            (2, TableBits::Eight) => panels::<2, 1>(tile, sums),
            (3, TableBits::Eight) => panels::<3, 1>(tile, sums),
            (_, TableBits::Eight) => panels::<4, 1>(tile, sums),
            (0, TableBits::Sixteen) => panels::<0, 2>(tile, sums),
            (1, TableBits::Sixteen) => panels::<1, 2>(tile, sums),
            (2, TableBits::Sixteen) => panels::<2, 2>(tile, sums),
            (3, TableBits::Sixteen) => panels::<3, 2>(tile, sums),
            (_, TableBits::Sixteen) => panels::<4, 2>(tile, sums),
        }
    }
}

/// `PLANES` is 0 for ternary codes.
///
/// # Safety
/// - As for [`tile`].
unsafe fn panels<const PLANES: usize, const BYTES: usize>(tile: &Tile<'_>, sums: &mut [[f32; PANEL]]) {
    for (bytes, acc) in tile.panels.iter().zip(sums.chunks_exact_mut(tile.tokens.len())) {
        // SAFETY: passed on.
        unsafe {
            match acc.len() {
                1 => panel::<PLANES, BYTES, 1>(tile, bytes, acc),
                2 => panel::<PLANES, BYTES, 2>(tile, bytes, acc),
                _ => panel::<PLANES, BYTES, 4>(tile, bytes, acc),
            }
        }
    }
}

/// One panel times `T` tokens.
///
/// # Safety
/// - As for [`tile`].
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
unsafe fn panel<const PLANES: usize, const BYTES: usize, const T: usize>(
    tile: &Tile<'_>,
    bytes: &[u8],
    acc: &mut [[f32; PANEL]],
) {
    let layout = tile.layout;
    let (lookups, group_bytes) = (layout.lookups, layout.group_bytes);
    let tables_bytes = lookups * tile.acts.lookup_bytes();
    let acc: &mut [[f32; PANEL]; T] = acc.first_chunk_mut().expect("sums of the tile's tokens");
    assert!(layout.codes_at(tile.groups.end - 1) + group_bytes <= bytes.len());
    assert!(tile.tables.len() >= (T - 1) * tile.token_stride + tile.groups.len() * tables_bytes);
    assert!(group_bytes == PANEL * if PLANES == 0 { ternary_bytes(lookups) } else { PLANES * lookups });
    assert!(tile.acts.lookup_bytes() == BYTES * if PLANES == 0 { 16 } else { 32 });
    let start = _mm256_set1_epi32(tile.acts.start_of_sum());
    for (i, group) in tile.groups.clone().enumerate() {
        let codes = bytes[layout.codes_at(group)..].as_ptr();
        // SAFETY: the tables reach this far by the assertion.
        let tables: [*const u8; T] = std::array::from_fn(|t| unsafe {
            tile.tables.as_ptr().add(t * tile.token_stride + i * tables_bytes)
        });
        let group = Group {
            x: std::array::from_fn(|t| tile.acts.group(tile.tokens.start + t, group)),
            params: &bytes[layout.params_at(group)..],
            format: tile.params,
            planes: layout.planes,
        };
        // SAFETY: the codes and tables of the group's tuples exist by the assertions.
        unsafe {
            if const { PLANES > 0 && 4 * PLANES.div_ceil(2) * BYTES * T <= 8 } {
                let sums = strips::<PLANES, BYTES, T, 2>(start, codes, tables, lookups);
                group.add(acc, 0, sums);
            } else {
                for strip in 0..PANEL / STRIP {
                    let sums = if PLANES == 0 {
                        ternary::<BYTES, T>(start, codes.add(STRIP * strip), tables, lookups)
                    } else {
                        strips::<PLANES, BYTES, T, 1>(
                            start,
                            codes.add(STRIP * PLANES * strip),
                            tables,
                            lookups,
                        )
                    };
                    group.add(acc, strip, sums);
                }
            }
        }
    }
}

/// What sums of a group's entries are multiplied with.
pub(super) struct Group<'a, const T: usize> {
    pub(super) x: [GroupActs; T],
    /// Scales of sixty-four rows, then their zero points.
    pub(super) params: &'a [u8],
    pub(super) format: Params,
    pub(super) planes: usize,
}

impl<const T: usize> Group<'_, T> {
    /// Adds the group's part to the sums of the rows of `S` strips.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,bmi2")]
    pub(super) fn add<const S: usize>(&self, acc: &mut [[f32; PANEL]; T], strip: usize, sums: Sums<T, S>) {
        let zeros = &self.params[self.format.scale_bytes()..];
        match self.format.zero {
            // The usual case, taken out of the loop.
            Zero::Half(half) => {
                let middle = _mm256_set1_ps(f32::from(half) * 0.5);
                self.add_with(acc, strip, sums, |_| middle);
            }
            zero => self.add_with(acc, strip, sums, |eight| middle(zeros, zero, self.planes, eight)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,bmi2")]
    fn add_with<const S: usize>(
        &self,
        acc: &mut [[f32; PANEL]; T],
        strip: usize,
        sums: Sums<T, S>,
        middle: impl Fn(usize) -> __m256,
    ) {
        for s in 0..S {
            for q in 0..4 {
                let eight = 4 * (strip + s) + q;
                let scale = numbers(self.params, self.format.scale, eight);
                let middle = middle(eight);
                for t in 0..T {
                    let x = self.x[t];
                    let part = _mm256_fmadd_ps(middle, _mm256_set1_ps(x.sum), _mm256_set1_ps(x.bias));
                    let integers = _mm256_cvtepi32_ps(sums[t][s][q]);
                    let part = _mm256_fmadd_ps(integers, _mm256_set1_ps(x.d), part);
                    let acc = &mut acc[t].as_chunks_mut::<8>().0[eight];
                    // SAFETY: eight floats.
                    unsafe {
                        let sum = _mm256_fmadd_ps(part, scale, _mm256_loadu_ps(acc.as_ptr()));
                        _mm256_storeu_ps(acc.as_mut_ptr(), sum);
                    }
                }
            }
        }
    }
}

/// Sums of the entries of a group, eight neighbouring rows a vector.
type Sums<const T: usize, const S: usize> = [[[__m256i; 4]; S]; T];

/// A table, in both halves.
///
/// # Safety
/// - Sixteen bytes can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn table(at: *const u8) -> __m256i {
    // SAFETY: by the contract.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(at.cast()) })
}

/// `S` strips of one to four planes.
///
/// # Safety
/// - The strips' codes and the tables of `lookups` tuples can be read.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
unsafe fn strips<const PLANES: usize, const BYTES: usize, const T: usize, const S: usize>(
    start: __m256i,
    codes: *const u8,
    tables: [*const u8; T],
    lookups: usize,
) -> Sums<T, S> {
    let (low, weights) = (_mm256_set1_epi8(15), _mm256_set1_epi16(0x0201));
    let paired = PLANES / 2 * 2;
    let mut sums = [[[start; 4]; S]; T];
    let mut words = [[[[_mm256_setzero_si256(); BYTES]; 4]; S]; T];
    for l in 0..lookups {
        for s in 0..S {
            for v in 0..PLANES {
                let at = PANEL * PLANES * l + STRIP * (PLANES * s + v);
                // SAFETY: by the contract; a tuple has `PLANES` vectors in each strip.
                let c = unsafe { _mm256_loadu_si256(codes.add(at).cast()) };
                let halves = [_mm256_and_si256(c, low), _mm256_and_si256(_mm256_srli_epi16::<4>(c), low)];
                for t in 0..T {
                    let words = &mut words[t][s];
                    for half in 0..2 {
                        for b in 0..BYTES {
                            // SAFETY: by the contract; a tuple has two tables.
                            let table = unsafe { table(tables[t].add(16 * (BYTES * (2 * l + half) + b))) };
                            let u = _mm256_shuffle_epi8(table, halves[half]);
                            if v < paired {
                                let pairs = _mm256_maddubs_epi16(u, weights);
                                words[v][b] = _mm256_add_epi16(words[v][b], pairs);
                            } else {
                                words[v][b] = _mm256_add_epi16(words[v][b], u);
                                let upper = _mm256_srli_epi16::<8>(u);
                                words[v + 1][b] = _mm256_add_epi16(words[v + 1][b], upper);
                            }
                        }
                    }
                }
            }
        }
    }
    for t in 0..T {
        for s in 0..S {
            let (words, sums) = (&words[t][s], &mut sums[t][s]);
            for b in 0..BYTES {
                for v in 0..PLANES {
                    if v < paired {
                        add::<BYTES>(sums, v % 2, words[v][b], v / 2 * 2, b);
                    } else {
                        let [lower, upper] = apart(words[v][b], words[v + 1][b]);
                        add::<BYTES>(sums, 0, lower, v, b);
                        add::<BYTES>(sums, 1, upper, v, b);
                    }
                }
            }
        }
    }
    sums
}

/// A strip of ternary codes.
///
/// # Safety
/// - The strip's codes and the tables of `lookups` tuples can be read.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
unsafe fn ternary<const BYTES: usize, const T: usize>(
    start: __m256i,
    codes: *const u8,
    tables: [*const u8; T],
    lookups: usize,
) -> Sums<T, 1> {
    let low = _mm256_set1_epi8(15);
    let mut words = [[[_mm256_setzero_si256(); 2]; BYTES]; T];
    for first in (0..lookups).step_by(BLOCK) {
        let tuples = (lookups - first).min(BLOCK);
        let codes = codes.wrapping_add(PANEL * BLOCK_BYTES * (first / BLOCK));
        let load = |byte: usize| {
            // SAFETY: by the contract; called for the bytes of the block.
            unsafe { _mm256_loadu_si256(codes.wrapping_add(PANEL * byte).cast()) }
        };
        let mut signs = load(ternary_bytes(tuples) - 1);
        let mut one = |i: usize, index: __m256i| {
            let negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs);
            signs = _mm256_add_epi8(signs, signs);
            for t in 0..T {
                for b in 0..BYTES {
                    // SAFETY: by the contract.
                    let table = unsafe { table(tables[t].add(16 * (BYTES * (first + i) + b))) };
                    // 255 − u, the complement, where the sum is to be negated.
                    let u = _mm256_xor_si256(_mm256_shuffle_epi8(table, index), negative);
                    let [words, upper] = &mut words[t][b];
                    *words = _mm256_add_epi16(*words, u);
                    *upper = _mm256_add_epi16(*upper, _mm256_srli_epi16::<8>(u));
                }
            }
        };
        let mut pair = |i: usize| {
            let c = load(i / 2);
            one(i, _mm256_and_si256(c, low));
            one(i + 1, _mm256_and_si256(_mm256_srli_epi16::<4>(c), low));
        };
        if tuples == BLOCK {
            for i in 0..BLOCK / 2 {
                pair(2 * i);
            }
        } else {
            for i in 0..tuples / 2 {
                pair(2 * i);
            }
            if tuples % 2 == 1 {
                one(tuples - 1, _mm256_and_si256(load(tuples / 2), low));
            }
        }
    }
    let mut sums = [[[start; 4]; 1]; T];
    for t in 0..T {
        for b in 0..BYTES {
            let [lower, upper] = apart(words[t][b][0], words[t][b][1]);
            add::<BYTES>(&mut sums[t][0], 0, lower, 0, b);
            add::<BYTES>(&mut sums[t][0], 1, upper, 0, b);
        }
    }
    sums
}

/// The sums of the lower bytes of words, and those of the upper ones.
#[inline]
#[target_feature(enable = "avx2")]
fn apart(words: __m256i, upper: __m256i) -> [__m256i; 2] {
    [_mm256_sub_epi16(words, _mm256_slli_epi16::<8>(upper)), upper]
}

/// Adds words, the sums of byte `b` of entries of a plane, to the sums of sixteen rows; the upper of two bytes is worth 255.
#[inline]
#[target_feature(enable = "avx2")]
fn add<const BYTES: usize>(sums: &mut [__m256i; 4], sixteen: usize, words: __m256i, plane: usize, b: usize) {
    let halves = [_mm256_blend_epi16::<0xaa>(words, _mm256_setzero_si256()), _mm256_srli_epi32::<16>(words)];
    for (half, rows) in halves.into_iter().enumerate() {
        let rows =
            if BYTES == 2 && b == 0 { _mm256_sub_epi32(_mm256_slli_epi32::<8>(rows), rows) } else { rows };
        let rows = if plane == 2 { _mm256_slli_epi32::<2>(rows) } else { rows };
        let sum = &mut sums[2 * sixteen + half];
        *sum = _mm256_add_epi32(*sum, rows);
    }
}

/// Numbers of rows `8 e..8 e + 8`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn numbers(bytes: &[u8], number: Number, e: usize) -> __m256 {
    match number {
        Number::Bits(width) => {
            // The numbers of sixteen rows, of which these are the first eight or the last.
            let bytes = &bytes[e / 2 * 2 * width..][..2 * width];
            let rows = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let rows = _mm256_add_epi32(rows, _mm256_set1_epi32(e as i32 % 2 * 8));
            let (fields, shift) = match width {
                1 => (_mm256_set1_epi32(i32::from(u16::from_le_bytes([bytes[0], bytes[1]]))), rows),
                2 => {
                    let word = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    (_mm256_set1_epi32(word), _mm256_slli_epi32::<1>(rows))
                }
                _ => {
                    let words = bytes.first_chunk().map_or(0, |b| i64::from_le_bytes(*b));
                    (_mm256_set1_epi64x(words), _mm256_slli_epi32::<2>(_mm256_srli_epi32::<1>(rows)))
                }
            };
            let mask = _mm256_set1_epi32((1 << width) - 1);
            _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srlv_epi32(fields, shift), mask))
        }
        // Bytes are made halves: see `Layout`.
        Number::Byte | Number::F16 => {
            let bytes: &[u8; 16] = bytes[16 * e..].first_chunk().expect("eight numbers");
            // SAFETY: sixteen bytes.
            _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        }
        Number::F32 => {
            let bytes: &[u8; 32] = bytes[32 * e..].first_chunk().expect("eight numbers");
            // SAFETY: thirty-two bytes.
            unsafe { _mm256_loadu_ps(bytes.as_ptr().cast()) }
        }
    }
}

/// How far the middle of the codes is above the zero point, for rows `8 e..8 e + 8`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn middle(zeros: &[u8], zero: Zero, planes: usize, e: usize) -> __m256 {
    let highest = (1 << planes) - 1;
    match zero {
        Zero::Half(half) => _mm256_set1_ps(f32::from(half) * 0.5),
        Zero::Stored(number) => {
            _mm256_sub_ps(_mm256_set1_ps(highest as f32 * 0.5), numbers(zeros, number, e))
        }
    }
}
