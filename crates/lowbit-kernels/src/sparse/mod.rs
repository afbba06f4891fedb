//! Products with single weights and runs of weights: what a sum keeps beside its base.
//!
//! ```text
//! for each 64 rows, a task, for up to four tokens, row by row:
//!     for each run of the row, by sixteens: sums[token] += weights · what of the token they multiply
//! ```
//!
//! Weight i of the runs of a row goes to sum i mod 16. What a task reads lies side by side, the rows with most runs first: so that
//! the next row mostly takes as many steps as the one before, which the processor then foresees.

mod values;

use crate::{
    Ctx, MatMut, MatRef, SharedMut, lanes,
    lanes::Lanes,
    pages::{Arena, Pages},
    streams::{Ahead, ask_for},
};
use lowbit_format::{QuantTensor, Term};
use std::ops::Range;
use values::{Kept, Values};

#[cfg(target_arch = "x86_64")]
use crate::lanes::x86::{Ymm2, Zmm};

/// Rows that are one task.
const ROWS: usize = 64;

/// Weights multiplied at once.
const WIDE: usize = 16;

/// Bytes to which the sections of a block are aligned.
const ALIGN: usize = 64;

/// Weights of the rows of a matrix and where they are: one by one, or in runs of a multiple of sixteen.
pub(crate) struct Sparse {
    n: usize,
    k: usize,
    /// Weights of a run: 1 or a multiple of [`WIDE`].
    width: usize,
    kept: Kept,
    /// Whether places have 16 bits, or 32.
    narrow: bool,
    /// What an integer is worth where that is the same for all.
    worth: Option<f32>,
    /// A block for each task: its [`Rows`], what integers are worth, weights, and where runs are in their rows, counted in runs.
    blocks: Pages,
    /// Where blocks begin, and where the last ends.
    at: Vec<usize>,
}

/// The rows of a task, those with most runs first.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Rows {
    /// Where the runs of each row end in the block, those of the first from 0 on.
    ends: [u32; ROWS],
    /// Which row of the task it is.
    row: [u8; ROWS],
}

impl Rows {
    /// The rows of a task, given by their runs, and these runs in the order of rows.
    fn in_order(task: &[Range<usize>]) -> (Self, Vec<usize>) {
        let mut order: Vec<usize> = (0..task.len()).collect();
        order.sort_by_key(|row| std::cmp::Reverse(task[*row].len()));
        let (mut rows, mut runs) = (Self { ends: [0; ROWS], row: [0; ROWS] }, Vec::new());
        for (i, row) in order.into_iter().enumerate() {
            runs.extend(task[row].clone());
            rows.row[i] = row as u8;
            rows.ends[i..].fill(runs.len() as u32);
        }
        (rows, runs)
    }
}

/// Where the sections of a block are, in bytes.
struct Sections {
    worth: usize,
    values: usize,
    places: usize,
    end: usize,
}

impl Sparse {
    /// The runs of a sparse term of a matrix of `k` columns, kept in `arena`.
    pub(crate) fn new(term: &Term<QuantTensor>, width: usize, k: usize, arena: &Arena) -> Self {
        let (starts, at) = (&term.lists[0], &term.lists[1]);
        // Runs of other lengths become single weights.
        let (kept_width, singles) = if width.is_multiple_of(WIDE) { (width, 1) } else { (1, width) };
        let starts: Vec<usize> = starts.iter().map(|start| *start as usize * singles).collect();
        let single = |at: u32| (0..singles as u32).map(move |i| at * singles as u32 + i);
        let places: Vec<u32> = at.iter().copied().flat_map(single).collect();
        let reach = places.iter().map(|at| (*at as usize + 1) * kept_width).max().unwrap_or(0);
        assert!(reach <= k, "runs of {k} columns end at {reach}");
        let values = Values::new(&term.matrices[0], kept_width > 1);
        let mut sparse = Self {
            n: starts.len() - 1,
            k,
            width: kept_width,
            kept: values.kept,
            narrow: places.iter().all(|place| u16::try_from(*place).is_ok()),
            worth: (values.worth.len() == 1).then(|| values.worth[0]),
            blocks: Pages::default(),
            at: vec![0],
        };
        let rows: Vec<Range<usize>> = starts.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let mut end = 0;
        for rows in rows.chunks(ROWS) {
            end += sparse.sections(rows.iter().map(Range::len).sum()).end;
            sparse.at.push(end);
        }
        sparse.blocks = arena.pages(end).expect("the system has memory for a term");
        for (task, rows) in rows.chunks(ROWS).enumerate() {
            let (rows, runs) = Rows::in_order(rows);
            let sections = sparse.sections(runs.len());
            let block = &mut sparse.blocks.bytes_mut()[sparse.at[task]..sparse.at[task + 1]];
            let mut put = |section: usize, i: usize, bytes: &[u8]| {
                block[section + i * bytes.len()..][..bytes.len()].copy_from_slice(bytes);
            };
            put(0, 0, bytemuck::bytes_of(&rows));
            for (i, run) in runs.into_iter().enumerate() {
                if sparse.worth.is_none()
                    && let Some(worth) = values.worth.get(run)
                {
                    put(sections.worth, i, &worth.to_ne_bytes());
                }
                put(sections.values, i, values.run(run, kept_width));
                match u16::try_from(places[run]) {
                    Ok(place) if sparse.narrow => put(sections.places, i, &place.to_ne_bytes()),
                    _ => put(sections.places, i, &places[run].to_ne_bytes()),
                }
            }
        }
        sparse
    }

    /// The sections of a block of so many runs. Sixteen places more can be read than there are, which are zeros, and sixteen weights,
    /// which are anything.
    fn sections(&self, runs: usize) -> Sections {
        let next = |at: usize, bytes: usize| (at + bytes).next_multiple_of(ALIGN);
        let each = matches!(self.kept, Kept::I8 | Kept::I4) && self.worth.is_none();
        let worth = next(0, size_of::<Rows>());
        let values = next(worth, if each { 4 * runs } else { 0 });
        let places = next(values, self.kept.bytes(runs * self.width));
        Sections { worth, values, places, end: next(places, (runs + WIDE) * if self.narrow { 2 } else { 4 }) }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes().len() + size_of_val(&*self.at)
    }

    /// The block of a task, or nothing beyond the last.
    fn block(&self, task: usize) -> &[u8] {
        match self.at.get(task..) {
            Some([start, end, ..]) => &self.blocks.bytes()[*start..*end],
            _ => &[],
        }
    }

    /// Adds the products with `x` to `out`.
    ///
    /// # Panics
    /// Where `x` or `out` has not the columns of the matrix.
    pub(crate) fn add(&self, ctx: &Ctx, x: MatRef<'_>, mut out: MatMut<'_>) {
        assert_eq!((x.cols(), out.cols(), out.rows()), (self.k, self.n, x.rows()), "shapes of a product");
        let out = out.shared();
        ctx.run(self.n.div_ceil(ROWS), |task, _| {
            let block = self.block(task);
            // Stretches so short end before the hardware has seen that they are read in order.
            if task < ctx.threads() {
                ask_for(block.as_ptr(), block.len());
            }
            let ahead = Ahead([self.block(task + ctx.threads()), &[]]);
            let task =
                Task { sparse: self, block, rows: task * ROWS..((task + 1) * ROWS).min(self.n), ahead };
            // SAFETY: the ISA value proves the instructions; each task writes the columns of its own rows, which exist.
            unsafe {
                match ctx.isa().level() {
                    #[cfg(target_arch = "x86_64")]
                    crate::IsaLevel::Avx512 => avx512(&task, x, out),
                    #[cfg(target_arch = "x86_64")]
                    crate::IsaLevel::Avx2 => avx2(&task, x, out),
                    _ => task.add::<lanes::Array>(x, out),
                }
            }
        });
    }
}

impl std::fmt::Debug for Sparse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "runs of {} in {} rows, weights as {:?}", self.width, self.n, self.kept)
    }
}

/// Rows with their block, and what is asked for meanwhile.
struct Task<'a> {
    sparse: &'a Sparse,
    block: &'a [u8],
    rows: Range<usize>,
    ahead: Ahead<'a>,
}

/// # Safety
/// - The CPU has AVX2, FMA and F16C, and the contract of [`Task::add`] holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
unsafe fn avx2(task: &Task<'_>, x: MatRef<'_>, out: SharedMut<'_>) {
    // SAFETY: passed on.
    unsafe { task.add::<Ymm2>(x, out) }
}

/// # Safety
/// - The CPU has AVX-512 F, BW, VL and DQ, and the contract of [`Task::add`] holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn avx512(task: &Task<'_>, x: MatRef<'_>, out: SharedMut<'_>) {
    // SAFETY: passed on.
    unsafe { task.add::<Zmm>(x, out) }
}

impl Task<'_> {
    /// Adds the products of the rows with all tokens.
    ///
    /// # Safety
    /// - The instructions of `V` exist, nobody else refers to these columns of `out`, the rows exist, and shapes are those of
    ///   [`Sparse::add`].
    #[inline(always)]
    unsafe fn add<V: Lanes>(&self, x: MatRef<'_>, out: SharedMut<'_>) {
        // SAFETY: passed on.
        unsafe {
            if self.sparse.narrow {
                self.add_at::<V, u16>(x, out);
            } else {
                self.add_at::<V, u32>(x, out);
            }
        }
    }

    /// # Safety
    /// - As for [`Self::add`]; `P` is how places are kept.
    #[inline(always)]
    unsafe fn add_at<V: Lanes, P: Place>(&self, x: MatRef<'_>, out: SharedMut<'_>) {
        let (rows, _) = self.block.split_at(size_of::<Rows>());
        let rows: &Rows = bytemuck::from_bytes(rows);
        let sections = self.sparse.sections(rows.ends[ROWS - 1] as usize);
        let at = |section: usize| self.block[section..].as_ptr();
        let (places, values) = (at(sections.places).cast::<P>(), at(sections.values));
        let worth = match &self.sparse.worth {
            Some(worth) => Worth { each: 0, of: worth },
            None => Worth { each: 1, of: at(sections.worth).cast() },
        };
        // SAFETY: passed on; the sections are of these kinds.
        unsafe {
            match self.sparse.kept {
                Kept::F32 => self.add_of::<V, P, _>(rows, places, Floats(values.cast()), x, out),
                Kept::F16 => self.add_of::<V, P, _>(rows, places, Halves(values), x, out),
                Kept::I8 => self.add_of::<V, P, _>(rows, places, Bytes(values.cast(), worth), x, out),
                Kept::I4 => self.add_of::<V, P, _>(rows, places, Nibbles(values, worth), x, out),
            }
        }
    }

    /// # Safety
    /// - As for [`Self::add_at`]; the weights and places are those of the block.
    #[inline(always)]
    unsafe fn add_of<V: Lanes, P: Place, W: Weights>(
        &self,
        rows: &Rows,
        places: *const P,
        weights: W,
        x: MatRef<'_>,
        out: SharedMut<'_>,
    ) {
        let runs = Runs { width: self.sparse.width, places, weights };
        // SAFETY: passed on.
        unsafe {
            match self.sparse.width {
                1 => self.add_tokens::<V, P, W, 1>(runs, rows, x, out),
                WIDE => self.add_tokens::<V, P, W, WIDE>(runs, rows, x, out),
                _ => self.add_tokens::<V, P, W, 0>(runs, rows, x, out),
            }
        }
    }

    /// Here `WIDTH` is that of runs, or 0 if it is another than 1 and [`WIDE`].
    ///
    /// # Safety
    /// - As for [`Self::add_of`].
    #[inline(always)]
    unsafe fn add_tokens<V: Lanes, P: Place, W: Weights, const WIDTH: usize>(
        &self,
        runs: Runs<P, W>,
        rows: &Rows,
        x: MatRef<'_>,
        out: SharedMut<'_>,
    ) {
        let mut asking = self.ahead.during(0..1, 1, self.rows.len().div_ceil(4));
        let mut m = 0;
        while x.rows() - m >= 4 {
            let x = [0, 1, 2, 3].map(|t| x.row(m + t).as_ptr());
            let mut start = 0;
            for (row, end) in rows.row.iter().zip(&rows.ends).take(self.rows.len()) {
                let end = *end as usize;
                // SAFETY: by contract.
                unsafe {
                    let mut sums = [V::zero(); 4];
                    runs.add::<V, WIDTH, 4>(start..end, x, &mut sums);
                    for (t, sum) in V::sums(sums).into_iter().enumerate() {
                        out.part(m + t, self.rows.start + usize::from(*row), 1)[0] += sum;
                    }
                }
                start = end;
            }
            m += 4;
        }
        for m in m..x.rows() {
            let x = x.row(m).as_ptr();
            // SAFETY: by contract.
            let out = unsafe { out.part(m, self.rows.start, self.rows.len()) };
            let mut start = 0;
            let fours = rows.ends.as_chunks::<4>().0.iter().zip(rows.row.as_chunks::<4>().0);
            for (i, (ends, rows)) in fours.enumerate().take(out.len().div_ceil(4)) {
                asking.step();
                // SAFETY: by contract; beyond the last row there are no runs.
                let sums = unsafe {
                    let mut sums = [V::zero(); 4];
                    for (sum, end) in sums.iter_mut().zip(ends) {
                        runs.add::<V, WIDTH, 1>(start..*end as usize, [x], std::array::from_mut(sum));
                        start = *end as usize;
                    }
                    V::sums(sums)
                };
                for (row, sum) in rows.iter().zip(sums).take(out.len() - 4 * i) {
                    out[usize::from(*row)] += sum;
                }
            }
        }
    }
}

/// The runs of a block, row by row.
#[derive(Clone, Copy)]
struct Runs<P, W> {
    width: usize,
    places: *const P,
    weights: W,
}

impl<P: Place, W: Weights> Runs<P, W> {
    /// Adds the products of some runs with `T` tokens.
    ///
    /// # Safety
    /// - The instructions of `V` exist, so do the runs, all places are in the tokens, and sixteen places and weights can be read from
    ///   each of a single weight on.
    #[inline(always)]
    unsafe fn add<V: Lanes, const WIDTH: usize, const T: usize>(
        self,
        runs: Range<usize>,
        x: [*const f32; T],
        sums: &mut [V; T],
    ) {
        let width = if WIDTH == 0 { self.width } else { WIDTH };
        // SAFETY: by contract.
        unsafe {
            if WIDTH == 1 {
                for i in runs.clone().step_by(WIDE) {
                    let mut some: V = self.weights.sixteen(0, i);
                    if runs.end - i < WIDE {
                        some = some.first(runs.end - i);
                    }
                    for t in 0..T {
                        sums[t] = some.mul_add(gather(x[t], self.places.add(i)), sums[t]);
                    }
                }
                return;
            }
            for run in runs {
                let place = (*self.places.add(run)).get() * width;
                for i in (0..width).step_by(WIDE) {
                    let some: V = self.weights.sixteen(run, run * width + i);
                    for t in 0..T {
                        sums[t] = some.mul_add(V::load(x[t].add(place + i)), sums[t]);
                    }
                }
            }
        }
    }
}

/// Activations from sixteen places.
///
/// # Safety
/// - The instructions of `V` exist, the places can be read and are in `x`.
#[inline(always)]
unsafe fn gather<V: Lanes, P: Place>(x: *const f32, places: *const P) -> V {
    let mut all = [0.0; WIDE];
    for (i, four) in all.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // SAFETY: by contract.
        let places = unsafe { P::four(places.add(4 * i)) };
        for (x_at, place) in four.iter_mut().zip(places) {
            // SAFETY: by contract.
            *x_at = unsafe { *x.add(place) };
        }
    }
    // SAFETY: sixteen floats.
    unsafe { V::load(all.as_ptr()) }
}

/// A place as it is kept.
trait Place: Copy {
    fn get(self) -> usize;

    /// Four places.
    ///
    /// # Safety
    /// - They can be read.
    unsafe fn four(at: *const Self) -> [usize; 4];
}

impl Place for u16 {
    #[inline(always)]
    fn get(self) -> usize {
        usize::from(self)
    }
    #[inline(always)]
    unsafe fn four(at: *const Self) -> [usize; 4] {
        // One read for all: reads are what gathering waits for.
        // SAFETY: by contract.
        let four = u64::from_le(unsafe { at.cast::<u64>().read_unaligned() });
        [0, 16, 32, 48].map(|bits| usize::from((four >> bits) as u16))
    }
}

impl Place for u32 {
    #[inline(always)]
    fn get(self) -> usize {
        self as usize
    }
    #[inline(always)]
    unsafe fn four(at: *const Self) -> [usize; 4] {
        // SAFETY: by contract.
        unsafe { at.cast::<[Self; 4]>().read() }.map(Self::get)
    }
}

/// Weights as they are kept.
trait Weights: Copy {
    /// Sixteen weights from weight `i` on, which is of run `run`.
    ///
    /// # Safety
    /// - The instructions of `V` exist, and sixteen can be read.
    unsafe fn sixteen<V: Lanes>(self, run: usize, i: usize) -> V;
}

#[derive(Clone, Copy)]
struct Floats(*const f32);

impl Weights for Floats {
    #[inline(always)]
    unsafe fn sixteen<V: Lanes>(self, _: usize, i: usize) -> V {
        // SAFETY: by contract.
        unsafe { V::load(self.0.add(i)) }
    }
}

#[derive(Clone, Copy)]
struct Halves(*const u8);

impl Weights for Halves {
    #[inline(always)]
    unsafe fn sixteen<V: Lanes>(self, _: usize, i: usize) -> V {
        // SAFETY: by contract.
        unsafe { V::load_f16(self.0.add(2 * i)) }
    }
}

/// What an integer is worth: that of run `run` is `each · run` on.
#[derive(Clone, Copy)]
struct Worth {
    each: usize,
    of: *const f32,
}

#[derive(Clone, Copy)]
struct Bytes(*const i8, Worth);

impl Weights for Bytes {
    #[inline(always)]
    unsafe fn sixteen<V: Lanes>(self, run: usize, i: usize) -> V {
        // SAFETY: by contract.
        unsafe { V::load_i8(self.0.add(i)).mul(V::splat(*self.1.of.add(self.1.each * run))) }
    }
}

#[derive(Clone, Copy)]
struct Nibbles(*const u8, Worth);

impl Weights for Nibbles {
    #[inline(always)]
    unsafe fn sixteen<V: Lanes>(self, run: usize, i: usize) -> V {
        // SAFETY: by contract; they begin with a run.
        unsafe { V::load_i4(self.0.add(i / 2)).mul(V::splat(*self.1.of.add(self.1.each * run))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActPrecision, Isa, reference};
    use lowbit_format::{NK, TermKind, WeightSpec};
    use lowbit_testing::seeded_values;
    use std::sync::Arc;

    /// Several tasks of which the last is short, rows with no runs and many, places of 32 bits, tokens by four and one by one.
    #[test]
    fn products_have_the_bits_of_the_reference_however_many_rows_places_and_tokens() {
        for (n, k, width, label) in [
            (150, 70_000, 1, "f16"),
            (150, 4096, 16, "int4-sym-g16"),
            (129, 320, 1, "int8-sym-tensor-f32"),
            (65, 320, 10, "f32"),
        ] {
            let starts: Arc<[u32]> = std::iter::successors(Some((0, 0)), |(row, runs)| {
                (*row < n).then_some((row + 1, runs + row * 7 % 31 % 20))
            })
            .map(|(_, runs)| runs)
            .collect();
            let count = starts[n as usize];
            let places = k as u32 / width;
            let at: Arc<[u32]> = (0..count).map(|run| (places - 1) - run * 37 % places).collect();
            let kind = TermKind::Sparse { count, width };
            let shape = kind.matrices(NK { n: n as usize, k })[0];
            let weights = seeded_values("runs", shape.weights(), 1.0, 0.0);
            let matrix =
                QuantTensor::quantize_nearest(&WeightSpec::parse(label).unwrap(), &weights, shape).unwrap();
            let term = Term { kind, lists: vec![starts, at], matrices: vec![matrix] };
            for (tokens, isa) in [1, 4, 6].into_iter().flat_map(|m| Isa::available().map(move |isa| (m, isa)))
            {
                let x = seeded_values("inputs", tokens * k, 1.0, 0.0);
                let x = MatRef::new(&x, tokens, k);
                let (mut out, mut expected) =
                    (vec![0.5; tokens * n as usize], vec![0.5; tokens * n as usize]);
                let ctx = Ctx::new(isa, 2);
                let sparse = Sparse::new(&term, width as usize, k, ctx.arena());
                sparse.add(&ctx, x, MatMut::new(&mut out, tokens, n as usize));
                reference::add_term(&term, x, ActPrecision::Float, &mut expected);
                assert!(out == expected, "{label} {isa:?} {tokens}");
            }
        }
    }
}
