//! Products with unquantized rows: `out[m, n] = Σₖ x[m, k] · w[n, k]`, and the mix `out[m, :] = Σₙ p[m, n] · w[n, :]`.
//!
//! Used for f32/f16/bf16 weights and for attention over cached keys and values. Sums run in sixteen lanes along K and
//! are rounded once a step, so the result depends neither on the instruction set nor on how many rows are done at once.

mod columns;
mod tile;

pub use columns::{FloatColumns, dot_columns};

use crate::{Isa, MatMut, MatRef, SharedMut, lanes};
use lowbit_format::FloatFormat;

/// Unquantized rows: `rows` of `cols` elements.
#[derive(Clone, Copy)]
pub struct FloatRows<'a> {
    format: FloatFormat,
    bytes: &'a [u8],
    rows: usize,
    cols: usize,
    /// What is fetched meanwhile.
    next: &'a [u8],
}

impl<'a> FloatRows<'a> {
    /// Rows without gaps.
    ///
    /// # Panics
    /// Where the bytes are not exactly `rows * cols` elements.
    pub fn new(format: FloatFormat, bytes: &'a [u8], rows: usize, cols: usize) -> Self {
        assert_eq!(bytes.len(), rows * cols * format.bytes(), "{rows} rows of {cols} {}", format.label());
        Self { format, bytes, rows, cols, next: &[] }
    }

    /// The same rows, and bytes that will be read soon: the product asks memory for them row by row as it goes, where
    /// there is an instruction for it. Where rows come from beyond the caches, they are then not waited for.
    pub fn then(self, next: &'a [u8]) -> Self {
        Self { next, ..self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// `out[m, n] = Σₖ x[m, k] · w[n, k]`, on this thread.
///
/// # Panics
/// Where the shapes do not fit.
pub fn dot_rows(isa: Isa, w: FloatRows<'_>, x: MatRef<'_>, mut out: MatMut<'_>) {
    assert_eq!(out.cols(), w.rows, "an output for every row");
    // SAFETY: `out` is borrowed exclusively.
    unsafe { dot_rows_into(isa, w, x, out.shared(), 0) }
}

/// `out[m, :] = Σₙ p[m, n] · w[n, :]`, on this thread; `p` has one column for each row of `w`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn mix_rows(isa: Isa, w: FloatRows<'_>, p: MatRef<'_>, mut out: MatMut<'_>) {
    assert!(p.cols() == w.rows && out.rows() == p.rows() && out.cols() == w.cols, "shapes of a mix");
    let out = out.shared();
    // SAFETY: the ISA value proves the instructions; `out` is borrowed exclusively.
    unsafe {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            crate::IsaLevel::Avx512 => tile::mix_avx512(w, p, out),
            #[cfg(target_arch = "x86_64")]
            crate::IsaLevel::Avx2 => tile::mix_avx2(w, p, out),
            _ => tile::mix::<lanes::Array, 1, 1>(w, p, out),
        }
    }
}

/// As [`dot_rows`], into columns `start..start + w.rows()` of a matrix that others write elsewhere.
///
/// # Panics
/// Where the shapes do not fit.
///
/// # Safety
/// - Nobody else refers to those columns of `out`.
pub(crate) unsafe fn dot_rows_into(
    isa: Isa,
    w: FloatRows<'_>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
    start: usize,
) {
    assert!(
        x.cols() == w.cols && out.rows() == x.rows() && start + w.rows <= out.cols(),
        "shapes of a dense product"
    );
    // SAFETY: the ISA value proves the instructions; the contract on `out` is passed on.
    unsafe {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            crate::IsaLevel::Avx512 => tile::dot_avx512(w, x, out, start),
            #[cfg(target_arch = "x86_64")]
            crate::IsaLevel::Avx2 => tile::dot_avx2(w, x, out, start),
            _ => tile::dot::<lanes::Array, 4, 1>(w, x, out, start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn values(len: usize, seed: u32) -> Vec<f32> {
        (0..len as u32)
            .map(|i| ((i.wrapping_mul(2654435761).wrapping_add(seed) >> 8) as f32 / 8388608.0) - 1.0)
            .collect()
    }

    fn encode(format: FloatFormat, x: &[f32]) -> Vec<u8> {
        match format {
            FloatFormat::F32 => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            FloatFormat::F16 => x.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            FloatFormat::Bf16 => x.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        }
    }

    /// Every level gives the scalar bits, and these lie within K roundings of the f64 sum.
    #[test]
    fn products_and_mixes_have_equal_bits_on_every_level_and_match_f64() {
        for format in FloatFormat::ALL {
            for (n, k, m) in
                [(1, 1, 1), (5, 16, 3), (16, 172, 7), (33, 64, 1), (7, 31, 9), (4, 200, 4), (9, 80, 6)]
            {
                let bytes = encode(format, &values(n * k, 1));
                let mut w = vec![0.0; n * k];
                format.decode(&bytes, &mut w);
                let (x, p) = (values(m * k, 2), values(m * n, 3));
                let rows = FloatRows::new(format, &bytes, n, k);
                let mut results = Vec::new();
                for isa in Isa::available() {
                    let (mut dot, mut mix) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k]);
                    dot_rows(isa, rows, MatRef::new(&x, m, k), MatMut::new(&mut dot, m, n));
                    mix_rows(isa, rows, MatRef::new(&p, m, n), MatMut::new(&mut mix, m, k));
                    results.push((dot, mix));
                }
                let (dot, mix) = &results[0];
                for other in &results[1..] {
                    assert_eq!(other, &results[0], "{format:?} {n}x{k}, {m} tokens");
                }
                let bound =
                    |len: usize, magnitude: f64| (len as f64 + 5.0) * f64::from(f32::EPSILON) * magnitude;
                for t in 0..m {
                    for r in 0..n {
                        let terms = (0..k).map(|i| f64::from(x[t * k + i]) * f64::from(w[r * k + i]));
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), v| (s + v, a + v.abs()));
                        assert!(
                            (f64::from(dot[t * n + r]) - sum).abs() <= bound(k, size),
                            "{format:?} {n}x{k}"
                        );
                    }
                    for i in 0..k {
                        let terms = (0..n).map(|r| f64::from(p[t * n + r]) * f64::from(w[r * k + i]));
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), v| (s + v, a + v.abs()));
                        assert!(
                            (f64::from(mix[t * k + i]) - sum).abs() <= bound(n, size),
                            "{format:?} {n}x{k}"
                        );
                    }
                }
            }
        }
    }
}
