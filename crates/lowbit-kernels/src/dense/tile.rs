//! The loops of dense products over sixteen lanes: tiles of R rows by T tokens held in registers.
//!
//! A tile has enough sums of its own that none waits for the one before, down to a single token: products over cached
//! keys and values then run as fast as these are read. As the rest of a division into tiles has its own smaller tile,
//! rows are widened once for up to T tokens whatever their number.

use super::FloatRows;
use crate::{MatRef, SharedMut, lanes::Lanes, streams::ask_for};
use lowbit_format::FloatFormat;

#[cfg(target_arch = "x86_64")]
use crate::lanes::x86::{Ymm2, Zmm};

/// How elements are stored.
pub(super) trait Element {
    const BYTES: usize;
    /// Sixteen elements.
    ///
    /// # Safety
    /// - The instructions of `V` exist; `p` is valid for reads of sixteen elements.
    unsafe fn load<V: Lanes>(p: *const u8) -> V;
}

pub(super) struct OfF32;
pub(super) struct OfF16;
pub(super) struct OfBf16;

impl Element for OfF32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const u8) -> V {
        // SAFETY: passed on; `Lanes::load` reads unaligned.
        unsafe { V::load(p.cast()) }
    }
}

impl Element for OfF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const u8) -> V {
        // SAFETY: passed on.
        unsafe { V::load_f16(p) }
    }
}

impl Element for OfBf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const u8) -> V {
        // SAFETY: passed on.
        unsafe { V::load_bf16(p) }
    }
}

/// See [`super::dot_rows_into`].
///
/// # Safety
/// - The CPU has AVX2, FMA and F16C, and the contract of `dot_rows_into` on `out` holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot_avx2(w: FloatRows<'_>, x: MatRef<'_>, out: SharedMut<'_>, start: usize) {
    // 4 × 1 tiles are 8 sums of the 16 registers.
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
    // 4 × 4 tiles are 16 sums of the 32 registers.
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
    // 4 × 1 tiles are 8 sums of the 16 registers.
    // SAFETY: passed on.
    unsafe { mix::<Ymm2, 4, 1>(w, p, out) }
}

/// See [`super::mix_rows`].
///
/// # Safety
/// - As for [`dot_avx512`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn mix_avx512(w: FloatRows<'_>, p: MatRef<'_>, out: SharedMut<'_>) {
    // 8 × 2 tiles are 16 sums of the 32 registers.
    // SAFETY: passed on.
    unsafe { mix::<Zmm, 8, 2>(w, p, out) }
}

/// Asks the second-level cache for `len` bytes from `start` on, as far as there are so many.
#[inline(always)]
pub(super) fn fetch(bytes: &[u8], start: usize, len: usize) {
    let len = len.min(bytes.len().saturating_sub(start));
    ask_for(bytes.as_ptr().wrapping_add(start), len);
}

/// Writes lanes from `first` on to all of `target`.
///
/// # Safety
/// - The instructions of `V` exist.
#[inline(always)]
pub(super) unsafe fn write<V: Lanes>(lanes: V, first: usize, target: &mut [f32]) {
    // SAFETY: the instructions exist by contract; sixteen floats are written to as many.
    unsafe {
        if target.len() == 16 {
            lanes.store(target.as_mut_ptr());
        } else {
            let mut all = [0f32; 16];
            lanes.store(all.as_mut_ptr());
            target.copy_from_slice(&all[first..][..target.len()]);
        }
    }
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
    // SAFETY: passed on.
    unsafe {
        match w.format {
            FloatFormat::F32 => dot_of::<V, OfF32, R, T>(w, x, out, start),
            FloatFormat::F16 => dot_of::<V, OfF16, R, T>(w, x, out, start),
            FloatFormat::Bf16 => dot_of::<V, OfBf16, R, T>(w, x, out, start),
        }
    }
}

/// # Safety
/// - As for [`dot`]; `E` is the format of `w`.
#[inline(always)]
unsafe fn dot_of<V: Lanes, E: Element, const R: usize, const T: usize>(
    w: FloatRows<'_>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
    start: usize,
) {
    const { assert!(T <= 4) };
    let mut n = 0;
    while n < w.rows {
        let whole = w.rows - n >= R;
        fetch(w.next, n * w.cols * E::BYTES, if whole { R } else { 1 } * w.cols * E::BYTES);
        let mut m = 0;
        while m < x.rows() {
            let tokens = (x.rows() - m).min(T);
            // SAFETY: passed on; the tile's rows and tokens exist.
            unsafe {
                match (whole, tokens) {
                    (true, 1) => dot_tile::<V, E, R, 1>(w, n, x, m, out, start),
                    (true, 2) => dot_tile::<V, E, R, 2>(w, n, x, m, out, start),
                    (true, 3) => dot_tile::<V, E, R, 3>(w, n, x, m, out, start),
                    (true, _) => dot_tile::<V, E, R, T>(w, n, x, m, out, start),
                    (false, 1) => dot_tile::<V, E, 1, 1>(w, n, x, m, out, start),
                    (false, 2) => dot_tile::<V, E, 1, 2>(w, n, x, m, out, start),
                    (false, 3) => dot_tile::<V, E, 1, 3>(w, n, x, m, out, start),
                    (false, _) => dot_tile::<V, E, 1, T>(w, n, x, m, out, start),
                }
            }
            m += tokens;
        }
        n += if whole { R } else { 1 };
    }
}

/// # Safety
/// - As for [`dot_of`]; rows `n..n + R` and tokens `m..m + T` exist.
#[inline(always)]
unsafe fn dot_tile<V: Lanes, E: Element, const R: usize, const T: usize>(
    w: FloatRows<'_>,
    n: usize,
    x: MatRef<'_>,
    m: usize,
    out: SharedMut<'_>,
    start: usize,
) {
    let size = E::BYTES;
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
                let row = E::load::<V>(rows[r].add(k * size));
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
                let row = E::load::<V>(last.as_ptr());
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

/// # Safety
/// - The instructions of `V` exist, and nobody else refers to `out`.
#[inline(always)]
pub(super) unsafe fn mix<V: Lanes, const T: usize, const C: usize>(
    w: FloatRows<'_>,
    p: MatRef<'_>,
    out: SharedMut<'_>,
) {
    // SAFETY: passed on.
    unsafe {
        match w.format {
            FloatFormat::F32 => mix_of::<V, OfF32, T, C>(w, p, out),
            FloatFormat::F16 => mix_of::<V, OfF16, T, C>(w, p, out),
            FloatFormat::Bf16 => mix_of::<V, OfBf16, T, C>(w, p, out),
        }
    }
}

/// # Safety
/// - As for [`mix`]; `E` is the format of `w`.
#[inline(always)]
unsafe fn mix_of<V: Lanes, E: Element, const T: usize, const C: usize>(
    w: FloatRows<'_>,
    p: MatRef<'_>,
    out: SharedMut<'_>,
) {
    const { assert!(T <= 8) };
    let mut m = 0;
    while m < p.rows() {
        let tokens = (p.rows() - m).min(T);
        // SAFETY: passed on; the tokens exist. One or two of them take four chunks at once, not to wait for sums.
        unsafe {
            match tokens {
                1 => mix_tokens::<V, E, 1, 4>(w, p, m, out),
                2 => mix_tokens::<V, E, 2, 4>(w, p, m, out),
                3 => mix_tokens::<V, E, 3, C>(w, p, m, out),
                4 if T > 4 => mix_tokens::<V, E, 4, C>(w, p, m, out),
                5 => mix_tokens::<V, E, 5, C>(w, p, m, out),
                6 => mix_tokens::<V, E, 6, C>(w, p, m, out),
                7 => mix_tokens::<V, E, 7, C>(w, p, m, out),
                _ => mix_tokens::<V, E, T, C>(w, p, m, out),
            }
        }
        m += tokens;
    }
}

/// # Safety
/// - As for [`mix_of`]; tokens `m..m + T` exist.
#[inline(always)]
unsafe fn mix_tokens<V: Lanes, E: Element, const T: usize, const C: usize>(
    w: FloatRows<'_>,
    p: MatRef<'_>,
    m: usize,
    out: SharedMut<'_>,
) {
    let mut c = 0;
    // The first to read a row asks for what comes next.
    let fetching = if m == 0 { w.next } else { &[] };
    // SAFETY: passed on; the chunks exist.
    unsafe {
        while w.cols - c >= 16 * C {
            let fetching = if c == 0 { fetching } else { &[] };
            mix_tile::<V, E, T, C>(w, p, m, out, c, fetching);
            c += 16 * C;
        }
        while c < w.cols {
            mix_tile::<V, E, T, 1>(w, p, m, out, c, &[]);
            c += 16;
        }
    }
}

/// Columns from `c` on: C chunks of sixteen, of which the last may be shorter where C is 1.
///
/// # Safety
/// - As for [`mix_of`]; tokens `m..m + T` exist, and the columns.
#[inline(always)]
unsafe fn mix_tile<V: Lanes, E: Element, const T: usize, const C: usize>(
    w: FloatRows<'_>,
    p: MatRef<'_>,
    m: usize,
    out: SharedMut<'_>,
    c: usize,
    next: &[u8],
) {
    let row_bytes = w.cols * E::BYTES;
    debug_assert!(w.rows * row_bytes <= w.bytes.len() && m + T <= p.rows());
    let weights: [&[f32]; T] = std::array::from_fn(|t| p.row(m + t));
    let width = (w.cols - c).min(16);
    debug_assert!(width == 16 && c + 16 * C <= w.cols || C == 1 && width > 0);
    // SAFETY: full chunks end at or before `cols`; a shorter one is copied into a buffer of sixteen. Each token has a
    // weight for every row. The instructions exist by contract.
    unsafe {
        let mut acc = [[V::zero(); C]; T];
        for n in 0..w.rows {
            fetch(next, n * row_bytes, row_bytes);
            let at = w.bytes.as_ptr().add(n * row_bytes + c * E::BYTES);
            let row: [V; C] = if C == 1 && width < 16 {
                let mut last = [0u8; 64];
                std::ptr::copy_nonoverlapping(at, last.as_mut_ptr(), width * E::BYTES);
                [E::load::<V>(last.as_ptr()); C]
            } else {
                std::array::from_fn(|i| E::load::<V>(at.add(16 * i * E::BYTES)))
            };
            for t in 0..T {
                let weight = V::splat(*weights[t].get_unchecked(n));
                for i in 0..C {
                    acc[t][i] = row[i].mul_add(weight, acc[t][i]);
                }
            }
        }
        for t in 0..T {
            for i in 0..C {
                write(acc[t][i], 0, out.part(m + t, c + 16 * i, width));
            }
        }
    }
}
