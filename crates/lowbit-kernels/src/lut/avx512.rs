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
//! made once for a vector of codes serves `T` tokens, and the tables of a token serve `P` panels: registers hold
//! `2 T` of tables and at most sixteen of sums. Several panels are also several streams of memory, which one core
//! needs to reach its share of bandwidth.

use super::{
    TableBits, Tile,
    acts::GroupActs,
    layout::{LONGEST, PANEL, Params, Zero},
};
use std::{
    arch::x86_64::*,
    sync::atomic::{Ordering, compiler_fence},
};

/// Sums of 16 bits hold a group: three planes of unsigned bytes, the most, are worth 7 · 255.
const _: () =
    assert!(LONGEST / 8 * 7 * 255 <= u16::MAX as usize && LONGEST / 8 * 3 * 255 <= i16::MAX as usize);

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
    let group_bytes = layout.group_bytes();
    let lookup_bytes = 128 * BYTES;
    let panels: &[&[u8]; P] = tile.panels.first_chunk().expect("the tile's panels");
    let (acc, _) = acc.as_chunks_mut::<T>();
    let acc: &mut [[[f32; PANEL]; T]; P] = acc.first_chunk_mut().expect("sums of the tile");
    let end = layout.codes_at(tile.groups.end - 1) + group_bytes;
    assert!(panels.iter().all(|panel| end <= panel.len()));
    assert!(tile.tables.len() >= (T - 1) * tile.token_stride + tile.groups.len() * lookups * lookup_bytes);
    let start: [i32; BYTES] = std::array::from_fn(|b| tile.acts.start()[b]);
    for (i, group) in tile.groups.clone().enumerate() {
        let (codes_at, params_at) = (layout.codes_at(group), layout.params_at(group));
        // SAFETY: codes and tables reach this far by the assertions.
        let integers = unsafe {
            let mut codes = [std::ptr::null(); P];
            for p in 0..P {
                codes[p] = panels[p].as_ptr().add(codes_at);
                // Needed last, and asked for first: the hardware follows a stream that is read in order.
                for line in (0..layout.scale_bytes()).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(panels[p].as_ptr().add(params_at + line).cast());
                }
            }
            let mut tables = [std::ptr::null(); T];
            for t in 0..T {
                tables[t] = tile.tables.as_ptr().add(t * tile.token_stride + i * lookups * lookup_bytes);
            }
            sums::<PLANES, BYTES, P, T>(start, codes, tables, lookups)
        };
        let mut x = [GroupActs::default(); T];
        for t in 0..T {
            x[t] = tile.acts.group(tile.tokens.start + t, group);
        }
        for p in 0..P {
            let params = &panels[p][params_at..][..layout.scale_bytes()];
            scale_and_add::<PLANES, T>(tile.params, params, &integers[p], &x, &mut acc[p]);
        }
    }
}

/// Adds a group's integer sums, in what they are worth, to the sums of a panel.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) fn scale_and_add<const PLANES: usize, const T: usize>(
    format: Params,
    params: &[u8],
    integers: &[[__m512i; 4]; T],
    x: &[GroupActs; T],
    acc: &mut [[f32; PANEL]; T],
) {
    let (scales, zeros) = params.split_at(format.scale_bytes());
    let mut scale = [_mm512_setzero_ps(); 4];
    for q in 0..4 {
        scale[q] = format.scale.sixteen(scales, q);
    }
    let mut add = |t: usize, offset: [__m512; 4]| {
        let d = _mm512_set1_ps(x[t].d);
        for q in 0..4 {
            let part = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers[t][q]), d, offset[q]);
            let acc = acc[t][16 * q..].as_mut_ptr();
            // SAFETY: sixteen floats.
            unsafe { _mm512_storeu_ps(acc, _mm512_fmadd_ps(part, scale[q], _mm512_loadu_ps(acc))) };
        }
    };
    // The same for all rows: a constant of the token.
    if let Zero::Half(half) = format.zero {
        let middle = f32::from(half) * 0.5;
        (0..T).for_each(|t| add(t, [_mm512_set1_ps(middle.mul_add(x[t].sum, x[t].bias)); 4]));
    } else {
        let mut middles = [_mm512_setzero_ps(); 4];
        for q in 0..4 {
            middles[q] = middle::<PLANES>(zeros, format.zero, q);
        }
        for t in 0..T {
            let (sum, bias) = (_mm512_set1_ps(x[t].sum), _mm512_set1_ps(x[t].bias));
            let mut offset = middles;
            for offset in &mut offset {
                *offset = _mm512_fmadd_ps(*offset, sum, bias);
            }
            add(t, offset);
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
/// - The codes and tables of `lookups` tuples can be read.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn sums<const PLANES: usize, const BYTES: usize, const P: usize, const T: usize>(
    start: [i32; BYTES],
    codes: [*const u8; P],
    tables: [*const u8; T],
    lookups: usize,
) -> [[[__m512i; 4]; T]; P] {
    let mut words = [[[[_mm512_setzero_si512(); 4]; BYTES]; T]; P];
    for p in 0..P {
        for t in 0..T {
            for b in 0..BYTES {
                words[p][t][b] = first_words::<PLANES>(start[b]);
            }
        }
    }
    let mut l = 0;
    // SAFETY: passed on.
    unsafe {
        if T == 1 && PLANES <= 2 {
            while l + 2 <= lookups {
                step::<PLANES, BYTES, P, T, 2>(&mut words, codes, tables, l);
                l += 2;
            }
        } else if T == 1 {
            while l + 4 <= lookups {
                step::<PLANES, BYTES, P, T, 4>(&mut words, codes, tables, l);
                l += 4;
            }
        }
        while l < lookups {
            step::<PLANES, BYTES, P, T, 1>(&mut words, codes, tables, l);
            l += 1;
        }
    }
    let mut all = [[[_mm512_setzero_si512(); 4]; T]; P];
    for p in 0..P {
        for t in 0..T {
            all[p][t] = rows::<PLANES>(words[p][t][BYTES - 1], 1);
            if BYTES == 2 {
                let upper = rows::<PLANES>(words[p][t][0], 255);
                for q in 0..4 {
                    all[p][t][q] = _mm512_add_epi32(all[p][t][q], upper[q]);
                }
            }
        }
    }
    all
}

/// `L` look-ups from `first` on. Panels go one after the other, so that each stream is read some lines at a time.
///
/// # Safety
/// - The codes and tables of the tuples can be read.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn step<const PLANES: usize, const BYTES: usize, const P: usize, const T: usize, const L: usize>(
    words: &mut [[[[__m512i; 4]; BYTES]; T]; P],
    codes: [*const u8; P],
    tables: [*const u8; T],
    first: usize,
) {
    let weights = _mm512_set1_epi16(0x0201);
    // Every bit of the product is the top bit of the byte.
    let top_bit = _mm512_set1_epi8(i8::MIN);
    let none = Entries { low: _mm512_setzero_si512(), high: _mm512_setzero_si512() };
    let mut entries = [[[none; BYTES]; T]; L];
    for l in 0..L {
        for t in 0..T {
            for b in 0..BYTES {
                // SAFETY: by the contract.
                entries[l][t][b] = unsafe { Entries::load(tables[t].add(128 * (BYTES * (first + l) + b))) };
            }
        }
    }
    for p in 0..P {
        if T == 1 {
            // The compiler would begin with all panels' look-ups, for which it has no registers.
            compiler_fence(Ordering::SeqCst);
        }
        for l in 0..L {
            for v in 0..PLANES {
                let at = codes[p].wrapping_add(64 * (PLANES * (first + l) + v));
                // SAFETY: by the contract.
                let c = unsafe { _mm512_loadu_si512(at.cast()) };
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

/// Words of 16 bits in which sums of the planes start that are worth `start` together.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
fn first_words<const PLANES: usize>(start: i32) -> [__m512i; 4] {
    let word = |start: i32| _mm512_set1_epi16(start as i16);
    let zero = _mm512_setzero_si512();
    match PLANES {
        // Whole words hold the odd bytes too.
        1 => [word(start + (start << 8)), word(start), zero, zero],
        2 => [word(start), word(start), zero, zero],
        3 => [word(start), word(start), zero, zero],
        _ => {
            let upper = start / 5;
            let lower = start - 4 * upper;
            [_mm512_set1_epi32((lower & 0xffff) | (upper << 16)); 4]
        }
    }
}

/// `worth` times the sums in `words`, for sixteen rows a vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,gfni,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
fn rows<const PLANES: usize>(words: [__m512i; 4], worth: i32) -> [__m512i; 4] {
    let mut sums = [_mm512_setzero_si512(); 4];
    if PLANES == 4 {
        // Planes 0 and 1 are a word, 2 and 3 the next.
        let weights = _mm512_set1_epi32(worth | ((4 * worth) << 16));
        for q in 0..4 {
            sums[q] = _mm512_madd_epi16(words[q], weights);
        }
        return sums;
    }
    // The even bytes of a single plane are what its words leave of the odd ones.
    let single =
        |words: [__m512i; 2]| [_mm512_sub_epi16(words[0], _mm512_slli_epi16::<8>(words[1])), words[1]];
    let halves = match PLANES {
        1 => single([words[0], words[1]]),
        2 => [words[0], words[1]],
        _ => {
            let [low, high] = single([words[2], words[3]]);
            [
                _mm512_add_epi16(words[0], _mm512_slli_epi16::<2>(low)),
                _mm512_add_epi16(words[1], _mm512_slli_epi16::<2>(high)),
            ]
        }
    };
    for (half, words) in halves.into_iter().enumerate() {
        let (low, high) = (_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64::<1>(words));
        for (part, words) in [low, high].into_iter().enumerate() {
            let rows = _mm512_cvtepi16_epi32(words);
            sums[2 * half + part] =
                if worth == 1 { rows } else { _mm512_sub_epi32(_mm512_slli_epi32::<8>(rows), rows) };
        }
    }
    sums
}

/// How far the middle of the codes is above the zero point, for rows `16 q..16 q + 16`.
#[inline]
#[target_feature(enable = "avx512f")]
fn middle<const PLANES: usize>(zeros: &[u8], zero: Zero, q: usize) -> __m512 {
    let highest = (1 << PLANES) - 1;
    match zero {
        Zero::Half(half) => _mm512_set1_ps(f32::from(half) * 0.5),
        Zero::Float(float) => _mm512_sub_ps(_mm512_set1_ps(highest as f32 * 0.5), float.sixteen(zeros, q)),
        Zero::Code { width } => {
            let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            let bytes = &zeros[2 * width * q..][..2 * width];
            let (fields, shift) = match width {
                1 => (_mm512_set1_epi32(i32::from(u16::from_le_bytes([bytes[0], bytes[1]]))), lanes),
                2 => {
                    let word = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    (_mm512_set1_epi32(word), _mm512_slli_epi32::<1>(lanes))
                }
                _ => {
                    let words = bytes.first_chunk().map_or(0, |b| i64::from_le_bytes(*b));
                    (_mm512_set1_epi64(words), _mm512_slli_epi32::<2>(_mm512_srli_epi32::<1>(lanes)))
                }
            };
            let mask = _mm512_set1_epi32((1 << width) - 1);
            let codes = _mm512_and_si512(_mm512_srlv_epi32(fields, shift), mask);
            let twice = _mm512_sub_epi32(_mm512_set1_epi32(highest), _mm512_slli_epi32::<1>(codes));
            _mm512_mul_ps(_mm512_cvtepi32_ps(twice), _mm512_set1_ps(0.5))
        }
    }
}
