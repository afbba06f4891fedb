//! The tile loop with AVX2: sixteen rows are two vectors of eight 32-bit sums.
//!
//! `maddubs` multiplies unsigned by signed bytes and saturates at 16 bits, so the weight's sign moves to the
//! activation: `|w| · (x · sign w)`, at most 2 · 128 · 127 = 32,512 for a pair.

use super::{PANEL, Panel, emit};
use crate::{Int8Acts, SharedMut};
use std::arch::x86_64::*;

/// Multiplies a panel with every token into columns `first..first + rows` of `out`.
///
/// # Safety
/// - The CPU has AVX2 and FMA.
/// - Nobody else refers to those columns.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tokens(panel: &Panel<'_>, x: &Int8Acts, out: SharedMut<'_>, first: usize, rows: usize) {
    let mut m = 0;
    while m < x.rows() {
        // SAFETY: passed on; the tile's tokens exist. Two tokens keep 4 integer and 4 float accumulators.
        unsafe {
            if x.rows() - m >= 2 {
                tile::<2>(panel, x, m, out, first, rows);
                m += 2;
            } else {
                tile::<1>(panel, x, m, out, first, rows);
                m += 1;
            }
        }
    }
}

/// # Safety
/// - As for [`tokens`]; tokens `m..m + T` exist.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const T: usize>(
    panel: &Panel<'_>,
    x: &Int8Acts,
    m: usize,
    out: SharedMut<'_>,
    first: usize,
    rows: usize,
) {
    let (groups, shift) = (panel.groups(), panel.act_shift(x));
    assert!(panel.q.len() == panel.k * PANEL && panel.s.len() >= groups * PANEL && x.k() == panel.k);
    let codes: [&[i8]; T] = std::array::from_fn(|t| x.q(m + t));
    let d: [&[f32]; T] = std::array::from_fn(|t| x.d(m + t));
    let sums: [&[f32]; T] = std::array::from_fn(|t| x.sums(m + t, panel.group));
    let ones = _mm256_set1_epi16(1);
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let (mut step, all) = (0, panel.k / 4);
    // All at once: two tokens are soon multiplied, and asking between groups costs more than it brings.
    panel.ahead.during(m..m + T, x.rows(), 1).step();
    for g in 0..groups {
        let end = (step + panel.group / 4).min(all);
        let mut isum = [[_mm256_setzero_si256(); 2]; T];
        while step < end {
            for half in 0..2 {
                // SAFETY: `step < k / 4`, so the 64 bytes of the step lie inside `q` and its 4 bytes inside a token.
                let w = unsafe { _mm256_loadu_si256(panel.q.as_ptr().add(step * 64 + half * 32).cast()) };
                let magnitude = _mm256_abs_epi8(w);
                for t in 0..T {
                    // SAFETY: as above; the read is unaligned.
                    let x4 = unsafe { codes[t].as_ptr().add(step * 4).cast::<i32>().read_unaligned() };
                    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(_mm256_set1_epi32(x4), w));
                    isum[t][half] = _mm256_add_epi32(isum[t][half], _mm256_madd_epi16(pairs, ones));
                }
            }
            step += 1;
        }
        for half in 0..2 {
            let at = g * PANEL + half * 8;
            // SAFETY: `g < groups`, so the eight scales lie inside `s`.
            let s = unsafe { _mm256_loadu_ps(panel.s.as_ptr().add(at)) };
            for t in 0..T {
                let scale = _mm256_mul_ps(s, _mm256_set1_ps(d[t][g >> shift]));
                acc[t][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[t][half]), scale, acc[t][half]);
            }
            if !panel.c.is_empty() {
                // SAFETY: offsets have the scales' shape.
                let c = unsafe { _mm256_loadu_ps(panel.c[at..].as_ptr()) };
                for t in 0..T {
                    acc[t][half] = _mm256_fmadd_ps(c, _mm256_set1_ps(sums[t][g]), acc[t][half]);
                }
            }
        }
    }
    for t in 0..T {
        let mut lanes = [0f32; PANEL];
        // SAFETY: the array has sixteen elements; the contract on `out` is passed on.
        unsafe {
            _mm256_storeu_ps(lanes.as_mut_ptr(), acc[t][0]);
            _mm256_storeu_ps(lanes.as_mut_ptr().add(8), acc[t][1]);
            emit(x, m + t, &lanes[..rows], out, first);
        }
    }
}
