//! What is added to the products of a matrix that is a sum: a product for each of its terms.

use crate::{Act, Ctx, Isa, MatMut, MatRef, isa::multiversion, ops};
use lowbit_format::{QuantTensor, TensorData, Term, TermKind};
use std::sync::Arc;

/// Rows of a sparse term that are one task.
const SPARSE_ROWS: usize = 256;

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

/// Runs of weights.
#[derive(Debug)]
struct Sparse {
    starts: Arc<[u32]>,
    at: Places,
    width: usize,
    values: Values,
}

/// The weights of runs: as floats, or as small integers and what one of each run is worth, which are the same floats.
#[derive(Debug)]
enum Values {
    Floats(Vec<f32>),
    Integers { integers: Vec<i8>, worth: Vec<f32> },
}

/// Where runs are in their rows, in as few bytes as hold it.
#[derive(Debug)]
enum Places {
    Narrow(Vec<u16>),
    Wide(Arc<[u32]>),
}

impl<W> Terms<W> {
    /// Terms with every matrix made into what multiplies it.
    pub(crate) fn new(terms: &[Term<QuantTensor>], make: impl Fn(&QuantTensor) -> W) -> Self {
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
            TermKind::Sparse { count, width } => {
                Added::Sparse(Sparse::new(term, count as usize, width as usize))
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

/// Sums that run side by side in the products of a row with its runs: weight i of them goes to sum i mod 4.
const LANES: usize = 4;

/// The same where a run has a multiple of so many weights.
pub(crate) const WIDE: usize = 16;

/// A place as it is kept.
trait Place: Copy {
    fn get(self) -> usize;
}

impl Place for u16 {
    #[inline(always)]
    fn get(self) -> usize {
        usize::from(self)
    }
}

impl Place for u32 {
    #[inline(always)]
    fn get(self) -> usize {
        self as usize
    }
}

impl Sparse {
    fn new(term: &Term<QuantTensor>, count: usize, width: usize) -> Self {
        let mut values = vec![0.0; count * width];
        for (i, run) in values.chunks_exact_mut(width).enumerate() {
            term.matrices[0].decode_row(i, run);
        }
        let values = match integers(term, &values, width) {
            Some((integers, worth)) => Values::Integers { integers, worth },
            None => Values::Floats(values),
        };
        let at = &term.lists[1];
        let narrow: Result<Vec<u16>, _> = at.iter().map(|at| u16::try_from(*at)).collect();
        let at = narrow.map_or_else(|_| Places::Wide(at.clone()), Places::Narrow);
        Self { starts: term.lists[0].clone(), at, width, values }
    }

    fn bytes(&self) -> usize {
        let at = match &self.at {
            Places::Narrow(at) => size_of_val(&**at),
            Places::Wide(at) => size_of_val(&**at),
        };
        let values = match &self.values {
            Values::Floats(values) => size_of_val(&**values),
            Values::Integers { integers, worth } => integers.len() + size_of_val(&**worth),
        };
        size_of_val(&*self.starts) + at + values
    }

    fn add(&self, ctx: &Ctx, x: MatRef<'_>, mut out: MatMut<'_>) {
        let n = self.starts.len() - 1;
        let out = out.shared();
        ctx.run(n.div_ceil(SPARSE_ROWS), |task, _| {
            let first = task * SPARSE_ROWS;
            let starts = &self.starts[first..(first + SPARSE_ROWS).min(n) + 1];
            for m in 0..x.rows() {
                // SAFETY: each task writes the columns of its own rows.
                let out = unsafe { out.part(m, first, starts.len() - 1) };
                let (isa, width, x) = (ctx.isa(), self.width, x.row(m));
                match &self.at {
                    Places::Narrow(at) => {
                        self.values.add(isa, Runs { starts, width, at, values: () }, x, out)
                    }
                    Places::Wide(at) => self.values.add(isa, Runs { starts, width, at, values: () }, x, out),
                }
            }
        });
    }
}

/// Runs as integers of a byte, and what one is worth for each run; `None` where the products of these are other floats.
fn integers(term: &Term<QuantTensor>, values: &[f32], width: usize) -> Option<(Vec<i8>, Vec<f32>)> {
    let TensorData::Grouped(grouped) = term.matrices[0].data() else { return None };
    let [scales] = &*grouped.params().levels else { return None };
    if !width.is_multiple_of(WIDE) || scales.shape().len_in_row(width) != width {
        return None;
    }
    let worth: Vec<f32> = (0..values.len() / width).map(|run| scales.get(run, 0)).collect();
    let integer = |(i, value): (usize, &f32)| {
        let worth = worth[i / width];
        let integer = if worth == 0.0 { 0.0 } else { (value / worth).round() };
        (integer.abs() <= 127.0 && integer * worth == *value).then_some(integer as i8)
    };
    let integers: Option<Vec<i8>> = values.iter().enumerate().map(integer).collect();
    Some((integers?, worth))
}

impl Values {
    fn add<P: Place>(&self, isa: Isa, runs: Runs<'_, P, ()>, x: &[f32], out: &mut [f32]) {
        let wide = runs.width.is_multiple_of(WIDE);
        match self {
            Self::Floats(values) if wide => add_wide_runs(isa, runs.of(Floats(values)), x, out),
            Self::Floats(values) => add_runs(isa, runs.of(Floats(values)), x, out),
            Self::Integers { integers, worth } => {
                add_wide_runs(isa, runs.of(Integers { integers, worth }), x, out);
            }
        }
    }
}

/// The runs of some rows.
#[derive(Clone, Copy)]
struct Runs<'a, P, V> {
    starts: &'a [u32],
    width: usize,
    at: &'a [P],
    values: V,
}

impl<'a, P> Runs<'a, P, ()> {
    fn of<V>(self, values: V) -> Runs<'a, P, V> {
        Runs { starts: self.starts, width: self.width, at: self.at, values }
    }
}

#[derive(Clone, Copy)]
struct Floats<'a>(&'a [f32]);

#[derive(Clone, Copy)]
struct Integers<'a> {
    integers: &'a [i8],
    worth: &'a [f32],
}

/// Weights of runs, sixteen at a time.
trait Sixteen: Copy {
    /// Those of a run from `first` on, counted over all runs.
    fn sixteen(self, run: usize, first: usize) -> [f32; WIDE];
}

impl Sixteen for Floats<'_> {
    #[inline(always)]
    fn sixteen(self, _: usize, first: usize) -> [f32; WIDE] {
        *self.0[first..].first_chunk().expect("weights of a run")
    }
}

impl Sixteen for Integers<'_> {
    #[inline(always)]
    fn sixteen(self, run: usize, first: usize) -> [f32; WIDE] {
        let integers: &[i8; WIDE] = self.integers[first..].first_chunk().expect("weights of a run");
        let mut values = [self.worth[run]; WIDE];
        for (value, integer) in values.iter_mut().zip(integers) {
            *value *= f32::from(*integer);
        }
        values
    }
}

/// Wide runs, whatever their places and weights are kept in.
trait WideRuns: Copy {
    /// The sum of the products of the runs of row `row`, counted from the first.
    fn dot(self, row: usize, x: &[f32]) -> f32;
}

impl<P: Place, V: Sixteen> WideRuns for Runs<'_, P, V> {
    #[inline(always)]
    fn dot(self, row: usize, x: &[f32]) -> f32 {
        let mut lanes = [0f32; WIDE];
        for run in self.starts[row] as usize..self.starts[row + 1] as usize {
            let x = &x[self.at[run].get() * self.width..][..self.width];
            for (i, x) in x.as_chunks::<WIDE>().0.iter().enumerate() {
                let values = self.values.sixteen(run, run * self.width + i * WIDE);
                for lane in 0..WIDE {
                    lanes[lane] = values[lane].mul_add(x[lane], lanes[lane]);
                }
            }
        }
        ops::pairwise(lanes)
    }
}

multiversion! {
    fn add_wide_runs<R: WideRuns>(runs: R, x: &[f32], out: &mut [f32]) = add_wide_runs_of_rows;
}

/// Adds to each output the products of its runs, of a multiple of sixteen weights each.
#[inline(always)]
fn add_wide_runs_of_rows<R: WideRuns>(runs: R, x: &[f32], out: &mut [f32]) {
    // No closure, here and below: it would be compiled without the instructions.
    for (row, out) in out.iter_mut().enumerate() {
        *out += runs.dot(row, x);
    }
}

multiversion! {
    fn add_runs<P: Place>(runs: Runs<'_, P, Floats<'_>>, x: &[f32], out: &mut [f32]) = add_runs_of_rows;
}

/// Adds to each output the products of its runs.
#[inline(always)]
fn add_runs_of_rows<P: Place>(runs: Runs<'_, P, Floats<'_>>, x: &[f32], out: &mut [f32]) {
    let width = runs.width;
    for (out, bounds) in out.iter_mut().zip(runs.starts.windows(2)) {
        let here = bounds[0] as usize..bounds[1] as usize;
        let values = &runs.values.0[here.start * width..here.end * width];
        let at = &runs.at[here];
        let mut lanes = [0f32; LANES];
        if width == 1 {
            let ((values, last), (at, last_at)) = (values.as_chunks::<LANES>(), at.as_chunks::<LANES>());
            for (values, at) in values.iter().zip(at) {
                for lane in 0..LANES {
                    lanes[lane] = values[lane].mul_add(x[at[lane].get()], lanes[lane]);
                }
            }
            for ((lane, value), at) in lanes.iter_mut().zip(last).zip(last_at) {
                *lane = value.mul_add(x[at.get()], *lane);
            }
        } else {
            let mut i = 0;
            for (values, at) in values.chunks_exact(width).zip(at) {
                for (value, x) in values.iter().zip(&x[at.get() * width..][..width]) {
                    lanes[i % LANES] = value.mul_add(*x, lanes[i % LANES]);
                    i += 1;
                }
            }
        }
        *out += (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActPrecision, ActRounding, Arranged, Planner, mpgemm, reference};
    use lowbit_format::{NK, SumTensor, WeightSpec};

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
            (2, 2, 16, "int2-asym-g16"),
            (1, 2, 32, "int3-sym-g16"),
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
    fn runs_of_few_bits_are_kept_as_bytes() {
        let shape = NK { n: 37, k: 96 };
        for (label, width, bytes) in
            [("int2-asym-g16", 16, 16 + 4), ("int2-asym-g8", 16, 64), ("f32", 16, 64)]
        {
            let TensorData::Sum(inner) = sum(shape, width, label).data().clone() else { panic!("a sum") };
            let sparse =
                inner.terms().iter().find(|term| matches!(term.kind, TermKind::Sparse { .. })).unwrap();
            let kept = Sparse::new(sparse, 11, width as usize);
            assert_eq!(kept.bytes(), 11 * (bytes + 2) + 4 * (shape.n + 1), "{label}");
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
