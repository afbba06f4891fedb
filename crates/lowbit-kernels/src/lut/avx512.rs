//! Look-up in tables of 128 entries: `vpermi2b` takes sixty-four bytes at a time, eight weights of a bit plane each.
//!
//! For every vector of codes and token:
//!
//! ```text
//! u ← table[code & 127] ^ (all ones where bit 7 of the code is set)   vpermi2b, vpxorq
//! pairs of planes   words ← words + 1 · u₀ + 2 · u₁                   vpmaddubsw, vpaddw
//! a single plane    words ← words + u, upper ← upper + (u >> 8)       vpaddw, vpsrlw, vpaddw
//! ```
//!
//! `vpdpbusd`, which would do the sums of several planes at once, competes with `vpermi2b` for the same pipes. What is
//! made once for a vector of codes serves `T` tokens, and the tables of a token serve `P` panels where registers hold
//! the sums of all: `2 T` of tables and at most sixteen of sums. Several panels are also several streams of memory, which one
//! core needs to reach its share of bandwidth; panels of many planes, or of short groups, take turns group by group for
//! that alone.
//!
//! Everything between a look-up and a sum is inlined always: passed through memory, vectors cost as much as the work on them.

use super::{
    ALONE, TableBits, Tile,
    acts::GroupActs,
    layout::{LONGEST, PANEL, Params, Zero},
};
use crate::param::{Number, chosen, integers};
use std::{
    arch::x86_64::*,
    sync::atomic::{Ordering, compiler_fence},
};

/// Sums of 16 bits hold a group: three planes of unsigned bytes, the most, are worth 7 · 255.
const _: () =
    assert!(LONGEST / 8 * 7 * 255 <= u16::MAX as usize && LONGEST / 8 * 3 * 255 <= i16::MAX as usize);

/// Look-ups of a group so short that what is done for its scale counts: panels go one by one, with all sums in registers. In longer groups
/// of few planes what was loaded of the tables serves all panels.
const SHORT: usize = 4;

/// Adds the products of a tile to the sums `[panel][token][row]`.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx512`].
pub(super) unsafe fn tile(tile: &Tile<'_>, acc: &mut [[f32; PANEL]]) {
    // SAFETY: passed on.
    unsafe {
        match (tile.layout.planes, tile.acts.bits()) {
            (1, TableBits::Eight) => sized::<1, 1>(tile, acc),
            (2, TableBits::Eight) => sized::<2, 1>(tile, acc),
            (3, TableBits::Eight) => sized::<3, 1>(tile, acc),
            (_, TableBits::Eight) => sized::<4, 1>(tile, acc),
            (1, TableBits::Sixteen) => sized::<1, 2>(tile, acc),
            (2, TableBits::Sixteen) => sized::<2, 2>(tile, acc),
            (3, TableBits::Sixteen) => sized::<3, 2>(tile, acc),
            (_, TableBits::Sixteen) => sized::<4, 2>(tile, acc),
        }
    }
}

/// # Safety
/// - As for [`tile`].
unsafe fn sized<const PLANES: usize, const BYTES: usize>(tile: &Tile<'_>, acc: &mut [[f32; PANEL]]) {
    // SAFETY: passed on.
    unsafe {
        match (tile.panels.len(), tile.tokens.len()) {
            (1, 1) => panels::<PLANES, BYTES, 1, 1>(tile, acc),
            (2, 1) => panels::<PLANES, BYTES, 2, 1>(tile, acc),
            (4, 1) => panels::<PLANES, BYTES, 4, 1>(tile, acc),
            (8, 1) => panels::<PLANES, BYTES, 8, 1>(tile, acc),
            (1, 2) => panels::<PLANES, BYTES, 1, 2>(tile, acc),
            (2, 2) => panels::<PLANES, BYTES, 2, 2>(tile, acc),
            (4, 2) => panels::<PLANES, BYTES, 4, 2>(tile, acc),
            (1, 4) => panels::<PLANES, BYTES, 1, 4>(tile, acc),
            sizes => unreachable!("a tile of {sizes:?} panels and tokens"),
        }
    }
}

/// `P` panels times `T` tokens.
///
/// # Safety
/// - As for [`tile`].
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn panels<const PLANES: usize, const BYTES: usize, const P: usize, const T: usize>(
    tile: &Tile<'_>,
    acc: &mut [[f32; PANEL]],
) {
    let layout = tile.layout;
    let lookups = layout.lookups;
    let panels: &[&[u8]; P] = tile.panels.first_chunk().expect("the tile's panels");
    let (acc, _) = acc.as_chunks_mut::<T>();
    let acc: &mut [[[f32; PANEL]; T]; P] = acc.first_chunk_mut().expect("sums of the tile");
    let end = layout.codes_at(tile.groups.end - 1) + layout.group_bytes;
    assert!(panels.iter().all(|panel| end <= panel.len()));
    assert!(tile.tables.len() >= (T - 1) * tile.token_stride + tile.groups.len() * lookups * 128 * BYTES);
    let start: [i32; BYTES] = std::array::from_fn(|b| tile.acts.start()[b]);
    let (scale_bytes, zeros_at) = (layout.scale_bytes, tile.params.scale_bytes());
    for (i, group) in tile.groups.clone().enumerate() {
        let (codes_at, params_at) = (layout.codes_at(group), layout.params_at(group));
        let x = std::array::from_fn(|t| tile.acts.group(tile.tokens.start + t, group));
        let params = panels.map(|panel| panel[params_at..][..scale_bytes].split_at(zeros_at));
        // SAFETY: codes and tables reach this far by the assertions, sums are those of a panel.
        unsafe {
            let mut codes = [std::ptr::null(); P];
            for p in 0..P {
                codes[p] = panels[p].as_ptr().add(codes_at);
                // Needed last, and asked for first: the hardware follows a stream that is read in order.
                let mut line = 0;
                while line < scale_bytes {
                    _mm_prefetch::<_MM_HINT_T0>(panels[p].as_ptr().add(params_at + line).cast());
                    line += 64;
                }
            }
            let tables = tables::<BYTES, T>(tile, i);
            if P > 1 && (lookups <= SHORT || PLANES >= ALONE) {
                for p in 0..P {
                    let [integers] = sums::<PLANES, BYTES, 1, T>(start, [codes[p]], tables, lookups);
                    let mut sums = load(&acc[p]);
                    scale_and_add::<PLANES, T>(tile.params, params[p], &integers, &x, &mut sums);
                    store(&sums, &mut acc[p]);
                }
                continue;
            }
            let integers = sums::<PLANES, BYTES, P, T>(start, codes, tables, lookups);
            for p in 0..P {
                let mut sums = load(&acc[p]);
                scale_and_add::<PLANES, T>(tile.params, params[p], &integers[p], &x, &mut sums);
                store(&sums, &mut acc[p]);
            }
        }
    }
}

/// The tables of the tile's group `i`, of every token.
///
/// # Safety
/// - The tile has tables of the group.
#[inline(always)]
unsafe fn tables<const BYTES: usize, const T: usize>(tile: &Tile<'_>, i: usize) -> [*const u8; T] {
    let mut tables = [std::ptr::null(); T];
    for (t, table) in tables.iter_mut().enumerate() {
        let at = t * tile.token_stride + i * tile.layout.lookups * 128 * BYTES;
        // SAFETY: by the contract.
        *table = unsafe { tile.tables.as_ptr().add(at) };
    }
    tables
}

/// The sums of a panel, sixteen rows a vector.
///
/// # Safety
/// - As for [`scale_and_add`].
#[inline(always)]
pub(super) unsafe fn load<const T: usize>(acc: &[[f32; PANEL]; T]) -> [[__m512; 4]; T] {
    // SAFETY: a row of sums has four times sixteen floats.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 4]; T];
        for t in 0..T {
            for q in 0..4 {
                sums[t][q] = _mm512_loadu_ps(acc[t][16 * q..].as_ptr());
            }
        }
        sums
    }
}

/// Puts the sums of a panel back.
///
/// # Safety
/// - As for [`scale_and_add`].
#[inline(always)]
pub(super) unsafe fn store<const T: usize>(sums: &[[__m512; 4]; T], acc: &mut [[f32; PANEL]; T]) {
    for t in 0..T {
        for q in 0..4 {
            // SAFETY: a row of sums has four times sixteen floats.
            unsafe { _mm512_storeu_ps(acc[t][16 * q..].as_mut_ptr(), sums[t][q]) };
        }
    }
}

/// Adds a group's integer sums, in what they are worth, to the sums of a panel. Vectors stay in registers where it is inlined,
/// which the compiler would not do of itself everywhere.
///
/// # Safety
/// - As for [`tile`], and inlined where the compiler knows it.
#[inline(always)]
pub(super) unsafe fn scale_and_add<const PLANES: usize, const T: usize>(
    format: Params,
    (scales, zeros): (&[u8], &[u8]),
    integers: &[[__m512i; 4]; T],
    x: &[GroupActs; T],
    acc: &mut [[__m512; 4]; T],
) {
    // SAFETY: passed on.
    unsafe {
        let scale = format.scale.vectors::<4>(scales);
        for t in 0..T {
            let offset = offsets::<PLANES>(zeros, format.zero, x[t]);
            let d = _mm512_set1_ps(x[t].d);
            for q in 0..4 {
                let part = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers[t][q]), d, offset[q]);
                acc[t][q] = _mm512_fmadd_ps(part, scale[q], acc[t][q]);
            }
        }
    }
}

/// Bytes that a stream of a single plane, of which there are so many that the hardware does not bring all into the first
/// cache, is asked for before they are needed: what the second cache takes to answer. It is the hardware that fetches
/// streams from memory; asking for what is further away keeps it from that.
const AHEAD: usize = 128;

/// One table: 128 entries.
#[derive(Clone, Copy)]
struct Entries {
    low: __m512i,
    high: __m512i,
}

impl Entries {
    /// # Safety
    /// - 128 bytes can be read.
    #[inline]
    #[target_feature(
        enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"
    )]
    unsafe fn load(table: *const u8) -> Self {
        // SAFETY: by the contract.
        unsafe {
            Self { low: _mm512_loadu_si512(table.cast()), high: _mm512_loadu_si512(table.add(64).cast()) }
        }
    }

    /// The bytes that `codes` stand for; `negative` is all ones where their top bit is set.
    #[inline]
    #[target_feature(
        enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"
    )]
    fn look_up(self, codes: __m512i, negative: __m512i) -> __m512i {
        let mut found = codes;
        // SAFETY: `_mm512_permutex2var_epi8`, spelt out: the compiler would take the form that overwrites the table, and
        // load that again for every use, which is what this loop waits for.
        unsafe {
            std::arch::asm!(
                "vpermi2b {found}, {low}, {high}",
                found = inout(zmm_reg) found,
                low = in(zmm_reg) self.low,
                high = in(zmm_reg) self.high,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        // The complement, 255 − u.
        _mm512_xor_si512(found, negative)
    }
}

/// `Σ u` of a group for sixteen rows a vector, from `start` on, with two bytes an entry `255 Σ h + Σ l`:
/// `[panel][token]`.
///
/// # Safety
/// - As for [`scale_and_add`].
/// - The codes and tables of `lookups` tuples can be read.
#[inline(always)]
unsafe fn sums<const PLANES: usize, const BYTES: usize, const P: usize, const T: usize>(
    start: [i32; BYTES],
    codes: [*const u8; P],
    tables: [*const u8; T],
    lookups: usize,
) -> [[[__m512i; 4]; T]; P] {
    // SAFETY: passed on.
    unsafe {
        let none = [_mm512_setzero_si512(); 4];
        let mut words = [[[none; BYTES]; T]; P];
        for p in 0..P {
            for t in 0..T {
                for b in 0..BYTES {
                    words[p][t][b] = first_words::<PLANES>(start[b]);
                }
            }
        }
        let mut l = 0;
        if T == 1 && PLANES > 2 {
            while l + 4 <= lookups {
                step::<PLANES, BYTES, P, T, 4>(&mut words, codes, tables, l);
                l += 4;
            }
        }
        if T == 1 {
            while l + 2 <= lookups {
                step::<PLANES, BYTES, P, T, 2>(&mut words, codes, tables, l);
                l += 2;
            }
        }
        while l < lookups {
            step::<PLANES, BYTES, P, T, 1>(&mut words, codes, tables, l);
            l += 1;
        }
        let mut all = [[none; T]; P];
        for p in 0..P {
            for t in 0..T {
                all[p][t] = rows::<PLANES, BYTES>(words[p][t]);
            }
        }
        all
    }
}

/// `L` look-ups from `first` on. Panels go one after the other, so that each stream is read some lines at a time.
///
/// # Safety
/// - As for [`sums`].
#[inline(always)]
unsafe fn step<const PLANES: usize, const BYTES: usize, const P: usize, const T: usize, const L: usize>(
    words: &mut [[[[__m512i; 4]; BYTES]; T]; P],
    codes: [*const u8; P],
    tables: [*const u8; T],
    first: usize,
) {
    // SAFETY: passed on.
    unsafe {
        let weights = _mm512_set1_epi16(0x0201);
        // Every bit of the product is the top bit of the byte.
        let top_bit = _mm512_set1_epi8(i8::MIN);
        let none = Entries { low: _mm512_setzero_si512(), high: _mm512_setzero_si512() };
        let mut entries = [[[none; BYTES]; T]; L];
        for l in 0..L {
            for t in 0..T {
                for b in 0..BYTES {
                    entries[l][t][b] = Entries::load(tables[t].add(128 * (BYTES * (first + l) + b)));
                }
            }
        }
        for p in 0..P {
            if T == 1 && P > 1 {
                // The compiler would begin with all panels' look-ups, for which it has no registers.
                compiler_fence(Ordering::SeqCst);
            }
            for l in 0..L {
                for v in 0..PLANES {
                    let at = codes[p].wrapping_add(64 * (PLANES * (first + l) + v));
                    let c = _mm512_loadu_si512(at.cast());
                    if T == 1 && PLANES == 1 {
                        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                    }
                    let negative = _mm512_gf2p8affine_epi64_epi8::<0>(c, top_bit);
                    for t in 0..T {
                        for b in 0..BYTES {
                            let u = entries[l][t][b].look_up(c, negative);
                            let words = &mut words[p][t][b];
                            if PLANES % 2 == 1 && v == PLANES - 1 {
                                words[v] = _mm512_add_epi16(words[v], u);
                                words[v + 1] = _mm512_add_epi16(words[v + 1], _mm512_srli_epi16::<8>(u));
                            } else {
                                words[v] = _mm512_add_epi16(words[v], _mm512_maddubs_epi16(u, weights));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Words of 16 bits in which sums of the planes start that are worth `start` together.
///
/// # Safety
/// - As for [`scale_and_add`].
#[inline(always)]
unsafe fn first_words<const PLANES: usize>(start: i32) -> [__m512i; 4] {
    // SAFETY: passed on.
    unsafe {
        let word = _mm512_set1_epi16(start as i16);
        let zero = _mm512_setzero_si512();
        match PLANES {
            // Whole words hold the odd bytes too.
            1 => [_mm512_set1_epi16((start + (start << 8)) as i16), word, zero, zero],
            2 | 3 => [word, word, zero, zero],
            _ => {
                let upper = start / 5;
                let lower = start - 4 * upper;
                [_mm512_set1_epi32((lower & 0xffff) | (upper << 16)); 4]
            }
        }
    }
}

/// The sums in `words`, with two bytes an entry 255 times those of the upper and those of the lower, for sixteen rows a
/// vector.
///
/// # Safety
/// - As for [`scale_and_add`].
#[inline(always)]
unsafe fn rows<const PLANES: usize, const BYTES: usize>(words: [[__m512i; 4]; BYTES]) -> [__m512i; 4] {
    let (upper, lower) = (words[0], words[BYTES - 1]);
    // SAFETY: passed on.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); 4];
        if PLANES == 4 {
            // Planes 0 and 1 are a word, 2 and 3 the next.
            let weights = |worth: i32| worth | ((4 * worth) << 16);
            let (once, often) = (_mm512_set1_epi32(weights(1)), _mm512_set1_epi32(weights(255)));
            for q in 0..4 {
                sums[q] = _mm512_madd_epi16(lower[q], once);
                if BYTES == 2 {
                    sums[q] = _mm512_add_epi32(sums[q], _mm512_madd_epi16(upper[q], often));
                }
            }
            return sums;
        }
        let (upper, lower) = (halves::<PLANES>(upper), halves::<PLANES>(lower));
        // Words 0 to 15 of two vectors in turns, then the others.
        let first = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        let second = _mm512_slli_epi32::<16>(_mm512_add_epi32(first, _mm512_set1_epi32(32)));
        let turns = _mm512_or_si512(first, second);
        let others = _mm512_add_epi16(turns, _mm512_set1_epi16(16));
        let weights = _mm512_set1_epi32(255 | 1 << 16);
        for half in 0..2 {
            let (h, l) = (upper[half], lower[half]);
            [sums[2 * half], sums[2 * half + 1]] = if BYTES == 2 {
                [
                    _mm512_madd_epi16(_mm512_permutex2var_epi16(h, turns, l), weights),
                    _mm512_madd_epi16(_mm512_permutex2var_epi16(h, others, l), weights),
                ]
            } else {
                [
                    _mm512_cvtepi16_epi32(_mm512_castsi512_si256(l)),
                    _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(l)),
                ]
            };
        }
        sums
    }
}

/// The sums of up to three planes in `words`, for thirty-two rows a vector.
///
/// # Safety
/// - As for [`scale_and_add`].
#[inline(always)]
unsafe fn halves<const PLANES: usize>(words: [__m512i; 4]) -> [__m512i; 2] {
    let single = if PLANES == 1 { [words[0], words[1]] } else { [words[2], words[3]] };
    // SAFETY: passed on.
    unsafe {
        // The even bytes of a single plane are what its words leave of the odd ones.
        let single = [_mm512_sub_epi16(single[0], _mm512_slli_epi16::<8>(single[1])), single[1]];
        match PLANES {
            1 => single,
            2 => [words[0], words[1]],
            _ => [
                _mm512_add_epi16(words[0], _mm512_slli_epi16::<2>(single[0])),
                _mm512_add_epi16(words[1], _mm512_slli_epi16::<2>(single[1])),
            ],
        }
    }
}

/// What a group is worth beside its integer sums, for sixteen rows a vector: how far the middle of the codes is above the zero
/// point, times the sum of activations, and what entries lack.
///
/// # Safety
/// - As for [`scale_and_add`].
#[inline(always)]
unsafe fn offsets<const PLANES: usize>(zeros: &[u8], zero: Zero, x: GroupActs) -> [__m512; 4] {
    let middle = ((1 << PLANES) - 1) as f32 * 0.5;
    // SAFETY: passed on.
    unsafe {
        let (sum, bias) = (_mm512_set1_ps(x.sum), _mm512_set1_ps(x.bias));
        match (zero, PLANES) {
            (Zero::Half(half), _) => [_mm512_set1_ps((f32::from(half) * 0.5).mul_add(x.sum, x.bias)); 4],
            (Zero::Stored(Number::Bits(_)), 1) => {
                chosen::<1, 4>(zeros, offset(integers::<1>(), middle, (sum, bias)))
            }
            (Zero::Stored(Number::Bits(_)), 2) => {
                chosen::<2, 4>(zeros, offset(integers::<2>(), middle, (sum, bias)))
            }
            (Zero::Stored(Number::Bits(_)), _) => {
                chosen::<4, 4>(zeros, offset(integers::<4>(), middle, (sum, bias)))
            }
            (Zero::Stored(number), _) => {
                let mut offsets = number.vectors(zeros);
                for number in &mut offsets {
                    *number = offset(*number, middle, (sum, bias));
                }
                offsets
            }
        }
    }
}

/// The offsets of sixteen zero points.
///
/// # Safety
/// - As for [`scale_and_add`].
#[inline(always)]
unsafe fn offset(zeros: __m512, middle: f32, (sum, bias): (__m512, __m512)) -> __m512 {
    // SAFETY: passed on.
    unsafe { _mm512_fmadd_ps(_mm512_sub_ps(_mm512_set1_ps(middle), zeros), sum, bias) }
}
