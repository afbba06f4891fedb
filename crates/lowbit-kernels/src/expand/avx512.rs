//! The tile loop with AVX-512 VNNI: sixteen rows are the lanes of one vector.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so panels hold `q + 128` (the sign bit flipped) and each integer
//! sum starts at `−128 · Σ x`: exact, and free, as the sum has to start somewhere. A step reads 64 bytes of weights
//! and broadcasts 4 bytes of each token from memory. Registers: 8 integer and 8 float accumulators, one weight
//! vector, scales and offsets.

use super::{PANEL, Panel, act_group};
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
    for g in 0..groups {
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
            out.part(m + t, first, rows).copy_from_slice(&lanes[..rows]);
        }
    }
}

/// Turns `[16][width]` into `[width / 4][16][4]` and flips every sign bit.
///
/// # Panics
/// Where `isa` is below [`IsaLevel::Avx512`] or the lengths do not fit.
pub(super) fn interleave(isa: Isa, rows: &[i8], width: usize, out: &mut [i8]) {
    assert!(isa.level() == IsaLevel::Avx512 && width.is_multiple_of(32));
    assert!(rows.len() == PANEL * width && out.len() == rows.len());
    // SAFETY: the ISA value proves the instructions; the lengths were checked.
    unsafe { transpose(rows, width, out) }
}

/// Transposes tiles of sixteen by sixteen 32-bit words; a last half tile goes through a padded buffer.
///
/// # Safety
/// - The CPU has the instructions of [`IsaLevel::Avx512`].
/// - Both slices hold `16 * width` bytes.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn transpose(rows: &[i8], width: usize, out: &mut [i8]) {
    let mut k = 0;
    while k < width {
        let bytes = (width - k).min(64);
        // SAFETY: the masked loads read `bytes` bytes of row `r` from `k` on, the stores below write `16 * bytes`
        // bytes from `16 * k` on: both inside their slices.
        unsafe {
            let mask = u64::MAX >> (64 - bytes);
            let flip = _mm512_set1_epi8(i8::MIN);
            let load = |r: usize| {
                _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, rows.as_ptr().add(r * width + k)), flip)
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
                    if index * 4 < bytes {
                        _mm512_storeu_si512(out.as_mut_ptr().add(k * PANEL + index * 64).cast(), word);
                    }
                }
            }
        }
        k += 64;
    }
}
