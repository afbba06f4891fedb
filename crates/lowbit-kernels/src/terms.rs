//! What is added to the products of a matrix that is a sum: a product for each of its terms.

use crate::{Act, Ctx, MatMut, MatRef, ops, sparse::Sparse};
use lowbit_format::{QuantTensor, Term, TermKind};
use std::sync::Arc;

/// The terms of a sum, their matrices as `W`.
#[derive(Debug)]
pub(crate) struct Terms<W>(Vec<Added<W>>);

#[derive(Debug)]
enum Added<W> {
    Rank { down: W, up: W, rank: usize },
    Rows { rows: Arc<[u32]>, weight: W },
    Columns { columns: Arc<[u32]>, weight: W },
    Sparse(Sparse),
}

impl<W> Terms<W> {
    /// The terms of a matrix of `k` columns, with every matrix made into what multiplies it.
    pub(crate) fn new(
        ctx: &Ctx,
        terms: &[Term<QuantTensor>],
        k: usize,
        make: impl Fn(&QuantTensor) -> W,
    ) -> Self {
        let added = |term: &Term<QuantTensor>| match term.kind {
            TermKind::Rank(rank) => Added::Rank {
                down: make(&term.matrices[0]),
                up: make(&term.matrices[1]),
                rank: rank as usize,
            },
            TermKind::Rows(_) => Added::Rows { rows: term.lists[0].clone(), weight: make(&term.matrices[0]) },
            TermKind::Columns(_) => {
                Added::Columns { columns: term.lists[0].clone(), weight: make(&term.matrices[0]) }
            }
            TermKind::Sparse { width, .. } => {
                Added::Sparse(Sparse::new(term, width as usize, k, ctx.arena()))
            }
        };
        Self(terms.iter().map(added).collect())
    }

    /// Bytes in memory, `of` those of a matrix.
    pub(crate) fn bytes(&self, of: impl Fn(&W) -> usize) -> usize {
        let list = |list: &Arc<[u32]>| size_of_val(&**list);
        let bytes = |added: &Added<W>| match added {
            Added::Rank { down, up, .. } => of(down) + of(up),
            Added::Rows { rows, weight } => list(rows) + of(weight),
            Added::Columns { columns, weight } => list(columns) + of(weight),
            Added::Sparse(sparse) => sparse.bytes(),
        };
        self.0.iter().map(bytes).sum()
    }

    /// Adds every term's product with `x` to `out`, in their order; `multiply` is that of a matrix.
    pub(crate) fn add(
        &self,
        ctx: &Ctx,
        x: &Act<'_>,
        mut out: MatMut<'_>,
        multiply: &dyn Fn(&W, &Act<'_>, MatMut<'_>),
    ) {
        let (tokens, n) = (out.rows(), out.cols());
        let product = |weight: &W, x: &Act<'_>, n: usize| {
            let mut made = vec![0.0; tokens * n];
            multiply(weight, x, MatMut::new(&mut made, tokens, n));
            made
        };
        for added in &self.0 {
            match added {
                Added::Rank { down, up, rank } => {
                    let inner = product(down, x, *rank);
                    let inner = Act::new(MatRef::new(&inner, tokens, *rank));
                    add_rows(ctx, &product(up, &inner, n), out.reborrow());
                }
                Added::Rows { rows, weight } => {
                    let more = product(weight, x, rows.len());
                    for (m, more) in more.chunks_exact(rows.len()).enumerate() {
                        let out = out.row_mut(m);
                        rows.iter().zip(more).for_each(|(row, more)| out[*row as usize] += more);
                    }
                }
                Added::Columns { columns, weight } => {
                    let taken: Vec<f32> = (0..tokens)
                        .flat_map(|m| columns.iter().map(move |k| x.x().row(m)[*k as usize]))
                        .collect();
                    let taken = Act::new(MatRef::new(&taken, tokens, columns.len()));
                    add_rows(ctx, &product(weight, &taken, n), out.reborrow());
                }
                Added::Sparse(sparse) => sparse.add(ctx, x.x(), out.reborrow()),
            }
        }
    }
}

fn add_rows(ctx: &Ctx, more: &[f32], mut out: MatMut<'_>) {
    for (m, more) in more.chunks_exact(out.cols()).enumerate() {
        ops::add(ctx.isa(), out.row_mut(m), more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Arena;
    use crate::{ActPrecision, ActRounding, Arranged, Isa, Planner, mpgemm, reference};
    use lowbit_format::{NK, SumTensor, TensorData, WeightSpec};

    /// Numbers between −1 and 1.
    fn values(seed: usize, len: usize) -> Vec<f32> {
        let mut state = seed as u32 + 1;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..len).map(next).collect()
    }

    /// Every kind of term on integers, with numbers that are the same every time.
    fn sum(shape: NK, width: u32, runs_of: &str) -> QuantTensor {
        let matrix = |label: &str, seed: usize, shape: NK| {
            let weights = values(seed, shape.weights());
            QuantTensor::quantize_nearest(&WeightSpec::parse(label).unwrap(), &weights, shape).unwrap()
        };
        let third: Arc<[u32]> = (0..shape.n as u32).step_by(3).collect();
        let fifth: Arc<[u32]> = (0..shape.k as u32).step_by(5).collect();
        let runs = 11;
        let starts: Arc<[u32]> = (0..=shape.n as u32).map(|n| (n / 2).min(runs)).collect();
        let at: Arc<[u32]> = (0..runs).map(|i| i % (shape.k as u32 / width)).collect();
        let term = |seed: usize, kind: TermKind, lists: Vec<Arc<[u32]>>, label: &str| {
            let shapes = kind.matrices(shape).into_iter().enumerate();
            let matrices = shapes.map(|(j, shape)| matrix(label, seed + j, shape)).collect();
            Term { kind, lists, matrices }
        };
        let terms = vec![
            term(0, TermKind::Rank(6), vec![], "f16"),
            term(3, TermKind::Rows(third.len() as u32), vec![third], "int8-sym-row"),
            term(6, TermKind::Columns(fifth.len() as u32), vec![fifth], "int8-sym-row"),
            term(9, TermKind::Sparse { count: runs, width }, vec![starts, at], runs_of),
        ];
        let base = matrix("int4-asym-g32", 20, shape);
        QuantTensor::from_sum(SumTensor::new(base, terms).unwrap())
    }

    #[test]
    fn products_of_sums_have_the_bits_of_the_reference_at_every_level() {
        let shape = NK { n: 37, k: 96 };
        for (tokens, threads, width, runs) in [
            (1, 1, 1, "f32"),
            (1, 3, 4, "f32"),
            (5, 2, 6, "f16"),
            (1, 2, 1, "int8-sym-tensor-f32"),
            (2, 1, 6, "int4-sym-tensor"),
            (2, 2, 16, "int2-asym-g16"),
            (1, 2, 32, "int3-sym-g16"),
            (3, 2, 48, "int5-asym-g48"),
            (1, 1, 32, "int8-sym-row"),
            (3, 1, 16, "int4-fzero-g16"),
        ] {
            let w = sum(shape, width, runs);
            let x = values(30, tokens * shape.k);
            let x = MatRef::new(&x, tokens, shape.k);
            for precision in [ActPrecision::Float, ActPrecision::Int8(ActRounding::Group32Twice)] {
                let expected = reference::mpgemm(&w, x, precision);
                for isa in Isa::available() {
                    let mut out = vec![0.0; tokens * shape.n];
                    let to = MatMut::new(&mut out, tokens, shape.n);
                    mpgemm(&Ctx::new(isa, threads), &w, &Act::new(x), precision, to);
                    assert_eq!(out, expected, "{isa:?} {tokens} {precision:?}");
                }
            }
        }
    }

    #[test]
    fn weights_take_as_few_bytes_as_give_the_same_floats() {
        let shape = NK { n: 37, k: 96 };
        for (label, width, bytes) in [
            ("int2-asym-g16", 16, 8 + 4),
            ("int5-asym-g16", 16, 16 + 4),
            ("int2-asym-g8", 16, 32),
            ("f32", 16, 64),
            ("f16", 16, 32),
            ("int8-sym-tensor-f32", 1, 1),
            ("int4-sym-tensor", 6, 3 + 5 * 2),
        ] {
            let TensorData::Sum(inner) = sum(shape, width, label).data().clone() else { panic!("a sum") };
            let sparse =
                inner.terms().iter().find(|term| matches!(term.kind, TermKind::Sparse { .. })).unwrap();
            let kept = Sparse::new(sparse, width as usize, shape.k, &Arena::default()).bytes();
            // Of the 64 rows of a task, 5 bytes each; sixteen places more than there are; and each section ends with a cache line.
            let most = 11 * (bytes + 2) + 64 * 5 + 16 * 2 + 4 * 63 + 16;
            assert!((11 * (bytes + 2)..=most).contains(&kept), "{label}: {kept} bytes");
        }
    }

    #[test]
    fn an_arranged_sum_is_near_what_it_means_and_counts_its_bytes() {
        let shape = NK { n: 40, k: 128 };
        let w = sum(shape, 1, "f32");
        let TensorData::Sum(inner) = w.data() else { panic!("a sum") };
        for isa in Isa::available() {
            let ctx = Ctx::new(isa, 2);
            let planner = Planner::default();
            let arranged = Arranged::new(&ctx, &w, &planner, Some(ActRounding::Group32Twice));
            let base = Arranged::new(&ctx, inner.base(), &planner, Some(ActRounding::Group32Twice));
            assert!(arranged.bytes() > base.bytes());
            for tokens in [1, 9] {
                let x = values(30, tokens * shape.k);
                let x = MatRef::new(&x, tokens, shape.k);
                let mut out = vec![0.0; tokens * shape.n];
                arranged.multiply(&ctx, &Act::new(x), MatMut::new(&mut out, tokens, shape.n));
                let (off, size) = reference::distance(&out, &reference::mpgemm_f64(&w, x));
                // Two terms of 8 bits: 1 / (254 · 254) of an activation for each of K weights, and twice through a rank.
                assert!(off < size * 2e-3, "{isa:?}: {off} of {size}");
            }
        }
    }
}
