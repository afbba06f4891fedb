//! Products with rows that lie as columns: sixteen of them side by side, element by element.
//!
//! ```text
//! for each pair of groups of sixteen rows, for up to eight tokens:
//!     for k: sums[token][group] += splat(x[token][k]) · rows[group][k][0..16]
//! ```
//!
//! A product so needs no sum across lanes, which costs rows of an attention head's length as much as multiplying them.
//! Its sum runs along K in order, rounded once a step.

use super::tile::{Element, OfBf16, OfF16, OfF32, fetch, write};
use crate::{Isa, MatMut, MatRef, SharedMut, lanes, lanes::Lanes};
use lowbit_format::FloatFormat;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::lanes::x86::{Ymm2, Zmm};

/// Unquantized rows of `cols` elements in groups of sixteen, `[rows / 16][cols][16]`. What the last group has beyond
/// the rows may be anything.
#[derive(Clone, Copy)]
pub struct FloatColumns<'a> {
    format: FloatFormat,
    bytes: &'a [u8],
    rows: usize,
    cols: usize,
    /// What is fetched meanwhile.
    next: &'a [u8],
}

impl<'a> FloatColumns<'a> {
    /// Rows that share a group.
    pub const GROUP: usize = 16;

    /// Groups without gaps.
    ///
    /// # Panics
    /// Where the bytes are not exactly the groups that `rows` rows need.
    pub fn new(format: FloatFormat, bytes: &'a [u8], rows: usize, cols: usize) -> Self {
        let needed = rows.next_multiple_of(Self::GROUP) * cols * format.bytes();
        assert_eq!(bytes.len(), needed, "{rows} rows of {cols} {} as columns", format.label());
        Self { format, bytes, rows, cols, next: &[] }
    }

    /// Where element `k` of row `row` begins, in bytes.
    pub fn place(format: FloatFormat, cols: usize, row: usize, k: usize) -> usize {
        ((row / Self::GROUP * cols + k) * Self::GROUP + row % Self::GROUP) * format.bytes()
    }

    /// As [`super::FloatRows::then`].
    pub fn then(self, next: &'a [u8]) -> Self {
        Self { next, ..self }
    }
}

/// `out[m, n] = Σₖ x[m, k] · w[rows.start + n, k]`, on this thread.
///
/// # Panics
/// Where the shapes do not fit.
pub fn dot_columns(isa: Isa, w: FloatColumns<'_>, rows: Range<usize>, x: MatRef<'_>, mut out: MatMut<'_>) {
    assert!(rows.start <= rows.end && rows.end <= w.rows, "rows {rows:?} of {}", w.rows);
    assert_eq!((x.cols(), out.rows(), out.cols()), (w.cols, x.rows(), rows.len()), "shapes of a product");
    let out = out.shared();
    // SAFETY: the ISA value proves the instructions; `out` is borrowed exclusively, the rows exist and shapes fit.
    unsafe {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            crate::IsaLevel::Avx512 => avx512(w, rows, x, out),
            #[cfg(target_arch = "x86_64")]
            crate::IsaLevel::Avx2 => avx2(w, rows, x, out),
            _ => dot::<lanes::Array, 1, 1>(w, rows, x, out),
        }
    }
}

/// # Safety
/// - The CPU has AVX2, FMA and F16C, and the contract of [`dot`] on the arguments holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2(w: FloatColumns<'_>, rows: Range<usize>, x: MatRef<'_>, out: SharedMut<'_>) {
    // 4 × 1 tiles are 8 sums of the 16 registers.
    // SAFETY: passed on.
    unsafe { dot::<Ymm2, 4, 1>(w, rows, x, out) }
}

/// # Safety
/// - The CPU has AVX-512 F and BW, and the contract of [`dot`] on the arguments holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn avx512(w: FloatColumns<'_>, rows: Range<usize>, x: MatRef<'_>, out: SharedMut<'_>) {
    // 8 × 2 tiles are 16 sums of the 32 registers.
    // SAFETY: passed on.
    unsafe { dot::<Zmm, 8, 2>(w, rows, x, out) }
}

/// # Safety
/// - The instructions of `V` exist, nobody else refers to `out`, the rows exist, and shapes fit.
#[inline(always)]
unsafe fn dot<V: Lanes, const T: usize, const G: usize>(
    w: FloatColumns<'_>,
    rows: Range<usize>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
) {
    // SAFETY: passed on.
    unsafe {
        match w.format {
            FloatFormat::F32 => dot_of::<V, OfF32, T, G>(w, rows, x, out),
            FloatFormat::F16 => dot_of::<V, OfF16, T, G>(w, rows, x, out),
            FloatFormat::Bf16 => dot_of::<V, OfBf16, T, G>(w, rows, x, out),
        }
    }
}

/// # Safety
/// - As for [`dot`]; `E` is the format of `w`.
#[inline(always)]
unsafe fn dot_of<V: Lanes, E: Element, const T: usize, const G: usize>(
    w: FloatColumns<'_>,
    rows: Range<usize>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
) {
    const { assert!(T <= 8) };
    let mut m = 0;
    while m < x.rows() {
        let tokens = (x.rows() - m).min(T);
        let rows = rows.clone();
        // SAFETY: passed on; the tokens exist. One or two of them take four groups at once, not to wait for sums.
        unsafe {
            match tokens {
                1 => dot_tokens::<V, E, 1, 4>(w, rows, x, m, out),
                2 => dot_tokens::<V, E, 2, 4>(w, rows, x, m, out),
                3 => dot_tokens::<V, E, 3, G>(w, rows, x, m, out),
                4 => dot_tokens::<V, E, 4, G>(w, rows, x, m, out),
                5 => dot_tokens::<V, E, 5, G>(w, rows, x, m, out),
                6 => dot_tokens::<V, E, 6, G>(w, rows, x, m, out),
                7 => dot_tokens::<V, E, 7, G>(w, rows, x, m, out),
                _ => dot_tokens::<V, E, 8, G>(w, rows, x, m, out),
            }
        }
        m += tokens;
    }
}

/// # Safety
/// - As for [`dot_of`]; tokens `m..m + T` exist.
#[inline(always)]
unsafe fn dot_tokens<V: Lanes, E: Element, const T: usize, const G: usize>(
    w: FloatColumns<'_>,
    rows: Range<usize>,
    x: MatRef<'_>,
    m: usize,
    out: SharedMut<'_>,
) {
    let end = rows.end.div_ceil(FloatColumns::GROUP);
    let mut group = rows.start / FloatColumns::GROUP;
    while group < end {
        let whole = end - group >= G;
        // SAFETY: passed on; the groups exist.
        unsafe {
            if whole {
                dot_tile::<V, E, T, G>(w, group, &rows, x, m, out);
            } else {
                dot_tile::<V, E, T, 1>(w, group, &rows, x, m, out);
            }
        }
        group += if whole { G } else { 1 };
    }
}

/// # Safety
/// - As for [`dot_tokens`]; groups `group..group + G` exist and have rows among `rows`.
#[inline(always)]
unsafe fn dot_tile<V: Lanes, E: Element, const T: usize, const G: usize>(
    w: FloatColumns<'_>,
    group: usize,
    rows: &Range<usize>,
    x: MatRef<'_>,
    m: usize,
    out: SharedMut<'_>,
) {
    const WIDE: usize = FloatColumns::GROUP;
    let step = WIDE * E::BYTES;
    debug_assert!((group + G) * w.cols * step <= w.bytes.len() && m + T <= x.rows());
    let tokens: [&[f32]; T] = std::array::from_fn(|t| x.row(m + t));
    // The first to read a group asks for what comes next.
    let next = if m == 0 { w.next } else { &[] };
    // SAFETY: all loads stay inside the groups, and every token has `cols` elements. The instructions exist and the
    // parts of `out` are nobody else's by contract.
    unsafe {
        let mut sums = [[V::zero(); G]; T];
        for k in 0..w.cols {
            let columns: [V; G] = std::array::from_fn(|g| {
                let at = ((group + g) * w.cols + k) * step;
                fetch(next, at, step);
                E::load::<V>(w.bytes.as_ptr().add(at))
            });
            for t in 0..T {
                let x = V::splat(*tokens[t].get_unchecked(k));
                for g in 0..G {
                    sums[t][g] = columns[g].mul_add(x, sums[t][g]);
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            for (g, sums) in sums.into_iter().enumerate() {
                let first = (group + g) * WIDE;
                let some = first.max(rows.start)..(first + WIDE).min(rows.end);
                let target = out.part(m + t, some.start - rows.start, some.len());
                write(sums, some.start - first, target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn encode(format: FloatFormat, x: f32) -> Vec<u8> {
        match format {
            FloatFormat::F32 => x.to_le_bytes().to_vec(),
            FloatFormat::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
            FloatFormat::Bf16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        }
    }

    #[test]
    fn products_have_equal_bits_on_every_level_and_are_sums_in_order() {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for format in FloatFormat::ALL {
            for (rows, cols, range, tokens) in [
                (1, 1, 0..1, 1),
                (70, 20, 3..69, 2),
                (128, 64, 0..128, 7),
                (40, 33, 17..18, 9),
                (96, 80, 16..96, 20),
            ] {
                let mut bytes =
                    vec![0xffu8; usize::next_multiple_of(rows, FloatColumns::GROUP) * cols * format.bytes()];
                let mut w = vec![0f32; rows * cols];
                for row in 0..rows {
                    for k in 0..cols {
                        // Exact in each of the formats.
                        w[row * cols + k] = (noise() * 64.0).round() / 64.0;
                        let at = FloatColumns::place(format, cols, row, k);
                        let size = format.bytes();
                        bytes[at..at + size].copy_from_slice(&encode(format, w[row * cols + k]));
                    }
                }
                let x: Vec<f32> = (0..tokens * cols).map(|_| noise()).collect();
                let exact: Vec<f32> = (0..tokens * range.len())
                    .map(|i| {
                        let (m, row) = (i / range.len(), range.start + i % range.len());
                        let terms = (0..cols).map(|k| (w[row * cols + k], x[m * cols + k]));
                        terms.fold(0.0, |sum, (w, x)| w.mul_add(x, sum))
                    })
                    .collect();
                for isa in Isa::available() {
                    let mut out = vec![f32::NAN; tokens * range.len()];
                    let columns = FloatColumns::new(format, &bytes, rows, cols).then(&bytes);
                    let target = MatMut::new(&mut out, tokens, range.len());
                    dot_columns(isa, columns, range.clone(), MatRef::new(&x, tokens, cols), target);
                    assert_eq!(out, exact, "{format:?} {rows}x{cols} {range:?} {tokens} {}", isa.level());
                }
            }
        }
    }
}
