//! Activations in 8 bits, with scales and sums by runs of features.

mod group;
mod outliers;

pub(crate) use group::whole_bits;

use crate::{ACT_GROUP, ActRounding, Ctx, Isa, mat::MatRef};
use group::{Array, Group};
use std::{ops::Range, sync::Mutex};

/// Tokens from which on rounding them is worth waking the workers.
const ROWS_WORTH_SHARING: usize = 8;

/// Most activations that share a scale, where not a whole token does.
pub(crate) const LONGEST_SPAN: usize = 256;

/// Activations in 8 bits: `x[m, k] ≈ q[m, k] · d[m, k / span]`, K padded with zeros to a multiple of 32. With two terms,
/// row `M + m` holds what row `m` leaves of token `m`. With three, row `m` has the activations that are no outliers, and the others those that
/// are, in two terms.
pub struct Int8Acts {
    tokens: usize,
    rows: usize,
    /// K rounded up to a multiple of 32.
    k: usize,
    /// Features that share a scale, and a sum.
    span: usize,
    /// Spans of a row, the last of which K may cut short.
    spans: usize,
    q: Vec<i8>,
    d: Vec<f32>,
    whole: Sums,
    /// Of half spans, where a span is 32.
    halves: Sums,
}

/// Sums over runs of codes, `[row][run]`.
struct Sums {
    /// `d · Σq`: what offsets of weights multiply with.
    scaled: Vec<f32>,
    /// `−128 · Σq`: where an unsigned kernel starts its integer sum to take a bias of 128 back.
    bias: Vec<i32>,
}

impl Sums {
    fn new(len: usize) -> Self {
        Self { scaled: vec![0.0; len], bias: vec![0; len] }
    }
}

impl Int8Acts {
    /// Rounds every row: `d = max|x| / 127` (7 for codes of 4 bits), `q = round(x / d)`, halves to even; a group of zeros has
    /// `d = 0`. Scales and sums in half precision are rounded after the codes.
    pub fn new(ctx: &Ctx, x: MatRef<'_>, rounding: ActRounding) -> Self {
        Self::by_spans(ctx, x, rounding, ACT_GROUP)
    }

    /// The same with scales and sums for runs of `span` features, a multiple of 32 that is at most 256, the last of which
    /// K may cut short. Rounding in groups is rounding by these runs, whatever the size that `rounding` names.
    ///
    /// # Panics
    /// Where the span is none of these.
    pub fn by_weights(ctx: &Ctx, x: MatRef<'_>, rounding: ActRounding, span: usize) -> Self {
        let rounding = match rounding {
            ActRounding::Gguf32 | ActRounding::Gguf256 => ActRounding::Group32,
            other => other,
        };
        Self::by_spans(ctx, x, rounding, span)
    }

    fn by_spans(ctx: &Ctx, x: MatRef<'_>, rounding: ActRounding, span: usize) -> Self {
        if rounding == ActRounding::TokenOutliers {
            return outliers::round(ctx, x, span);
        }
        assert!(span > 0 && span.is_multiple_of(ACT_GROUP) && span <= LONGEST_SPAN, "a span of {span}");
        let tokens = x.rows();
        let rows = tokens * rounding.terms();
        let k = x.cols().next_multiple_of(ACT_GROUP);
        let spans = k.div_ceil(span);
        let halves = if span == ACT_GROUP { 2 * spans } else { 0 };
        let mut acts = Self {
            tokens,
            rows,
            k,
            span,
            spans,
            q: vec![0; rows * k],
            d: vec![0.0; rows * spans],
            whole: Sums::new(rows * spans),
            halves: Sums::new(rows * halves),
        };
        let mut rest = RowOut {
            q: &mut acts.q,
            d: &mut acts.d,
            sums: &mut acts.whole.scaled,
            bias: &mut acts.whole.bias,
            half_sums: &mut acts.halves.scaled,
            half_bias: &mut acts.halves.bias,
        };
        let mut firsts = rest.split(tokens, k, spans, halves);
        let outs = (0..tokens).map(|m| {
            let second = (rows > tokens).then(|| rest.split(1, k, spans, halves));
            (m, firsts.split(1, k, spans, halves), second)
        });
        let round = |m, first, second| quantize(ctx.isa(), x.row(m), How { rounding, span }, first, second);
        if rows < ROWS_WORTH_SHARING {
            outs.for_each(|(m, first, second)| round(m, first, second));
        } else {
            let outs = Mutex::new(outs);
            let next = || outs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            ctx.run(tokens, |_, _| {
                if let Some((m, first, second)) = next() {
                    round(m, first, second);
                }
            });
        }
        acts
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of rows: tokens times terms.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features, rounded up to a multiple of 32.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Features that share a scale.
    pub fn span(&self) -> usize {
        self.span
    }

    /// Codes of row `m`.
    #[inline(always)]
    pub fn q(&self, m: usize) -> &[i8] {
        &self.q[m * self.k..][..self.k]
    }

    /// Scales of row `m`, one for every span of features.
    #[inline(always)]
    pub fn d(&self, m: usize) -> &[f32] {
        row(&self.d, m, self.spans)
    }

    /// `d · Σq` of row `m` over runs of `group` features, a span or half a span of 32.
    #[inline(always)]
    pub fn sums(&self, m: usize, group: usize) -> &[f32] {
        if group == self.span {
            row(&self.whole.scaled, m, self.spans)
        } else {
            row(&self.halves.scaled, m, 2 * self.spans)
        }
    }

    /// `−128 · Σq` of row `m` over runs of `group` features, a span or half a span of 32.
    #[inline(always)]
    pub fn bias(&self, m: usize, group: usize) -> &[i32] {
        if group == self.span {
            row(&self.whole.bias, m, self.spans)
        } else {
            row(&self.halves.bias, m, 2 * self.spans)
        }
    }
}

#[inline(always)]
fn row<T>(all: &[T], m: usize, len: usize) -> &[T] {
    &all[m * len..][..len]
}

/// Where rows are written.
struct RowOut<'a> {
    q: &'a mut [i8],
    d: &'a mut [f32],
    sums: &'a mut [f32],
    bias: &'a mut [i32],
    half_sums: &'a mut [f32],
    half_bias: &'a mut [i32],
}

impl<'a> RowOut<'a> {
    /// Takes the first rows off.
    fn split(&mut self, rows: usize, k: usize, spans: usize, halves: usize) -> RowOut<'a> {
        fn first<'a, T>(all: &mut &'a mut [T], len: usize) -> &'a mut [T] {
            let (head, rest) = std::mem::take(all).split_at_mut(len);
            *all = rest;
            head
        }
        RowOut {
            q: first(&mut self.q, rows * k),
            d: first(&mut self.d, rows * spans),
            sums: first(&mut self.sums, rows * spans),
            bias: first(&mut self.bias, rows * spans),
            half_sums: first(&mut self.half_sums, rows * halves),
            half_bias: first(&mut self.half_bias, rows * halves),
        }
    }
}

/// Writes the first term of a token, and the second where there is one.
fn quantize(isa: Isa, x: &[f32], how: How, first: RowOut<'_>, second: Option<RowOut<'_>>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2(x: &[f32], how: How, first: RowOut<'_>, second: Option<RowOut<'_>>) {
            // SAFETY: this function has the instructions.
            unsafe { quantize_token::<group::x86::Ymm4>(x, how, first, second) }
        }
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
        fn avx512(x: &[f32], how: How, first: RowOut<'_>, second: Option<RowOut<'_>>) {
            // SAFETY: this function has the instructions.
            unsafe { quantize_token::<group::x86::Zmm2>(x, how, first, second) }
        }
        match isa.level() {
            // SAFETY: an `Isa` of this level exists only where the CPU has its instructions.
            crate::IsaLevel::Avx512 => return unsafe { avx512(x, how, first, second) },
            // SAFETY: as above.
            crate::IsaLevel::Avx2 => return unsafe { avx2(x, how, first, second) },
            _ => {}
        }
    }
    let _ = isa;
    // SAFETY: an array needs no instructions.
    unsafe { quantize_token::<Array>(x, how, first, second) }
}

/// How a token is rounded.
#[derive(Clone, Copy)]
struct How {
    rounding: ActRounding,
    span: usize,
}

/// What a span is divided by.
#[derive(Clone, Copy)]
struct Scale {
    /// Codes for a unit.
    inverse: f32,
    step: f32,
}

/// Spans whose scales are computed side by side: one after the other, each would wait for two divisions.
const TOGETHER: usize = 16;

/// The scales of some spans.
struct Scales {
    inverse: [f32; TOGETHER],
    step: [f32; TOGETHER],
}

impl Scales {
    /// Give the largest magnitudes the code `highest`.
    #[inline(always)]
    fn of(most: &[f32; TOGETHER], highest: f32) -> Self {
        let mut scales = Self { inverse: [0.0; TOGETHER], step: [0.0; TOGETHER] };
        for i in 0..TOGETHER {
            scales.inverse[i] = if most[i] > 0.0 { highest / most[i] } else { 0.0 };
            scales.step[i] = most[i] / highest;
        }
        scales
    }

    #[inline(always)]
    fn get(&self, i: usize) -> Scale {
        Scale { inverse: self.inverse[i], step: self.step[i] }
    }
}

/// A token in runs of 32, zeros after its end.
struct Runs<'a> {
    whole: &'a [[f32; ACT_GROUP]],
    last: [f32; ACT_GROUP],
}

impl<'a> Runs<'a> {
    #[inline(always)]
    fn of(x: &'a [f32]) -> Self {
        let (whole, rest) = x.as_chunks();
        let mut last = [0.0; ACT_GROUP];
        last[..rest.len()].copy_from_slice(rest);
        Self { whole, last }
    }

    /// Run `i`, or what the first term leaves of it.
    ///
    /// # Safety
    /// The instructions of `G` exist.
    #[inline(always)]
    unsafe fn get<G: Group>(&self, i: usize, first: Option<Scale>) -> G {
        let values = if i < self.whole.len() { &self.whole[i] } else { &self.last };
        // SAFETY: passed on.
        unsafe {
            match first {
                None => G::load(values),
                Some(first) => G::load(values).rest(first.inverse, first.step),
            }
        }
    }

    /// The largest magnitude of some runs.
    ///
    /// # Safety
    /// The instructions of `G` exist.
    #[inline(always)]
    unsafe fn max_abs<G: Group>(&self, runs: Range<usize>, first: Option<Scale>) -> f32 {
        let mut most = 0;
        for i in runs {
            // SAFETY: passed on.
            most = most.max(unsafe { self.get::<G>(i, first).max_bits() });
        }
        f32::from_bits(most)
    }
}

/// Loops instead of closures: what is not inlined here would be compiled for every CPU.
///
/// # Safety
/// The instructions of `G` exist.
#[inline(always)]
unsafe fn quantize_token<G: Group>(
    x: &[f32],
    how: How,
    mut first: RowOut<'_>,
    mut second: Option<RowOut<'_>>,
) {
    let rounding = how.rounding;
    let highest = f32::from(rounding.highest());
    let values = Runs::of(x);
    let (runs, of_span, of_256) = (first.q.len() / ACT_GROUP, how.span / ACT_GROUP, 256 / ACT_GROUP);
    // SAFETY: passed on.
    let mut shared = if rounding.by_token() { unsafe { values.max_abs::<G>(0..runs, None) } } else { 0.0 };
    let spans = first.d.len();
    for start in (0..spans).step_by(TOGETHER) {
        let end = (start + TOGETHER).min(spans);
        let mut most = [0.0; TOGETHER];
        for g in start..end {
            let at = g * of_span;
            if rounding == ActRounding::Gguf256 && at.is_multiple_of(of_256) {
                // SAFETY: passed on.
                shared = unsafe { values.max_abs::<G>(at..(at + of_256).min(runs), None) };
            }
            most[g - start] = if rounding == ActRounding::Gguf256 || rounding.by_token() {
                shared
            } else {
                // SAFETY: passed on.
                unsafe { values.max_abs::<G>(at..(at + of_span).min(runs), None) }
            };
        }
        let scales = Scales::of(&most, highest);
        // SAFETY: passed on.
        unsafe { write::<G>(&values, None, &scales, (how, start..end), &mut first) };
        let Some(second) = &mut second else { continue };
        let mut left = [0.0; TOGETHER];
        for g in start..end {
            let at = g * of_span;
            // SAFETY: passed on.
            left[g - start] = unsafe {
                // Made again when it is written: in registers that is less than from memory.
                values.max_abs::<G>(at..(at + of_span).min(runs), Some(scales.get(g - start)))
            };
        }
        let of_left = Scales::of(&left, highest);
        // SAFETY: passed on.
        unsafe { write::<G>(&values, Some(&scales), &of_left, (how, start..end), second) };
    }
}

/// Writes codes, scales and sums of at most [`TOGETHER`] spans, or of what the first term leaves of them.
///
/// # Safety
/// The instructions of `G` exist.
#[inline(always)]
unsafe fn write<G: Group>(
    values: &Runs<'_>,
    first: Option<&Scales>,
    scales: &Scales,
    (how, spans): (How, Range<usize>),
    out: &mut RowOut<'_>,
) {
    let of_span = how.span / ACT_GROUP;
    let codes = out.q.as_chunks_mut().0;
    let with_halves = !out.half_bias.is_empty();
    let bias = &mut out.bias[spans.clone()];
    let halves = if with_halves { 2 * spans.start..2 * spans.end } else { 0..0 };
    let half_bias = &mut out.half_bias[halves.clone()];
    // At first the sums of codes, which loops below turn into what is kept, several at once.
    for g in spans.clone() {
        let scale = scales.get(g - spans.start);
        let first = first.map(|first| first.get(g - spans.start));
        let mut total = 0;
        for i in g * of_span..((g + 1) * of_span).min(codes.len()) {
            // SAFETY: passed on.
            let sums = unsafe { values.get::<G>(i, first).round(scale.inverse, &mut codes[i]) };
            total += sums[0] + sums[1];
            if with_halves {
                half_bias[2 * (g - spans.start)..][..2].copy_from_slice(&sums);
            }
        }
        bias[g - spans.start] = total;
    }
    let sums = &mut out.sums[spans.clone()];
    let steps = &scales.step[..sums.len()];
    for ((sum, bias), step) in sums.iter_mut().zip(bias).zip(steps) {
        *sum = step * *bias as f32;
        *bias *= -128;
    }
    let half_sums = &mut out.half_sums[halves];
    let pairs = half_sums.as_chunks_mut::<2>().0.iter_mut().zip(half_bias.as_chunks_mut::<2>().0);
    for ((sums, bias), step) in pairs.zip(steps) {
        for (sum, bias) in sums.iter_mut().zip(bias) {
            *sum = step * *bias as f32;
            *bias *= -128;
        }
    }
    let d = &mut out.d[spans];
    d.copy_from_slice(steps);
    if how.rounding == ActRounding::Gguf32 {
        for x in d.iter_mut().chain(sums).chain(half_sums) {
            *x = half::f16::from_f32(*x).to_f32();
        }
    }
}
