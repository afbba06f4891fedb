//! The tile loop with AVX2: sixteen rows are two vectors of eight 32-bit sums.
//!
//! `maddubs` multiplies unsigned by signed bytes, adds neighbours and saturates at 16 bits.
//!
//! - Codes of up to 5 bits are raised to unsigned ones ([`super::Raised`]). Sums of pairs stay in 16 bits for several
//!   steps, `2 · 128 · most` each: two operations for thirty-two products. What raising adds, `by · Σ x`, is taken back
//!   once a group.
//! - Others keep their sign, which moves to the activation: `|w| · (x · sign w)`, at most 2 · 128 · 127 = 32,512 for a
//!   pair, widened at every step.

use super::{PANEL, Panel};
use crate::Int8Acts;
use std::arch::x86_64::*;

/// Multiplies a panel with every row of activations and adds that to its sums, which a panel that starts its rows overwrites.
///
/// # Safety
/// - The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tokens(panel: &Panel<'_>, x: &Int8Acts, sums: &mut [[f32; PANEL]]) {
    let mut m = 0;
    while m < x.rows() {
        // SAFETY: passed on; the tile's tokens exist.
        m += unsafe {
            match (x.rows() - m, panel.raised.most) {
                (1, 0) => tile::<1, false>(panel, x, m, sums),
                // Two tokens keep 4 integer and 4 float accumulators.
                (_, 0) => tile::<2, false>(panel, x, m, sums),
                (1, _) => tile::<1, true>(panel, x, m, sums),
                (2..4, _) => tile::<2, true>(panel, x, m, sums),
                _ => tile::<4, true>(panel, x, m, sums),
            }
        };
    }
}

/// Sums of sixteen rows for `T` tokens.
pub(crate) type Sums<const T: usize> = [[__m256i; 2]; T];

/// Returns `T`.
///
/// # Safety
/// - As for [`tokens`]; tokens `m..m + T` exist; `RAISED` says whether codes are unsigned.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const T: usize, const RAISED: bool>(
    panel: &Panel<'_>,
    x: &Int8Acts,
    m: usize,
    sums: &mut [[f32; PANEL]],
) -> usize {
    let (groups, shift, group) = (panel.groups(), panel.act_shift(x), panel.group);
    assert!(panel.q.len() == panel.k * PANEL && panel.s.len() >= groups * PANEL);
    assert!(panel.c.is_empty() || panel.c.len() >= groups * PANEL);
    assert!(m + T <= x.rows() && panel.start + panel.k <= x.k() && panel.start.is_multiple_of(x.span()));
    let out: &mut [[f32; PANEL]; T] = sums[m..].first_chunk_mut().expect("sums of every row");
    // Rows of activations, scales and sums follow each other.
    let (codes, k) = (x.q(m)[panel.start..].as_ptr(), x.k());
    let (d, spans) = (x.d(m)[panel.start / x.span()..].as_ptr(), x.d(m).len());
    let (sums, bias, runs) = (x.sums(m, group), x.bias(m, group), x.sums(m, group).len());
    let (sums, bias) = (sums[panel.start / group..].as_ptr(), bias[panel.start / group..].as_ptr());
    // The sums of activations are there times −128.
    let by = panel.raised.by;
    let taken_back = _mm_cvtsi32_si128(7 - by.checked_ilog2().unwrap_or(0) as i32);
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    if panel.start > 0 {
        for t in 0..T {
            // SAFETY: an array of sixteen floats.
            acc[t] = unsafe { [_mm256_loadu_ps(out[t].as_ptr()), _mm256_loadu_ps(out[t].as_ptr().add(8))] };
        }
    }
    // All at once: a few tokens are soon multiplied, and asking between groups costs more than it brings.
    panel.ahead.during(m..m + T, x.rows(), 1).step();
    let (mut first, all) = (0, panel.k / 4);
    for g in 0..groups {
        let steps = (group / 4).min(all - first);
        // SAFETY: steps end at `k / 4`: 64 bytes of `q` and 4 of each of `T` tokens for each exist, and for each of the
        // groups sixteen scales, and offsets if any, and a scale, sum and bias of every token, by the assertions and the
        // shapes of `Int8Acts`.
        unsafe {
            let w = panel.q.as_ptr().add(64 * first);
            let x = codes.add(4 * first);
            let mut isum = if RAISED {
                unsigned::<T>(w.cast(), (x, k), steps, panel.raised.most)
            } else {
                signed::<T>(w, (x, k), steps)
            };
            if RAISED && by != 0 {
                for t in 0..T {
                    let start = _mm256_sra_epi32(_mm256_set1_epi32(*bias.add(t * runs + g)), taken_back);
                    for half in 0..2 {
                        isum[t][half] = _mm256_add_epi32(isum[t][half], start);
                    }
                }
            }
            first += steps;
            let s = panel.s.as_ptr().add(g * PANEL);
            let s = [_mm256_loadu_ps(s), _mm256_loadu_ps(s.add(8))];
            for t in 0..T {
                let d = _mm256_set1_ps(*d.add(t * spans + (g >> shift)));
                for half in 0..2 {
                    let sum = _mm256_cvtepi32_ps(isum[t][half]);
                    acc[t][half] = _mm256_fmadd_ps(sum, _mm256_mul_ps(s[half], d), acc[t][half]);
                }
            }
            if !panel.c.is_empty() {
                let c = panel.c.as_ptr().add(g * PANEL);
                let c = [_mm256_loadu_ps(c), _mm256_loadu_ps(c.add(8))];
                for t in 0..T {
                    let sum = _mm256_set1_ps(*sums.add(t * runs + g));
                    for half in 0..2 {
                        acc[t][half] = _mm256_fmadd_ps(c[half], sum, acc[t][half]);
                    }
                }
            }
        }
    }
    for t in 0..T {
        // SAFETY: an array of sixteen floats.
        unsafe {
            _mm256_storeu_ps(out[t].as_mut_ptr(), acc[t][0]);
            _mm256_storeu_ps(out[t].as_mut_ptr().add(8), acc[t][1]);
        }
    }
    T
}

/// Products of unsigned codes up to `most`, `[steps][16][4]`, with four activations a step of each of `T` rows, which are so
/// many bytes apart.
///
/// # Safety
/// - So many codes and activations can be read.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn unsigned<const T: usize>(
    w: *const u8,
    (x, apart): (*const i8, usize),
    steps: usize,
    most: u8,
) -> Sums<T> {
    let ones = _mm256_set1_epi16(1);
    // Steps whose pairs of products, of 256 · most at most, add up in 16 bits.
    let fold = usize::from(i8::MAX as u8 / most);
    let mut sums = [[_mm256_setzero_si256(); 2]; T];
    let mut step = 0;
    while step < steps {
        let end = (step + fold).min(steps);
        let mut words = [[_mm256_setzero_si256(); 2]; T];
        // Where this loop is unrolled, the compiler loads ahead and keeps words in memory.
        while step < end {
            // SAFETY: by the contract; reads are unaligned.
            unsafe {
                let w = w.add(64 * step);
                let w = [_mm256_loadu_si256(w.cast()), _mm256_loadu_si256(w.add(32).cast())];
                for t in 0..T {
                    let x4 = _mm256_set1_epi32(x.add(t * apart + 4 * step).cast::<i32>().read_unaligned());
                    for half in 0..2 {
                        words[t][half] = _mm256_add_epi16(words[t][half], _mm256_maddubs_epi16(w[half], x4));
                    }
                }
            }
            step += 1;
        }
        for t in 0..T {
            for half in 0..2 {
                sums[t][half] = _mm256_add_epi32(sums[t][half], _mm256_madd_epi16(words[t][half], ones));
            }
        }
    }
    sums
}

/// The same with signed codes.
///
/// # Safety
/// - As for [`unsigned`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn signed<const T: usize>(w: *const i8, (x, apart): (*const i8, usize), steps: usize) -> Sums<T> {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; T];
    for step in 0..steps {
        for half in 0..2 {
            // SAFETY: by the contract; reads are unaligned.
            unsafe {
                let w = _mm256_loadu_si256(w.add(64 * step + 32 * half).cast());
                let magnitude = _mm256_abs_epi8(w);
                for t in 0..T {
                    let x4 = _mm256_set1_epi32(x.add(t * apart + 4 * step).cast::<i32>().read_unaligned());
                    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x4, w));
                    sums[t][half] = _mm256_add_epi32(sums[t][half], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
    }
    sums
}
