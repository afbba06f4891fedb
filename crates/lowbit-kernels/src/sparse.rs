//! Products with single weights and runs of weights: what a sum keeps beside its base.
//!
//! ```text
//! for each 64 rows, a task, for up to four tokens:
//!     for each run of a row, by sixteens: sums[token] += weights · what of the token they multiply
//! ```
//!
//! Weight i of the runs of a row goes to sum i mod 16.

use crate::{
    Ctx, MatMut, MatRef, SharedMut, lanes,
    lanes::Lanes,
    pages::{Arena, Paged},
    streams::ask_for,
};
use half::f16;
use lowbit_format::{GroupShape, QuantTensor, TensorData, Term};
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::lanes::x86::{Ymm2, Zmm};

/// Rows that are one task.
const ROWS: usize = 64;

/// Weights multiplied at once.
const WIDE: usize = 16;

/// Weights of the rows of a matrix and where they are: one by one, or in runs of a multiple of sixteen.
#[derive(Debug)]
pub(crate) struct Sparse {
    /// Where the runs of each row begin, and where the last end.
    starts: Paged<u32>,
    /// Weights of a run: 1 or a multiple of [`WIDE`].
    width: usize,
    places: Places,
    values: Values,
    /// What integers are worth: each run's or, if there is but one, all of them; none where values are floats.
    worth: Paged<f32>,
    /// Activations of a token.
    k: usize,
}

/// Where runs are in their rows, counted in runs, in as few bytes as hold it; sixteen more than there are.
#[derive(Debug)]
enum Places {
    Narrow(Paged<u16>),
    Wide(Paged<u32>),
}

/// Weights, in as few bytes as give the same floats; sixteen more than there are.
#[derive(Debug)]
enum Values {
    Floats(Paged<f32>),
    Halves(Paged<[u8; 2]>),
    Bytes(Paged<i8>),
    /// Integers of sixteen at a time, as [`Lanes::load_i4`] takes them; of runs only.
    Nibbles(Paged<[u8; 8]>),
}

impl Sparse {
    /// The runs of a sparse term of a matrix of `k` columns, kept in `arena`.
    pub(crate) fn new(term: &Term<QuantTensor>, width: usize, k: usize, arena: &Arena) -> Self {
        let (starts, at) = (&term.lists[0], &term.lists[1]);
        // Runs of other lengths become single weights.
        let (kept, singles) = if width.is_multiple_of(WIDE) { (width, 1) } else { (1, width as u32) };
        let starts: Vec<u32> = starts.iter().map(|start| start * singles).collect();
        let single = |at: u32| (0..singles).map(move |i| at * singles + i);
        let at: Vec<u32> = at.iter().copied().flat_map(single).chain([0; WIDE]).collect();
        let reach = at.iter().map(|at| (*at as usize + 1) * kept).max().unwrap_or(0);
        assert!(reach <= k, "runs of {k} columns end at {reach}");
        let last = starts.last().map_or(0, |last| *last as usize);
        assert!(starts.is_sorted() && last == at.len() - WIDE, "{last} runs, places of {}", at.len() - WIDE);
        let narrow: Result<Vec<u16>, _> = at.iter().map(|at| u16::try_from(*at)).collect();
        let places = narrow
            .map_or_else(|_| Places::Wide(paged(arena, &at)), |narrow| Places::Narrow(paged(arena, &narrow)));
        let (values, worth) = Values::new(&term.matrices[0], kept > 1, arena);
        Self { starts: paged(arena, &starts), width: kept, places, values, worth: paged(arena, &worth), k }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let places = match &self.places {
            Places::Narrow(places) => size_of_val(&**places),
            Places::Wide(places) => size_of_val(&**places),
        };
        let values = match &self.values {
            Values::Floats(values) => size_of_val(&**values),
            Values::Halves(values) => size_of_val(&**values),
            Values::Bytes(values) => size_of_val(&**values),
            Values::Nibbles(values) => size_of_val(&**values),
        };
        size_of_val(&*self.starts) + places + values + size_of_val(&*self.worth)
    }

    /// Adds the products with `x` to `out`.
    ///
    /// # Panics
    /// Where `x` or `out` has not the columns of the matrix.
    pub(crate) fn add(&self, ctx: &Ctx, x: MatRef<'_>, mut out: MatMut<'_>) {
        let n = self.starts.len() - 1;
        assert_eq!((x.cols(), out.cols(), out.rows()), (self.k, n, x.rows()), "shapes of a product");
        let out = out.shared();
        let ahead = ctx.threads() * ROWS;
        ctx.run(n.div_ceil(ROWS), |task, _| {
            let rows = task * ROWS..((task + 1) * ROWS).min(n);
            // Stretches so short end before the hardware has seen that they are read in order.
            if task < ctx.threads() {
                self.ask(rows.clone());
            }
            let next = (rows.start + ahead).min(n)..(rows.end + ahead).min(n);
            // SAFETY: the ISA value proves the instructions; each task writes the columns of its own rows, which exist.
            unsafe {
                match ctx.isa().level() {
                    #[cfg(target_arch = "x86_64")]
                    crate::IsaLevel::Avx512 => avx512(self, rows, next, x, out),
                    #[cfg(target_arch = "x86_64")]
                    crate::IsaLevel::Avx2 => avx2(self, rows, next, x, out),
                    _ => add_rows::<lanes::Array>(self, rows, next, x, out),
                }
            }
        });
    }

    /// Asks for what the products of some rows read.
    #[inline(always)]
    fn ask(&self, rows: Range<usize>) {
        let runs = self.starts[rows.start] as usize..self.starts[rows.end] as usize;
        let weights = runs.start * self.width..runs.end * self.width;
        match &self.places {
            Places::Narrow(places) => ask_for_all(&places[runs.clone()]),
            Places::Wide(places) => ask_for_all(&places[runs.clone()]),
        }
        match &self.values {
            Values::Floats(values) => ask_for_all(&values[weights]),
            Values::Halves(values) => ask_for_all(&values[weights]),
            Values::Bytes(values) => ask_for_all(&values[weights]),
            Values::Nibbles(values) => ask_for_all(&values[weights.start / WIDE..weights.end / WIDE]),
        }
        ask_for_all(self.worth.get(runs).unwrap_or(&[]));
    }
}

fn paged<T: bytemuck::Pod>(arena: &Arena, items: &[T]) -> Paged<T> {
    Paged::new(arena, items).expect("the system has memory for a term")
}

fn ask_for_all<T>(items: &[T]) {
    ask_for(items.as_ptr().cast(), size_of_val(items));
}

/// # Safety
/// - The CPU has AVX2, FMA and F16C, and the contract of [`add_rows`] holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
unsafe fn avx2(sparse: &Sparse, rows: Range<usize>, next: Range<usize>, x: MatRef<'_>, out: SharedMut<'_>) {
    // SAFETY: passed on.
    unsafe { add_rows::<Ymm2>(sparse, rows, next, x, out) }
}

/// # Safety
/// - The CPU has AVX-512 F, BW, VL and DQ, and the contract of [`add_rows`] holds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn avx512(sparse: &Sparse, rows: Range<usize>, next: Range<usize>, x: MatRef<'_>, out: SharedMut<'_>) {
    // SAFETY: passed on.
    unsafe { add_rows::<Zmm>(sparse, rows, next, x, out) }
}

/// Adds the products of some rows with all tokens.
///
/// # Safety
/// - The instructions of `V` exist, nobody else refers to these columns of `out`, the rows exist, and shapes are those of
///   [`Sparse::add`].
#[inline(always)]
unsafe fn add_rows<V: Lanes>(
    sparse: &Sparse,
    rows: Range<usize>,
    next: Range<usize>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
) {
    // SAFETY: passed on.
    unsafe {
        match &sparse.places {
            Places::Narrow(places) => add_at::<V, _>(sparse, places, rows, next, x, out),
            Places::Wide(places) => add_at::<V, _>(sparse, places, rows, next, x, out),
        }
    }
}

/// # Safety
/// - As for [`add_rows`]; the places are those of `sparse`.
#[inline(always)]
unsafe fn add_at<V: Lanes, P: Place>(
    sparse: &Sparse,
    places: &[P],
    rows: Range<usize>,
    next: Range<usize>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
) {
    let worth = Worth { each: usize::from(sparse.worth.len() > 1), of: sparse.worth.as_ptr() };
    // SAFETY: passed on.
    unsafe {
        match &sparse.values {
            Values::Floats(values) => {
                add_of::<V, _, _>(sparse, (places, Floats(values.as_ptr())), rows, next, x, out)
            }
            Values::Halves(values) => {
                add_of::<V, _, _>(sparse, (places, Halves(values.as_ptr())), rows, next, x, out)
            }
            Values::Bytes(values) => {
                add_of::<V, _, _>(sparse, (places, Bytes(values.as_ptr(), worth)), rows, next, x, out);
            }
            Values::Nibbles(values) => {
                add_of::<V, _, _>(sparse, (places, Nibbles(values.as_ptr(), worth)), rows, next, x, out);
            }
        }
    }
}

/// # Safety
/// - As for [`add_at`]; the weights are those of `sparse`.
#[inline(always)]
unsafe fn add_of<V: Lanes, P: Place, W: Weights>(
    sparse: &Sparse,
    (places, weights): (&[P], W),
    rows: Range<usize>,
    next: Range<usize>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
) {
    let runs = Runs { starts: &sparse.starts, width: sparse.width, places: places.as_ptr(), weights };
    // SAFETY: passed on.
    unsafe {
        match sparse.width {
            1 => add_tokens::<V, P, W, 1>(sparse, runs, rows, next, x, out),
            WIDE => add_tokens::<V, P, W, WIDE>(sparse, runs, rows, next, x, out),
            _ => add_tokens::<V, P, W, 0>(sparse, runs, rows, next, x, out),
        }
    }
}

/// Runs, their places and weights as they are kept.
#[derive(Clone, Copy)]
struct Runs<'a, P, W> {
    starts: &'a [u32],
    width: usize,
    places: *const P,
    weights: W,
}

/// Here `WIDTH` is that of runs, or 0 if it is another than 1 and [`WIDE`].
///
/// # Safety
/// - As for [`add_of`].
#[inline(always)]
unsafe fn add_tokens<V: Lanes, P: Place, W: Weights, const WIDTH: usize>(
    sparse: &Sparse,
    runs: Runs<'_, P, W>,
    rows: Range<usize>,
    next: Range<usize>,
    x: MatRef<'_>,
    out: SharedMut<'_>,
) {
    let mut m = 0;
    while x.rows() - m >= 4 {
        let x = [0, 1, 2, 3].map(|t| x.row(m + t).as_ptr());
        for row in rows.clone() {
            // SAFETY: by contract.
            unsafe {
                let sums = V::sums(runs.dot::<V, WIDTH, 4>(row, x));
                for (t, sum) in sums.into_iter().enumerate() {
                    out.part(m + t, row, 1)[0] += sum;
                }
            }
        }
        m += 4;
    }
    for m in m..x.rows() {
        let x = [x.row(m).as_ptr()];
        for row in rows.clone().step_by(4) {
            // SAFETY: by contract.
            unsafe {
                let mut sums = [V::zero(); 4];
                let some = (rows.end - row).min(4);
                let ahead = next.start + row - rows.start;
                sparse.ask(ahead.min(next.end)..(ahead + 4).min(next.end));
                for (r, sum) in sums.iter_mut().enumerate() {
                    if r < some {
                        [*sum] = runs.dot::<V, WIDTH, 1>(row + r, x);
                    }
                }
                let sums = V::sums(sums);
                out.part(m, row, some).iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            }
        }
    }
}

impl<P: Place, W: Weights> Runs<'_, P, W> {
    /// Sums of a row for `T` tokens.
    ///
    /// # Safety
    /// - The instructions of `V` exist, so do the row and its runs, all places are in the tokens, and sixteen places and weights can
    ///   be read from each of a single weight on.
    #[inline(always)]
    unsafe fn dot<V: Lanes, const WIDTH: usize, const T: usize>(
        self,
        row: usize,
        x: [*const f32; T],
    ) -> [V; T] {
        let (start, end) = (self.starts[row] as usize, self.starts[row + 1] as usize);
        let width = if WIDTH == 0 { self.width } else { WIDTH };
        // SAFETY: by contract.
        unsafe {
            let mut sums = [V::zero(); T];
            if WIDTH == 1 {
                for i in (start..end).step_by(WIDE) {
                    let mut some: V = self.weights.sixteen(0, i);
                    if end - i < WIDE {
                        some = some.first(end - i);
                    }
                    let places = P::sixteen(self.places.add(i));
                    for t in 0..T {
                        sums[t] = some.mul_add(gather(x[t], places), sums[t]);
                    }
                }
                return sums;
            }
            for run in start..end {
                let place = (*self.places.add(run)).get() * width;
                for i in (0..width).step_by(WIDE) {
                    let some: V = self.weights.sixteen(run, run * width + i);
                    for t in 0..T {
                        sums[t] = some.mul_add(V::load(x[t].add(place + i)), sums[t]);
                    }
                }
            }
            sums
        }
    }
}

/// # Safety
/// - The instructions of `V` exist, and the places are in `x`.
#[inline(always)]
unsafe fn gather<V: Lanes>(x: *const f32, places: [usize; WIDE]) -> V {
    let mut all = [0.0; WIDE];
    for (to, place) in all.iter_mut().zip(places) {
        // SAFETY: by contract.
        *to = unsafe { *x.add(place) };
    }
    // SAFETY: sixteen floats.
    unsafe { V::load(all.as_ptr()) }
}

/// A place as it is kept.
trait Place: Copy {
    fn get(self) -> usize;

    /// Sixteen places.
    ///
    /// # Safety
    /// - They can be read.
    #[inline(always)]
    unsafe fn sixteen(at: *const Self) -> [usize; WIDE] {
        // SAFETY: by contract.
        let places = unsafe { at.cast::<[Self; WIDE]>().read() };
        places.map(Self::get)
    }
}

impl Place for u16 {
    #[inline(always)]
    fn get(self) -> usize {
        usize::from(self)
    }
    #[inline(always)]
    unsafe fn sixteen(at: *const Self) -> [usize; WIDE] {
        let mut places = [0; WIDE];
        for (i, places) in places.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // One read for four places: reads are what gathering waits for.
            // SAFETY: by contract.
            let four = u64::from_le(unsafe { at.add(4 * i).cast::<u64>().read_unaligned() });
            for (j, place) in places.iter_mut().enumerate() {
                *place = usize::from((four >> (16 * j)) as u16);
            }
        }
        places
    }
}

impl Place for u32 {
    #[inline(always)]
    fn get(self) -> usize {
        self as usize
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
struct Halves(*const [u8; 2]);

impl Weights for Halves {
    #[inline(always)]
    unsafe fn sixteen<V: Lanes>(self, _: usize, i: usize) -> V {
        // SAFETY: by contract.
        unsafe { V::load_f16(self.0.add(i).cast()) }
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
struct Nibbles(*const [u8; 8], Worth);

impl Weights for Nibbles {
    #[inline(always)]
    unsafe fn sixteen<V: Lanes>(self, run: usize, i: usize) -> V {
        // SAFETY: by contract; they begin with a run.
        unsafe { V::load_i4(self.0.add(i / WIDE).cast()).mul(V::splat(*self.1.of.add(self.1.each * run))) }
    }
}

impl Values {
    /// The weights of runs, and what their integers are worth.
    fn new(runs: &QuantTensor, wide: bool, arena: &Arena) -> (Self, Vec<f32>) {
        let (n, width) = (runs.shape().n, runs.shape().k);
        let mut values = vec![0.0; (n + 1) * width.next_multiple_of(WIDE)];
        values.truncate(n * width + WIDE);
        for (i, run) in values.chunks_exact_mut(width).take(n).enumerate() {
            runs.decode_row(i, run);
        }
        if let Some(worth) = worth(runs, wide)
            && let Some(integers) = integers(&values, &worth, width)
        {
            let small = integers.iter().all(|integer| (-8..8).contains(integer));
            if !(wide && small) {
                return (Self::Bytes(paged(arena, &integers)), worth);
            }
            // The first lower half has lane 0, the first upper one lane 2, the fifth lane 1.
            let byte = |some: &[i8], i: usize| {
                let lane = 4 * (i % 4) + i / 4;
                (some[lane] & 15 | some[lane + 2] << 4) as u8
            };
            let sixteen = |some: &[i8; WIDE]| std::array::from_fn(|i| byte(some, i));
            let nibbles: Vec<_> = integers.as_chunks::<WIDE>().0.iter().map(sixteen).collect();
            return (Self::Nibbles(paged(arena, &nibbles)), worth);
        }
        let halves = values.iter().map(|value| {
            let half = f16::from_f32(*value);
            (half.to_f32() == *value).then_some(half.to_le_bytes())
        });
        let halves: Option<Vec<_>> = halves.collect();
        let kept = halves.map_or_else(
            || Self::Floats(paged(arena, &values)),
            |halves| Self::Halves(paged(arena, &halves)),
        );
        (kept, vec![])
    }
}

/// What integers are worth, of each run or all; `None` where that is neither.
fn worth(runs: &QuantTensor, wide: bool) -> Option<Vec<f32>> {
    let TensorData::Grouped(grouped) = runs.data() else { return None };
    let [scales] = &*grouped.params().levels else { return None };
    let width = runs.shape().k;
    match scales.shape() {
        GroupShape::Tensor => Some(vec![scales.get(0, 0)]),
        shape if wide && shape.len_in_row(width) == width => {
            Some((0..runs.shape().n).map(|run| scales.get(run, 0)).collect())
        }
        _ => None,
    }
}

/// The integers that give the same floats; `None` where a byte does not hold them.
fn integers(values: &[f32], worth: &[f32], width: usize) -> Option<Vec<i8>> {
    let integer = |(i, value): (usize, &f32)| {
        let worth = worth[(i / width).min(worth.len() - 1)];
        let integer = if worth == 0.0 { 0.0 } else { (value / worth).round() };
        ((-128.0..=127.0).contains(&integer) && integer * worth == *value).then_some(integer as i8)
    };
    values.iter().enumerate().map(integer).collect()
}
