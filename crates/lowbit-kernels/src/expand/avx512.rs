//! The tile loop with AVX-512 VNNI: sixteen rows are the lanes of one vector.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so panels hold `q + 128` (the sign bit flipped) and each integer
//! sum starts at `−128 · Σ x`: exact, and free, as the sum has to start somewhere. A step reads 64 bytes of weights
//! and broadcasts 4 bytes of each token from memory. Registers: 8 integer and 8 float accumulators, one weight
//! vector, scales and offsets.

use super::{PANEL, Panel, RowChunk, act_group, emit};
use crate::{Int8Acts, Isa, IsaLevel, SharedMut};
use std::arch::x86_64::*;

/// Multiplies a panel with every token into columns `first..first + rows` of `out`.
///
/// # Safety
/// - The CPU has the instructions of [`IsaLevel::Avx512`].
/// - Nobody else refers to those columns.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) unsafe fn tokens(panel: &Panel<'_>, x: &Int8Acts, out: SharedMut<'_>, first: usize, rows: usize) {
    let mut m = 0;
    while m < x.rows() {
        // SAFETY: passed on; the tile's tokens exist.
        unsafe {
            match x.rows() - m {
                1 => tile::<1>(panel, x, m, out, first, rows),
                2..4 => tile::<2>(panel, x, m, out, first, rows),
                4..8 => tile::<4>(panel, x, m, out, first, rows),
                _ => tile::<8>(panel, x, m, out, first, rows),
            }
        }
        m += match x.rows() - m {
            1 => 1,
            2..4 => 2,
            4..8 => 4,
            _ => 8,
        };
    }
}

/// # Safety
/// - As for [`tokens`]; tokens `m..m + T` exist.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn tile<const T: usize>(
    panel: &Panel<'_>,
    x: &Int8Acts,
    m: usize,
    out: SharedMut<'_>,
    first: usize,
    rows: usize,
) {
    assert!(x.span() == 32 && matches!(panel.group, 16 | 32), "groups of {}", panel.group);
    // SAFETY: passed on.
    unsafe {
        match (panel.group, panel.c.is_empty()) {
            (32, true) => groups::<T, 32, false>(panel, x, m, out, first, rows),
            (32, false) => groups::<T, 32, true>(panel, x, m, out, first, rows),
            (_, true) => groups::<T, 16, false>(panel, x, m, out, first, rows),
            (_, false) => groups::<T, 16, true>(panel, x, m, out, first, rows),
        }
    }
}

/// # Safety
/// - As for [`tile`]; the panel's group is `GROUP`, and it has offsets where `OFFSETS` says so.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn groups<const T: usize, const GROUP: usize, const OFFSETS: bool>(
    panel: &Panel<'_>,
    x: &Int8Acts,
    m: usize,
    out: SharedMut<'_>,
    first: usize,
    rows: usize,
) {
    let groups = panel.k / GROUP;
    assert!(panel.q.len() == panel.k * PANEL && panel.s.len() >= groups * PANEL && x.k() == panel.k);
    assert!(!OFFSETS || panel.c.len() >= groups * PANEL);
    let codes: [*const i8; T] = std::array::from_fn(|t| x.q(m + t).as_ptr());
    let d: [*const f32; T] = std::array::from_fn(|t| x.d(m + t).as_ptr());
    let sums: [*const f32; T] = std::array::from_fn(|t| x.sums(m + t, GROUP).as_ptr());
    let bias: [*const i32; T] = std::array::from_fn(|t| x.bias(m + t, GROUP).as_ptr());
    let mut acc = [_mm512_setzero_ps(); T];
    let mut asking = panel.ahead.during(m..m + T, x.rows(), groups);
    for g in 0..groups {
        asking.step();
        // SAFETY: `g < groups`: 4 · GROUP/4 codes of each token, 64 · GROUP/4 codes of the panel, sixteen scales and
        // offsets of it, and one scale, sum and bias of each token exist from there, by the assertions above and the
        // shapes of `Int8Acts`. Reads are unaligned.
        unsafe {
            let mut isum: [__m512i; T] = std::array::from_fn(|t| _mm512_set1_epi32(*bias[t].add(g)));
            for step in g * (GROUP / 4)..(g + 1) * (GROUP / 4) {
                let w = _mm512_loadu_si512(panel.q.as_ptr().add(step * 64).cast());
                for t in 0..T {
                    let x4 = _mm512_set1_epi32(codes[t].add(step * 4).cast::<i32>().read_unaligned());
                    isum[t] = _mm512_dpbusd_epi32(isum[t], w, x4);
                }
            }
            let s = _mm512_loadu_ps(panel.s.as_ptr().add(g * PANEL));
            for t in 0..T {
                let scale = _mm512_mul_ps(s, _mm512_set1_ps(*d[t].add(act_group(g, GROUP))));
                acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[t]), scale, acc[t]);
            }
            if OFFSETS {
                let c = _mm512_loadu_ps(panel.c.as_ptr().add(g * PANEL));
                for t in 0..T {
                    acc[t] = _mm512_fmadd_ps(c, _mm512_set1_ps(*sums[t].add(g)), acc[t]);
                }
            }
        }
    }
    for t in 0..T {
        let mut lanes = [0f32; PANEL];
        // SAFETY: the array has sixteen elements; the contract on `out` is passed on.
        unsafe {
            _mm512_storeu_ps(lanes.as_mut_ptr(), acc[t]);
            emit(x, m + t, &lanes[..rows], out, first);
        }
    }
}

/// Turns sixteen rows of `words` 32-bit words, `[16][words]`, into `[words][16]`, each word exclusive-ored with `flip`.
///
/// # Panics
/// Where `isa` is below [`IsaLevel::Avx512`] or the lengths do not fit.
pub(super) fn transpose(isa: Isa, rows: &[u32], words: usize, flip: u32, out: &mut [u32]) {
    assert!(isa.level() == IsaLevel::Avx512 && rows.len() == PANEL * words && out.len() == rows.len());
    // SAFETY: the ISA value proves the instructions; the lengths were checked.
    unsafe { transpose_tiles(rows, words, flip, out) }
}

/// Transposes tiles of sixteen by sixteen words; loads of a last, narrower tile are masked.
///
/// # Safety
/// - The CPU has the instructions of [`IsaLevel::Avx512`].
/// - Both slices hold `16 * words` elements.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn transpose_tiles(rows: &[u32], words: usize, flip: u32, out: &mut [u32]) {
    let flip = _mm512_set1_epi32(flip.cast_signed());
    let mut at = 0;
    while at < words {
        let width = (words - at).min(16);
        // SAFETY: the masked loads read `width` words of row `r` from `at` on, the stores below write `16 * width`
        // words from `16 * at` on: both inside their slices.
        unsafe {
            let mask = u16::MAX >> (16 - width);
            let load = |r: usize| {
                let row = rows.as_ptr().add(r * words + at).cast();
                _mm512_xor_si512(_mm512_maskz_loadu_epi32(mask, row), flip)
            };
            // Pairs of rows, then fours: 128-bit lane `l` of `fours[i][j]` has word `4l + j` of rows `4i..4i + 4`.
            let fours: [[__m512i; 4]; 4] = std::array::from_fn(|i| {
                let [a, b, c, d] = std::array::from_fn(|j| load(4 * i + j));
                let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
                let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
                [
                    _mm512_unpacklo_epi64(ab_low, cd_low),
                    _mm512_unpackhi_epi64(ab_low, cd_low),
                    _mm512_unpacklo_epi64(ab_high, cd_high),
                    _mm512_unpackhi_epi64(ab_high, cd_high),
                ]
            });
            for j in 0..4 {
                let [a, b, c, d] = std::array::from_fn(|i| fours[i][j]);
                let (ab_even, ab_odd) =
                    (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
                let (cd_even, cd_odd) =
                    (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
                let words = [
                    _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even),
                    _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd),
                    _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even),
                    _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd),
                ];
                for (lane, word) in words.into_iter().enumerate() {
                    let index = 4 * lane + j;
                    if index < width {
                        _mm512_storeu_si512(out.as_mut_ptr().add((at + index) * PANEL).cast(), word);
                    }
                }
            }
        }
        at += 16;
    }
}

/// One row of activations times a panel that was not transposed: `chunk` holds codes `[16][width]` from weight `start` on, `s` and
/// `c` the transposed scales and offsets of the chunk's groups. Continues the sums of sixteen rows in `acc`.
///
/// # Panics
/// Where `isa` is below [`IsaLevel::Avx512`] or the shapes do not fit.
pub(super) fn one_token(isa: Isa, chunk: &RowChunk<'_>, x: &Int8Acts, row: usize, acc: &mut [f32; PANEL]) {
    assert!(isa.level() == IsaLevel::Avx512 && row < x.rows() && chunk.start + chunk.width <= x.k());
    let groups = chunk.width / chunk.group;
    assert!(chunk.q.len() == PANEL * chunk.width && chunk.s.len() >= groups * PANEL);
    assert!(chunk.c.is_empty() || chunk.c.len() >= groups * PANEL);
    // SAFETY: the ISA value proves the instructions; the shapes were checked.
    unsafe {
        match (chunk.group, chunk.c.is_empty()) {
            (32, true) => dot_rows::<32, false>(chunk, x, row, acc),
            (32, false) => dot_rows::<32, true>(chunk, x, row, acc),
            (_, true) => dot_rows::<16, false>(chunk, x, row, acc),
            (_, false) => dot_rows::<16, true>(chunk, x, row, acc),
        }
    }
}

/// # Safety
/// - The CPU has the instructions of [`IsaLevel::Avx512`]; the shapes fit as [`one_token`] checks, the chunk's group
///   is `GROUP`, and it has offsets where `OFFSETS` says so.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn dot_rows<const GROUP: usize, const OFFSETS: bool>(
    chunk: &RowChunk<'_>,
    x: &Int8Acts,
    row: usize,
    acc: &mut [f32; PANEL],
) {
    let first_group = chunk.start / GROUP;
    let (codes, d) = (&x.q(row)[chunk.start..], x.d(row));
    let (sums, bias) = (&x.sums(row, GROUP)[first_group..], &x.bias(row, GROUP)[first_group..]);
    // SAFETY: full steps read 64 codes of each row and of the token, a last half step 32 through a mask; groups up to
    // `width / GROUP` have scales, offsets, sums and biases by the shapes.
    unsafe {
        let mut total = _mm512_loadu_ps(acc.as_ptr());
        let flip = _mm512_set1_epi8(i8::MIN);
        let mut k = 0;
        while k < chunk.width {
            let mask = u64::MAX >> (64 - (chunk.width - k).min(64));
            let x64 = _mm512_maskz_loadu_epi8(mask, codes.as_ptr().add(k));
            // Words of sixteen rows, added up within 128-bit lanes: lane `l` of `fours[i]` has the sums over weights
            // `16 l..16 l + 16` of rows `4 i..4 i + 4`.
            let fours: [__m512i; 4] = std::array::from_fn(|i| {
                let [a, b, c, d] = std::array::from_fn(|j| {
                    let row = chunk.q.as_ptr().add((4 * i + j) * chunk.width + k);
                    let w = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, row), flip);
                    _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, x64)
                });
                let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
                let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
                _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
            });
            let [p, q, r, s] = fours;
            let (pq_even, pq_odd) = (_mm512_shuffle_i32x4::<0x88>(p, q), _mm512_shuffle_i32x4::<0xdd>(p, q));
            let (rs_even, rs_odd) = (_mm512_shuffle_i32x4::<0x88>(r, s), _mm512_shuffle_i32x4::<0xdd>(r, s));
            let low = |a, b| _mm512_shuffle_i32x4::<0x88>(a, b);
            let high = |a, b| _mm512_shuffle_i32x4::<0xdd>(a, b);
            let isums: [__m512i; 4] = if GROUP == 32 {
                let (pq, rs) = (_mm512_add_epi32(pq_even, pq_odd), _mm512_add_epi32(rs_even, rs_odd));
                [low(pq, rs), high(pq, rs), _mm512_setzero_si512(), _mm512_setzero_si512()]
            } else {
                [low(pq_even, rs_even), low(pq_odd, rs_odd), high(pq_even, rs_even), high(pq_odd, rs_odd)]
            };
            for (j, isum) in isums.into_iter().enumerate().take((chunk.width - k).min(64) / GROUP) {
                let g = k / GROUP + j;
                let isum = _mm512_add_epi32(isum, _mm512_set1_epi32(bias[g]));
                let scale = _mm512_mul_ps(
                    _mm512_loadu_ps(chunk.s.as_ptr().add(g * PANEL)),
                    _mm512_set1_ps(d[act_group(first_group + g, GROUP)]),
                );
                total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum), scale, total);
                if OFFSETS {
                    let c = _mm512_loadu_ps(chunk.c.as_ptr().add(g * PANEL));
                    total = _mm512_fmadd_ps(c, _mm512_set1_ps(sums[g]), total);
                }
            }
            k += 64;
        }
        _mm512_storeu_ps(acc.as_mut_ptr(), total);
    }
}
