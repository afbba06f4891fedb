//! Σ x xᵀ of a layer's inputs, and its Cholesky factor. The sum of squared errors of a layer's outputs is
//! tr(E H Eᵀ) with E the error of its weights: the objective of GPTQ and of all that follow it.

use faer::{
    Accum, MatMut, MatRef, Par,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{cholesky::llt::factor as llt, matmul::matmul},
};
use std::sync::Mutex;

/// Columns whose products are one task: enough for the matrix product to be fast, few enough for workers to share.
const TILE: usize = 256;
/// How often the diagonal is raised tenfold before a matrix is given up.
const RETRIES: i32 = 4;

/// Sums of products of columns, K × K in double precision.
#[derive(Debug)]
pub struct Hessian {
    k: usize,
    tokens: u64,
    /// Column after column; only the lower triangle counts.
    sums: Vec<f64>,
}

/// No amount of damping that was tried made the matrix positive definite: inputs that are no numbers, or absurdly large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the products of its inputs are not positive definite, whatever is added to their diagonal")]
pub struct NotDefinite;

/// R with H = R Rᵀ, upper triangular: the error of column j is passed on to later columns through row j.
#[derive(Debug)]
pub struct Factor {
    k: usize,
    /// Column after column; the lower triangle is zero.
    r: Vec<f32>,
}

impl Hessian {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, tokens: 0, sums: vec![0.0; k * k] }
    }

    /// Adds rows of K inputs. Every tile is summed over the rows of one call in single precision and in one thread, and added
    /// in double: the number of threads changes nothing.
    pub(crate) fn add(&mut self, rows: &[f32], threads: usize) {
        let k = self.k;
        let count = rows.len() / k;
        self.tokens += count as u64;
        let x = MatRef::from_row_major_slice(rows, count, k);
        let columns = Mutex::new(self.sums.chunks_mut(TILE * k).enumerate());
        let work = || {
            let mut tile = vec![0.0; TILE * TILE];
            loop {
                let next = columns.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
                let Some((j, sums)) = next else { break };
                let right = x.subcols(j * TILE, sums.len() / k);
                for i in (j * TILE..k).step_by(TILE) {
                    let left = x.subcols(i, TILE.min(k - i)).transpose();
                    let (m, n) = (left.nrows(), right.ncols());
                    let product = MatMut::from_column_major_slice_mut(&mut tile[..m * n], m, n);
                    matmul(product, Accum::Replace, left, right, 1.0, Par::Seq);
                    for (sums, tile) in sums.chunks_exact_mut(k).zip(tile.chunks_exact(m)) {
                        sums[i..i + m].iter_mut().zip(tile).for_each(|(sum, x)| *sum += f64::from(*x));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
    }

    /// Shrinks products of different columns by K / (K + tokens): with few tokens most of them are chance. That is a mean of
    /// XᵀX and its diagonal, the less of the former the fewer tokens there are (O. Ledoit, M. Wolf: A Well-Conditioned
    /// Estimator for Large-Dimensional Covariance Matrices, 2004, find the weights from the data).
    pub(crate) fn shrink(&mut self) {
        let (k, tokens) = (self.k as f64, self.tokens as f64);
        let left = tokens / (k + tokens);
        for (j, column) in self.sums.chunks_exact_mut(self.k).enumerate() {
            column[j + 1..].iter_mut().for_each(|sum| *sum *= left);
        }
    }

    pub(crate) fn divide(&mut self, scales: &[f32]) {
        for (column, s) in self.sums.chunks_exact_mut(self.k).zip(scales) {
            let s = f64::from(*s);
            column.iter_mut().zip(scales).for_each(|(sum, t)| *sum /= s * f64::from(*t));
        }
    }

    pub(crate) fn permute(&mut self, order: &[u32]) {
        let k = self.k;
        let get = |i: usize, j: usize| self.sums[i.min(j) * k + i.max(j)];
        let mut sums = vec![0.0; k * k];
        for (j, column) in sums.chunks_exact_mut(k).enumerate() {
            (j..k).for_each(|i| column[i] = get(order[i] as usize, order[j] as usize));
        }
        self.sums = sums;
    }

    /// Factors it: H = R Rᵀ with R upper triangular, columns taken in `order`, the diagonal raised by `damp` times its
    /// mean, tenfold where that is not enough. Columns whose inputs were all zero get 1 on the diagonal. This is the
    /// Cholesky factorization from the last column to the first, so that R holds what the Cholesky factor of the
    /// inverse holds in GPTQ, without inverting anything.
    pub(crate) fn factor(self, damp: f64, order: &[u32]) -> Result<Factor, NotDefinite> {
        let k = self.k;
        let natural = order.is_empty();
        let at = |i: usize| if natural { i } else { order[i] as usize };
        let get = |i: usize, j: usize| self.sums[i.min(j) * k + i.max(j)];
        let mean = (0..k).map(|i| get(i, i)).sum::<f64>() / k as f64;
        if !mean.is_finite() {
            return Err(NotDefinite);
        }
        // Both axes reversed: then the usual factor, from the first column to the last, is the one wanted.
        let fill = |matrix: &mut [f64], damp: f64| {
            for (j, column) in matrix.chunks_exact_mut(k).enumerate() {
                let from = at(k - 1 - j);
                for (i, x) in column.iter_mut().enumerate().skip(j) {
                    *x = get(at(k - 1 - i), from);
                }
                column[j] = if column[j] == 0.0 { 1.0f64.max(mean) } else { column[j] + damp * mean };
            }
        };
        let mut matrix = vec![0.0; k * k];
        let params = Default::default();
        let mut memory = MemBuffer::new(llt::cholesky_in_place_scratch::<f64>(k, Par::Seq, params));
        for retry in 0..=RETRIES {
            fill(&mut matrix, damp * 10f64.powi(retry));
            let view = MatMut::from_column_major_slice_mut(&mut matrix, k, k);
            let stack = MemStack::new(&mut memory);
            if llt::cholesky_in_place(view, Default::default(), Par::Seq, stack, params).is_err() {
                continue;
            }
            drop(self.sums);
            // Reversing all elements reverses both axes back.
            let mut r: Vec<f32> = matrix.iter().rev().map(|x| *x as f32).collect();
            for (j, column) in r.chunks_exact_mut(k).enumerate() {
                column[j + 1..].fill(0.0);
            }
            return if r.iter().all(|x| x.is_finite()) { Ok(Factor { k, r }) } else { Err(NotDefinite) };
        }
        Err(NotDefinite)
    }
}

impl Factor {
    /// Rows and columns.
    pub fn k(&self) -> usize {
        self.k
    }

    /// R.
    pub fn matrix(&self) -> MatRef<'_, f32> {
        MatRef::from_column_major_slice(&self.r, self.k, self.k)
    }

    /// Column `j` down to the diagonal.
    pub fn column(&self, j: usize) -> &[f32] {
        &self.r[j * self.k..][..=j]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(rows: usize, k: usize) -> Vec<f32> {
        lowbit_testing::seeded_values("inputs", rows * k, 1.0, 0.0)
    }

    #[test]
    fn the_factor_times_its_transpose_is_the_matrix_in_the_given_order() {
        let (rows, k) = (37, 11);
        let x = inputs(rows, k);
        for order in [vec![], (0..k as u32).rev().collect(), vec![3, 1, 4, 0, 5, 9, 2, 6, 8, 7, 10]] {
            let mut hessian = Hessian::new(k);
            hessian.add(&x[..20 * k], 1);
            hessian.add(&x[20 * k..], 2);
            let factor = hessian.factor(0.01, &order).unwrap();
            let at = |i: usize| if order.is_empty() { i } else { order[i] as usize };
            let h = |i: usize, j: usize| {
                (0..rows).map(|t| f64::from(x[t * k + at(i)]) * f64::from(x[t * k + at(j)])).sum::<f64>()
            };
            let mean = (0..k).map(|i| h(i, i)).sum::<f64>() / k as f64;
            let r = factor.matrix();
            for i in 0..k {
                for j in 0..k {
                    let product: f64 = (0..k).map(|c| f64::from(r[(i, c)]) * f64::from(r[(j, c)])).sum();
                    let expected = h(i, j) + if i == j { 0.01 * mean } else { 0.0 };
                    assert!((product - expected).abs() < 1e-5 * mean, "{i} {j} {product} {expected}");
                    assert!(j >= i || r[(i, j)] == 0.0);
                }
            }
        }
    }

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        let (rows, k) = (33, 2 * TILE + 40);
        let x = inputs(rows, k);
        let sums = |threads| {
            let mut hessian = Hessian::new(k);
            hessian.add(&x, threads);
            hessian.sums
        };
        assert!(sums(1) == sums(2) && sums(1) == sums(7));
    }

    #[test]
    fn columns_without_inputs_and_dependent_columns_can_be_factored_but_nan_cannot() {
        let (rows, k) = (3, 8);
        let mut x = inputs(rows, k);
        x.chunks_exact_mut(k).for_each(|row| row[2] = 0.0);
        let factor = |x: &[f32]| {
            let mut hessian = Hessian::new(k);
            hessian.add(x, 1);
            hessian.factor(0.01, &[])
        };
        assert!(factor(&x).is_ok());
        x[5] = f32::NAN;
        assert_eq!(factor(&x).err(), Some(NotDefinite));
    }
}
