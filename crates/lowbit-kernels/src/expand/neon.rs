//! The tile loop with NEON's dot products: sixteen rows are four vectors of four 32-bit sums.
//!
//! `sdot` adds the products of four neighbouring bytes to each 32-bit sum: four codes of a row with four activations, which
//! are one lane of a vector of sixteen.

use super::{PANEL, Panel, emit};
use crate::{Int8Acts, SharedMut};
use std::arch::aarch64::*;

/// Multiplies a panel with every token into columns `first..first + rows` of `out`.
///
/// # Safety
/// - The CPU has NEON and its dot products.
/// - Nobody else refers to those columns.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn tokens(panel: &Panel<'_>, x: &Int8Acts, out: SharedMut<'_>, first: usize, rows: usize) {
    let mut m = 0;
    while m < x.rows() {
        // SAFETY: passed on; the tile's tokens exist. Four tokens keep sixteen integer accumulators.
        unsafe {
            if x.rows() - m >= 4 {
                tile::<4>(panel, x, m, out, first, rows);
                m += 4;
            } else {
                tile::<1>(panel, x, m, out, first, rows);
                m += 1;
            }
        }
    }
}

/// # Safety
/// - As for [`tokens`]; tokens `m..m + T` exist.
#[target_feature(enable = "neon,dotprod")]
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
    let d: [&[f32]; T] = std::array::from_fn(|t| x.d(m + t));
    let sums: [&[f32]; T] = std::array::from_fn(|t| x.sums(m + t, panel.group));
    let codes: [&[[i8; 16]]; T] = std::array::from_fn(|t| x.q(m + t).as_chunks().0);
    // Sixteen activations, with as many of every row.
    let w = panel.q.as_chunks::<{ 16 * PANEL }>().0;
    let mut acc = [[vdupq_n_f32(0.0); 4]; T];
    for (g, steps) in panel.steps() {
        let mut isum = [[vdupq_n_s32(0); 4]; T];
        for run in steps.start / 4..steps.end / 4 {
            // SAFETY: sixteen bytes of each token.
            let x: [int8x16_t; T] = std::array::from_fn(|t| unsafe { vld1q_s8(codes[t][run].as_ptr()) });
            let w = w[run].as_chunks::<16>().0;
            for q in 0..4 {
                // SAFETY: sixteen bytes: four rows at each of four steps.
                let w: [int8x16_t; 4] =
                    std::array::from_fn(|step| unsafe { vld1q_s8(w[4 * step + q].as_ptr()) });
                for t in 0..T {
                    isum[t][q] = dot(isum[t][q], w, x[t]);
                }
            }
        }
        for q in 0..4 {
            let at = g * PANEL + 4 * q;
            // SAFETY: `g < groups`, so the four scales lie inside `s`.
            let s = unsafe { vld1q_f32(panel.s.as_ptr().add(at)) };
            for t in 0..T {
                let scale = vmulq_n_f32(s, d[t][g >> shift]);
                acc[t][q] = vfmaq_f32(acc[t][q], vcvtq_f32_s32(isum[t][q]), scale);
            }
            if let Some(c) = panel.c.get(at..at + 4) {
                // SAFETY: four offsets.
                let c = unsafe { vld1q_f32(c.as_ptr()) };
                for t in 0..T {
                    acc[t][q] = vfmaq_f32(acc[t][q], c, vdupq_n_f32(sums[t][g]));
                }
            }
        }
    }
    for t in 0..T {
        let mut lanes = [0f32; PANEL];
        // SAFETY: the array has four vectors; the contract on `out` is passed on.
        unsafe {
            for (lanes, acc) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(acc[t]) {
                vst1q_f32(lanes.as_mut_ptr(), acc);
            }
            emit(x, m + t, &lanes[..rows], out, first);
        }
    }
}

/// Adds to four rows their codes times the activations, four steps of four.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sum: int32x4_t, w: [int8x16_t; 4], x: int8x16_t) -> int32x4_t {
    // SAFETY: `sdot`, spelt out, because the intrinsic is not stable; the caller's features have it.
    unsafe {
        std::arch::asm!(
            "sdot {sum:v}.4s, {w0:v}.16b, {x:v}.4b[0]",
            "sdot {sum:v}.4s, {w1:v}.16b, {x:v}.4b[1]",
            "sdot {sum:v}.4s, {w2:v}.16b, {x:v}.4b[2]",
            "sdot {sum:v}.4s, {w3:v}.16b, {x:v}.4b[3]",
            sum = inout(vreg) sum,
            w0 = in(vreg) w[0],
            w1 = in(vreg) w[1],
            w2 = in(vreg) w[2],
            w3 = in(vreg) w[3],
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
