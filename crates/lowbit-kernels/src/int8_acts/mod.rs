//! Activations in 8 bits, with scales and sums by runs of features.

mod group;

pub(crate) use group::whole_bits;

use crate::{ACT_GROUP, ActRounding, Ctx, Isa, IsaLevel, mat::MatRef};
use group::{Array, Group};
use std::sync::Mutex;

/// Tokens from which on rounding them is worth waking the workers.
const ROWS_WORTH_SHARING: usize = 8;

/// Most activations that share a scale, where not a whole token does.
pub(crate) const LONGEST_SPAN: usize = 256;

/// Activations in 8 bits: `x[m, k] ≈ q[m, k] · d[m, k / span]`, K padded with zeros to a multiple of 32. With two terms,
/// row `M + m` holds what row `m` leaves of token `m`.
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
            IsaLevel::Avx512 => return unsafe { avx512(x, how, first, second) },
            // SAFETY: as above.
            IsaLevel::Avx2 => return unsafe { avx2(x, how, first, second) },
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

impl Scale {
    /// Gives the largest magnitude the code `highest`.
    #[inline(always)]
    fn of(max: f32, highest: f32) -> Self {
        Self { inverse: if max > 0.0 { highest / max } else { 0.0 }, step: max / highest }
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
    let How { rounding, span } = how;
    let highest = f32::from(rounding.highest());
    // SAFETY: passed on.
    let of_token = if rounding.by_token() { unsafe { max_abs::<G>(x) } } else { 0.0 };
    let mut of_256 = 0.0;
    for g in 0..first.d.len() {
        let start = g * span;
        let values = &x[start..(start + span).min(x.len())];
        if rounding == ActRounding::Gguf256 && start.is_multiple_of(256) {
            // SAFETY: passed on.
            of_256 = unsafe { max_abs::<G>(&x[start..(start + 256).min(x.len())]) };
        }
        let max = if rounding == ActRounding::Gguf256 {
            of_256
        } else if rounding.by_token() {
            of_token
        } else {
            // SAFETY: passed on.
            unsafe { max_abs::<G>(values) }
        };
        let scale = Scale::of(max, highest);
        // SAFETY: passed on.
        unsafe { write::<G>(values, None, scale, (how, g), &mut first) };
        if let Some(second) = &mut second {
            let mut most = 0;
            for values in values.chunks(ACT_GROUP) {
                // Made again when it is written: in registers that is less than from memory.
                // SAFETY: passed on.
                most = most.max(unsafe { group::<G>(values, Some(scale)).max_bits() });
            }
            let of_rest = Scale::of(f32::from_bits(most), highest);
            // SAFETY: passed on.
            unsafe { write::<G>(values, Some(scale), of_rest, (how, g), second) };
        }
    }
}

/// Writes codes, scale and sums of span `g`, or of what the first term leaves of it.
///
/// # Safety
/// The instructions of `G` exist.
#[inline(always)]
unsafe fn write<G: Group>(
    values: &[f32],
    first: Option<Scale>,
    scale: Scale,
    (how, g): (How, usize),
    out: &mut RowOut<'_>,
) {
    let How { rounding, span } = how;
    let codes = &mut out.q[g * span..];
    let mut total = 0;
    for (i, (q, values)) in codes.as_chunks_mut().0.iter_mut().zip(values.chunks(ACT_GROUP)).enumerate() {
        // SAFETY: passed on.
        let halves = unsafe { group::<G>(values, first).round(scale.inverse, q) };
        total += halves[0] + halves[1];
        let at = 2 * (g + i);
        if let Some(half_sums) = out.half_sums.get_mut(at..at + 2) {
            for (h, half) in halves.into_iter().enumerate() {
                half_sums[h] = stored(scale.step * half as f32, rounding);
                out.half_bias[at + h] = -128 * half;
            }
        }
    }
    out.d[g] = stored(scale.step, rounding);
    out.sums[g] = stored(scale.step * total as f32, rounding);
    out.bias[g] = -128 * total;
}

/// Up to 32 activations, or what the first term leaves of them, and zeros.
///
/// # Safety
/// The instructions of `G` exist.
#[inline(always)]
unsafe fn group<G: Group>(values: &[f32], first: Option<Scale>) -> G {
    // SAFETY: passed on.
    unsafe {
        let group = G::load(&filled(values));
        match first {
            None => group,
            Some(first) => group.rest(first.inverse, first.step),
        }
    }
}

/// The largest magnitude.
///
/// # Safety
/// The instructions of `G` exist.
#[inline(always)]
unsafe fn max_abs<G: Group>(x: &[f32]) -> f32 {
    let mut most = 0;
    for values in x.chunks(ACT_GROUP) {
        // SAFETY: passed on.
        most = most.max(unsafe { G::load(&filled(values)).max_bits() });
    }
    f32::from_bits(most)
}

/// Up to 32 activations and zeros.
#[inline(always)]
fn filled(x: &[f32]) -> [f32; ACT_GROUP] {
    match x.first_chunk() {
        Some(whole) => *whole,
        None => {
            let mut group = [0f32; ACT_GROUP];
            group[..x.len()].copy_from_slice(x);
            group
        }
    }
}

/// What is stored of a scale or a sum.
#[inline(always)]
fn stored(x: f32, rounding: ActRounding) -> f32 {
    if rounding == ActRounding::Gguf32 { half::f16::from_f32(x).to_f32() } else { x }
}
