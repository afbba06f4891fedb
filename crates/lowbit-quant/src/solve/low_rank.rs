//! A product of two thin matrices that makes up for the error of what was rounded, as far as a rank allows.
//!
//! With E = W − Ŵ and H = Σ x xᵀ = R Rᵀ, what is lost is ‖E R‖². Of all U · D of rank r the one that leaves the least of it has
//! for U the first r left singular vectors of E R, and D = Uᵀ E: R is multiplied with, never divided by. Without H (R = 1) that is
//! the truncated singular value decomposition of E.

use super::{
    Layer, Quantized, Solve, SolveError,
    nearest::{decode_stored, measured},
    share,
};
use crate::{
    fit::Fit,
    stats::{Factor, Inputs, Needs},
};
use faer::{Accum, Mat, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::{FormatError, GroupedSpec, NK, QuantTensor, Term, TermKind, WeightSpec};
use rand_pcg::{Pcg32, rand_core::Rng as _};
use std::sync::Arc;

/// Vectors beyond the rank that are followed as well, so that those that count come out well.
const MORE: usize = 8;
/// How often the vectors are multiplied with E R Rᵀ Eᵀ.
const TIMES: usize = 10;
/// Rows of a product that are one task.
const ROWS: usize = 256;

/// Rounds by another part, and adds the best correction of a rank.
pub struct LowRank {
    /// What rounds.
    pub inner: Box<dyn Solve>,
    /// r, at least 1; less where the matrix is smaller.
    pub rank: u32,
    /// The format of both matrices: floats or integers.
    pub format: WeightSpec,
    /// What counts as lost.
    pub lost: Lost,
}

/// What counts as lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lost {
    /// The error of the weights.
    Weights,
    /// That of the layer's outputs. The diagonal of H is raised by so many parts of its mean.
    Outputs(f64),
}

impl Solve for LowRank {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn needs(&self) -> Needs {
        let inputs = if self.lost == Lost::Weights { Inputs::None } else { Inputs::Hessian };
        self.inner.needs().and(Needs { inputs, ..Needs::NONE })
    }

    fn accepts(&self, spec: &GroupedSpec) -> Result<(), &'static str> {
        self.inner.accepts(spec)
    }

    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let shape = layer.weight.shape();
        let rounded = self.inner.solve(layer, spec, fit)?;
        let made = rounded.tensor(&WeightSpec::Grouped(spec.clone()), shape)?;
        let weights = decode_stored(layer, rounded.order.as_deref())?;
        let mut error = weights.clone();
        let mut row = vec![0.0; shape.k];
        for (n, error) in error.chunks_exact_mut(shape.k).enumerate() {
            made.decode_row(n, &mut row);
            error.iter_mut().zip(&row).for_each(|(e, w)| *e -= w);
        }
        let factor = match (self.lost, layer.stats) {
            (Lost::Outputs(damp), Some(stats)) => {
                let (factor, order) = stats.any_factor(damp)?;
                // Columns that were stored in the factor's order are in it already.
                Some((factor, if rounded.order.is_some() { Vec::new() } else { order }))
            }
            _ => None,
        };
        let rank = (self.rank as usize).min(shape.n).min(shape.k);
        let lost = Loss { error: &error, shape, factor: factor.as_ref(), threads: layer.threads };
        let term = self.term(&lost.best(rank), shape, rank)?;
        Ok(Quantized { order: rounded.order, ..measured(&weights, &made.plus(term)?) })
    }
}

impl LowRank {
    pub(crate) const NAME: &'static str = "low-rank correction";

    /// Both matrices in their format, the singular values shared between them.
    fn term(
        &self,
        (up, down): &(Vec<f32>, Vec<f32>),
        NK { n, k }: NK,
        rank: usize,
    ) -> Result<Term<QuantTensor>, FormatError> {
        let matrices = [(down, NK { n: rank, k }), (up, NK { n, k: rank })];
        let made = matrices.map(|(values, shape)| QuantTensor::quantize_nearest(&self.format, values, shape));
        let matrices = made.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Term { kind: TermKind::Rank(rank as u32), lists: Vec::new(), matrices })
    }
}

/// An error, and what of it is lost.
struct Loss<'a> {
    /// E, row after row.
    error: &'a [f32],
    shape: NK,
    /// R and the order of its columns; `None` where the weights themselves count.
    factor: Option<&'a (Arc<Factor>, Vec<u32>)>,
    threads: usize,
}

impl Loss<'_> {
    /// U √σ and D / √σ, row after row, σ the norms of the rows of D.
    fn best(&self, rank: usize) -> (Vec<f32>, Vec<f32>) {
        let NK { n, k } = self.shape;
        let width = (rank + MORE).min(n).min(k);
        let mut vectors = orthonormal(&start(n, width));
        for _ in 0..TIMES {
            vectors = orthonormal(&self.through(&self.weighed(&self.back(&vectors))));
        }
        // In the space of the vectors, those that lose the most.
        let left = self.half(&self.back(&vectors));
        let gram = left.transpose() * &left;
        let gram = Mat::<f64>::from_fn(width, width, |i, j| f64::from(gram[(i, j)]));
        let turned = match gram.self_adjoint_eigen(faer::Side::Lower) {
            // Eigenvalues rise.
            Ok(eigen) => {
                let turn = eigen.U();
                Mat::from_fn(n, rank, |i, j| {
                    let column = width - 1 - j;
                    (0..width).map(|c| f64::from(vectors[(i, c)]) * turn[(c, column)]).sum::<f64>() as f32
                })
            }
            Err(_) => vectors.subcols(0, rank).to_owned(),
        };
        let down = self.back(&turned);
        let (mut up, mut rows) = (vec![0.0; n * rank], vec![0.0; rank * k]);
        for r in 0..rank {
            let norm = (0..k).map(|i| f64::from(down[(i, r)]).powi(2)).sum::<f64>().sqrt();
            let root = norm.sqrt() as f32;
            let divisor = if root > 0.0 { root } else { 1.0 };
            (0..k).for_each(|i| rows[r * k + i] = down[(i, r)] / divisor);
            (0..n).for_each(|i| up[i * rank + r] = turned[(i, r)] * root);
        }
        (up, rows)
    }

    /// E, some rows of it.
    fn rows(&self, start: usize) -> MatRef<'_, f32> {
        let k = self.shape.k;
        let rows = &self.error[start * k..((start + ROWS) * k).min(self.error.len())];
        MatRef::from_row_major_slice(rows, rows.len() / k, k)
    }

    /// Eᵀ Y.
    fn back(&self, y: &Mat<f32>) -> Mat<f32> {
        let NK { n, k } = self.shape;
        let parts = share(self.threads, (0..n).step_by(ROWS), |start| {
            let rows = self.rows(start);
            product(rows.transpose(), y.subrows(start, rows.nrows()))
        });
        parts.into_iter().fold(Mat::zeros(k, y.ncols()), |sum, part| sum + part)
    }

    /// E Z.
    fn through(&self, z: &Mat<f32>) -> Mat<f32> {
        let parts = share(self.threads, (0..self.shape.n).step_by(ROWS), |start| {
            product(self.rows(start), z.as_ref())
        });
        stacked(&parts, self.shape.n, z.ncols())
    }

    /// H Z, in the order of the columns of E.
    fn weighed(&self, z: &Mat<f32>) -> Mat<f32> {
        let Some((factor, order)) = self.factor else { return z.clone() };
        let half = self.half(z);
        let r = factor.matrix();
        let k = self.shape.k;
        let parts = share(self.threads, (0..k).step_by(ROWS), |start| {
            product(r.subrows(start, ROWS.min(k - start)), half.as_ref())
        });
        let made = stacked(&parts, k, z.ncols());
        if order.is_empty() {
            return made;
        }
        let mut back = Mat::zeros(k, z.ncols());
        for (i, from) in order.iter().enumerate() {
            (0..z.ncols()).for_each(|c| back[(*from as usize, c)] = made[(i, c)]);
        }
        back
    }

    /// Rᵀ Z.
    fn half(&self, z: &Mat<f32>) -> Mat<f32> {
        let Some((factor, order)) = self.factor else { return z.clone() };
        let k = self.shape.k;
        let z = match order.is_empty() {
            true => z.clone(),
            false => Mat::from_fn(k, z.ncols(), |i, c| z[(order[i] as usize, c)]),
        };
        let r = factor.matrix();
        let parts = share(self.threads, (0..k).step_by(ROWS), |start| {
            product(r.subcols(start, ROWS.min(k - start)).transpose(), z.as_ref())
        });
        stacked(&parts, k, z.ncols())
    }
}

fn product(a: MatRef<'_, f32>, b: MatRef<'_, f32>) -> Mat<f32> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    let to: MatMut<'_, f32> = out.as_mut();
    matmul(to, Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

fn stacked(parts: &[Mat<f32>], rows: usize, columns: usize) -> Mat<f32> {
    let mut all = Mat::zeros(rows, columns);
    let mut at = 0;
    for part in parts {
        all.subrows_mut(at, part.nrows()).copy_from(part);
        at += part.nrows();
    }
    all
}

/// Vectors to begin with: anything that is the same every time and favours nothing.
fn start(n: usize, width: usize) -> Mat<f32> {
    let mut rng = Pcg32::new(0, 0);
    Mat::from_fn(n, width, |_, _| rng.next_u32() as f32 / u32::MAX as f32 - 0.5)
}

/// An orthonormal basis of the columns, found in double precision.
fn orthonormal(vectors: &Mat<f32>) -> Mat<f32> {
    let double = Mat::<f64>::from_fn(vectors.nrows(), vectors.ncols(), |i, j| f64::from(vectors[(i, j)]));
    let basis = double.qr().compute_thin_Q();
    Mat::from_fn(basis.nrows(), basis.ncols(), |i, j| basis[(i, j)] as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ of the squared singular values of a matrix beyond the first `rank`, from the whole decomposition.
    fn least(e: &Mat<f64>, rank: usize) -> f64 {
        let s = e.svd().unwrap();
        s.S().column_vector().iter().skip(rank).map(|s| s * s).sum()
    }

    #[test]
    fn a_rank_leaves_hardly_more_than_the_best_matrix_of_that_rank_does() {
        let shape = NK { n: 40, k: 28 };
        let values = |name: &str, len| lowbit_testing::seeded_values(name, len, 1.0, 0.0);
        let error = values("error", shape.weights());
        let inputs: Vec<f32> = values("inputs", 60 * shape.k)
            .iter()
            .enumerate()
            .map(|(i, x)| x * (1 + i % shape.k) as f32)
            .collect();
        let hessian = |order: &[u32]| {
            let mut hessian = crate::stats::Hessian::new(shape.k);
            hessian.add(&inputs, 1);
            (Arc::new(hessian.factor(0.01, order).unwrap()), order.to_vec())
        };
        let backwards: Vec<u32> = (0..shape.k as u32).rev().collect();
        let e = Mat::<f64>::from_fn(shape.n, shape.k, |n, k| f64::from(error[n * shape.k + k]));
        for factor in [None, Some(hessian(&[])), Some(hessian(&backwards))] {
            // R for the columns as they are.
            let root = |i: usize, j: usize| match &factor {
                None => f64::from(u8::from(i == j)),
                Some((factor, order)) => {
                    let at = if order.is_empty() { i } else { shape.k - 1 - i };
                    f64::from(factor.matrix()[(at, j)])
                }
            };
            let root = Mat::<f64>::from_fn(shape.k, shape.k, root);
            for (rank, threads) in [(1, 1), (4, 2), (12, 3)] {
                let loss = Loss { error: &error, shape, factor: factor.as_ref(), threads };
                let (up, down) = loss.best(rank);
                let up = Mat::<f64>::from_fn(shape.n, rank, |n, r| f64::from(up[n * rank + r]));
                let down = Mat::<f64>::from_fn(rank, shape.k, |r, k| f64::from(down[r * shape.k + k]));
                let left = (&e - up * down) * &root;
                let (left, best) = (left.squared_norm_l2(), least(&(&e * &root), rank));
                assert!(left < best * 1.01 && left > best * 0.999, "rank {rank}: {left} {best}");
            }
        }
    }

    #[test]
    fn corrections_lose_no_more_than_those_made_as_the_papers_say() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/low_rank.json")).unwrap();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let numbers = |name: &str| -> Vec<f32> {
            golden[name].as_array().unwrap().iter().map(|x| number(x) as f32).collect()
        };
        let shape = NK { n: number(&golden["n"]) as usize, k: number(&golden["k"]) as usize };
        let (w, x) = (numbers("w"), numbers("x"));
        let lost =
            |solve: &dyn Solve| crate::solve::testing::lost(solve, (&w, &x, shape), "int3-asym-g16-f32");
        let near = |found: f64, golden: f64| (found / golden - 1.0).abs() < 1e-3;
        let [weights, outputs] = lost(&crate::solve::Nearest);
        let without = &golden["without"];
        assert!(near(weights, number(&without["lorc"])) && near(outputs, number(&without["eora"])));
        for case in golden["cases"].as_array().unwrap() {
            let with = |lost: Lost| LowRank {
                inner: Box::new(crate::solve::Nearest),
                rank: number(&case["rank"]) as u32,
                format: WeightSpec::parse("f32").unwrap(),
                lost,
            };
            let [weights, _] = lost(&with(Lost::Weights));
            let [_, outputs] = lost(&with(Lost::Outputs(1e-6)));
            assert!(weights < 1.01 * number(&case["lorc"]), "{case} {weights}");
            assert!(outputs < 1.01 * number(&case["eora"]), "{case} {outputs}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing_and_no_error_needs_no_correction() {
        let shape = NK { n: 600, k: 300 };
        let error = lowbit_testing::seeded_values("error", shape.weights(), 1.0, 0.0);
        let best = |error: &[f32], threads| Loss { error, shape, factor: None, threads }.best(3);
        assert!(best(&error, 1) == best(&error, 2) && best(&error, 1) == best(&error, 5));
        let (up, down) = best(&vec![0.0; shape.weights()], 2);
        assert!(up.iter().chain(&down).all(|x| *x == 0.0));
    }
}
