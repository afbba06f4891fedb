//! The loops of dense products over sixteen lanes: tiles of R rows by T tokens held in registers.

use super::FloatRows;
use crate::{MatRef, SharedMut, lanes::Lanes};
use lowbit_format::FloatFormat;

#[cfg(target_arch = "x86_64")]
use crate::lanes::x86::{Ymm2, Zmm};

/// See [`super::dot_rows_into`].
///
/// # Safety
/// - The CPU has AVX2, FMA and F16C, and the contract of `dot_rows_into` on `out` holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot_avx2(w: FloatRows<'_>, x: MatRef<'_>, out: SharedMut<'_>, start: usize) {
    // Four rows by one token are 8 accumulators of the 16 registers.
    // SAFETY: passed on.
    unsafe { dot::<Ymm2, 4, 1>(w, x, out, start) }
}

/// See [`super::dot_rows_into`].
///
/// # Safety
/// - The CPU has AVX-512 F and BW, and the contract of `dot_rows_into` on `out` holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn dot_avx512(w: FloatRows<'_>, x: MatRef<'_>, out: SharedMut<'_>, start: usize) {
    // 4 × 4 tiles are 16 accumulators of the 32 registers.
    // SAFETY: passed on.
    unsafe { dot::<Zmm, 4, 4>(w, x, out, start) }
}

/// See [`super::mix_rows`].
///
/// # Safety
/// - As for [`dot_avx2`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn mix_avx2(w: FloatRows<'_>, p: MatRef<'_>, out: SharedMut<'_>) {
    // SAFETY: passed on.
    unsafe { mix::<Ymm2, 4>(w, p, out) }
}

/// See [`super::mix_rows`].
///
/// # Safety
/// - As for [`dot_avx512`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn mix_avx512(w: FloatRows<'_>, p: MatRef<'_>, out: SharedMut<'_>) {
    // SAFETY: passed on.
    unsafe { mix::<Zmm, 8>(w, p, out) }
}

/// # Safety
/// - The instructions of `V` exist, and the contract of `dot_rows_into` on `out` holds.
#[inline(always)]
pub(super) unsafe fn dot<V: Lanes, const R: usize, const T: usize>(
    w: FloatRows<'_>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
    start: usize,
) {
    let mut n = 0;
    while n < w.rows {
        let mut m = 0;
        while m < x.rows() {
            // SAFETY: passed on; the tile's rows and tokens exist.
            unsafe {
                match (w.rows - n >= R, x.rows() - m >= T) {
                    (true, true) => dot_tile::<V, R, T>(w, n, x, m, out, start),
                    (true, false) => dot_tile::<V, R, 1>(w, n, x, m, out, start),
                    (false, true) => dot_tile::<V, 1, T>(w, n, x, m, out, start),
                    (false, false) => dot_tile::<V, 1, 1>(w, n, x, m, out, start),
                }
            }
            m += if x.rows() - m >= T { T } else { 1 };
        }
        n += if w.rows - n >= R { R } else { 1 };
    }
}

/// # Safety
/// - As for [`dot`]; rows `n..n + R` and tokens `m..m + T` exist.
#[inline(always)]
unsafe fn dot_tile<V: Lanes, const R: usize, const T: usize>(
    w: FloatRows<'_>,
    n: usize,
    x: MatRef<'_>,
    m: usize,
    out: SharedMut<'_>,
    start: usize,
) {
    let size = w.format.bytes();
    let row_bytes = w.cols * size;
    debug_assert!((n + R) * row_bytes <= w.bytes.len() && m + T <= x.rows());
    let tokens: [&[f32]; T] = std::array::from_fn(|t| x.row(m + t));
    // SAFETY: all loads below stay inside row `n + r` and the tokens: full chunks end at or before `cols`, and the
    // last chunk is copied into buffers of sixteen. The instructions exist by contract.
    unsafe {
        let rows: [*const u8; R] = std::array::from_fn(|r| w.bytes.as_ptr().add((n + r) * row_bytes));
        let mut acc = [[V::zero(); T]; R];
        let full = w.cols / 16 * 16;
        let mut k = 0;
        while k < full {
            let xs: [V; T] = std::array::from_fn(|t| V::load(tokens[t].as_ptr().add(k)));
            for r in 0..R {
                let row = load::<V>(w.format, rows[r].add(k * size));
                for t in 0..T {
                    acc[r][t] = row.mul_add(xs[t], acc[r][t]);
                }
            }
            k += 16;
        }
        if full < w.cols {
            let tail = w.cols - full;
            let mut padded = [[0f32; 16]; T];
            for t in 0..T {
                padded[t][..tail].copy_from_slice(&tokens[t][full..]);
            }
            for r in 0..R {
                let mut last = [0u8; 64];
                std::ptr::copy_nonoverlapping(rows[r].add(full * size), last.as_mut_ptr(), tail * size);
                let row = load::<V>(w.format, last.as_ptr());
                for t in 0..T {
                    acc[r][t] = row.mul_add(V::load(padded[t].as_ptr()), acc[r][t]);
                }
            }
        }
        for t in 0..T {
            let target = out.part(m + t, start + n, R);
            if R == 4 {
                target.copy_from_slice(&V::sums([acc[0][t], acc[1 % R][t], acc[2 % R][t], acc[3 % R][t]]));
            } else {
                for r in 0..R {
                    target[r] = acc[r][t].sum();
                }
            }
        }
    }
}

/// Sixteen elements of a stored row.
///
/// # Safety
/// - The instructions of `V` exist; `p` is valid for sixteen elements of `format`.
#[inline(always)]
unsafe fn load<V: Lanes>(format: FloatFormat, p: *const u8) -> V {
    // SAFETY: passed on; `Lanes::load` reads unaligned.
    unsafe {
        match format {
            FloatFormat::F32 => V::load(p.cast()),
            FloatFormat::F16 => V::load_f16(p),
            FloatFormat::Bf16 => V::load_bf16(p),
        }
    }
}

/// # Safety
/// - The instructions of `V` exist, and nobody else refers to `out`.
#[inline(always)]
pub(super) unsafe fn mix<V: Lanes, const T: usize>(w: FloatRows<'_>, p: MatRef<'_>, out: SharedMut<'_>) {
    let mut m = 0;
    while m < p.rows() {
        // SAFETY: passed on; the tokens exist.
        unsafe {
            if p.rows() - m >= T {
                mix_tile::<V, T>(w, p, m, out);
                m += T;
            } else {
                mix_tile::<V, 1>(w, p, m, out);
                m += 1;
            }
        }
    }
}

/// # Safety
/// - As for [`mix`]; tokens `m..m + T` exist.
#[inline(always)]
unsafe fn mix_tile<V: Lanes, const T: usize>(w: FloatRows<'_>, p: MatRef<'_>, m: usize, out: SharedMut<'_>) {
    let size = w.format.bytes();
    let row_bytes = w.cols * size;
    debug_assert!(w.rows * row_bytes <= w.bytes.len() && m + T <= p.rows());
    let weights: [&[f32]; T] = std::array::from_fn(|t| p.row(m + t));
    let mut c = 0;
    while c < w.cols {
        let width = (w.cols - c).min(16);
        // SAFETY: a full chunk ends at or before `cols`; a shorter one is copied into a buffer of sixteen. The
        // instructions exist by contract.
        unsafe {
            let mut acc = [V::zero(); T];
            for n in 0..w.rows {
                let at = w.bytes.as_ptr().add(n * row_bytes + c * size);
                let row = if width == 16 {
                    load::<V>(w.format, at)
                } else {
                    let mut last = [0u8; 64];
                    std::ptr::copy_nonoverlapping(at, last.as_mut_ptr(), width * size);
                    load::<V>(w.format, last.as_ptr())
                };
                for t in 0..T {
                    acc[t] = row.mul_add(V::splat(*weights[t].get_unchecked(n)), acc[t]);
                }
            }
            for t in 0..T {
                let mut lanes = [0f32; 16];
                acc[t].store(lanes.as_mut_ptr());
                out.part(m + t, c, width).copy_from_slice(&lanes[..width]);
            }
        }
        c += 16;
    }
}
