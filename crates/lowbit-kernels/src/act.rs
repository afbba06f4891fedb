//! Activations as kernels read them: one matrix, and its 8-bit form made once however many weights read it.

use crate::{
    Ctx,
    isa::multiversion,
    lut::{Form, Key, TableActs, layout::Layout},
    mat::MatRef,
};
use std::sync::{Arc, Mutex, OnceLock};

/// Activations that share a scale in the 8-bit form; also the most weights that share one in the integer kernels.
pub const ACT_GROUP: usize = 32;

/// Tokens from which on rounding them is worth waking the workers.
const ROWS_WORTH_SHARING: usize = 8;

/// How activations are rounded to 8 bits before an integer product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActRounding {
    /// A scale for every 32 activations of a token.
    Group32,
    /// As `Group32`, then what that leaves is rounded once more, with scales of its own: 15 bits in two terms of 8, for
    /// twice the arithmetic and no more bytes of weights.
    Group32Twice,
    /// A scale and a sum in half precision for every 32 activations, as llama.cpp has them for formats with blocks shorter
    /// than 256.
    Gguf32,
    /// A scale for every 256 activations, as llama.cpp has it for formats with blocks of 256.
    Gguf256,
    /// One scale a token: what BitNet models are trained with.
    Token,
}

impl ActRounding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Group32, Self::Group32Twice, Self::Gguf32, Self::Gguf256, Self::Token];

    /// The name as [`Self::label`] gives it, `None` where it gives no such.
    pub fn known_label(name: &str) -> Option<&'static str> {
        [Self::label(None)]
            .into_iter()
            .chain(Self::ALL.map(|rounding| Self::label(Some(rounding))))
            .find(|label| *label == name)
    }

    /// Name of a rounding, or of none, in records.
    pub const fn label(rounding: Option<Self>) -> &'static str {
        match rounding {
            None => "float",
            Some(Self::Group32) => "int8-g32",
            Some(Self::Group32Twice) => "int8-g32-twice",
            Some(Self::Gguf32) => "gguf-g32",
            Some(Self::Gguf256) => "gguf-g256",
            Some(Self::Token) => "int8-token",
        }
    }

    /// How many 8-bit terms add up to an activation.
    pub fn terms(self) -> usize {
        match self {
            Self::Group32 | Self::Gguf32 | Self::Gguf256 | Self::Token => 1,
            Self::Group32Twice => 2,
        }
    }
}

/// One activation matrix `x[M, K]` and what was made from it. q, k and v (and gate and up) share one.
pub struct Act<'a> {
    x: MatRef<'a>,
    group32: OnceLock<Int8Acts>,
    group32_twice: OnceLock<Int8Acts>,
    gguf32: OnceLock<Int8Acts>,
    gguf256: OnceLock<Int8Acts>,
    token: OnceLock<Int8Acts>,
    tables: Mutex<Vec<Arc<TableActs>>>,
}

impl<'a> Act<'a> {
    /// Wraps a matrix of M tokens by K features.
    pub fn new(x: MatRef<'a>) -> Self {
        Self {
            x,
            group32: OnceLock::new(),
            group32_twice: OnceLock::new(),
            gguf32: OnceLock::new(),
            gguf256: OnceLock::new(),
            token: OnceLock::new(),
            tables: Mutex::new(Vec::new()),
        }
    }

    /// The form for look-up, or for expanded codes, with a layout; made on first use.
    pub(crate) fn tables(&self, ctx: &Ctx, layout: &Layout, form: Form) -> Arc<TableActs> {
        let key = Key::new(layout, form);
        let mut made = self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = made.iter().find(|acts| acts.key() == key) {
            return found.clone();
        }
        let acts = Arc::new(TableActs::new(ctx, self.x, layout, form));
        made.push(acts.clone());
        acts
    }

    /// The activations themselves.
    pub fn x(&self) -> MatRef<'a> {
        self.x
    }

    /// The 8-bit form, made on first use.
    pub fn int8(&self, ctx: &Ctx, rounding: ActRounding) -> &Int8Acts {
        let slot = match rounding {
            ActRounding::Group32 => &self.group32,
            ActRounding::Group32Twice => &self.group32_twice,
            ActRounding::Gguf32 => &self.gguf32,
            ActRounding::Gguf256 => &self.gguf256,
            ActRounding::Token => &self.token,
        };
        slot.get_or_init(|| Int8Acts::new(ctx, self.x, rounding))
    }
}

/// Activations in 8 bits: `x[m, k] ≈ q[m, k] · d[m, k / 32]`, K padded with zeros to a multiple of 32. With two terms,
/// row `M + m` holds what row `m` leaves of token `m`.
pub struct Int8Acts {
    tokens: usize,
    rows: usize,
    /// K rounded up to whole groups.
    k: usize,
    q: Vec<i8>,
    d: Vec<f32>,
    /// `d · Σq` over each half group of 16 and over each group of 32: what offsets of weights multiply with.
    sums16: Vec<f32>,
    sums32: Vec<f32>,
    /// `−128 · Σq`, likewise: where an unsigned kernel starts its integer sum to take a bias of 128 back.
    bias16: Vec<i32>,
    bias32: Vec<i32>,
}

impl Int8Acts {
    /// Rounds every row: `d = max|x| / 127`, `q = round(x / d)`, halves to even; a group of zeros has `d = 0`. Scales
    /// and sums in half precision are rounded after the codes.
    pub fn new(ctx: &Ctx, x: MatRef<'_>, rounding: ActRounding) -> Self {
        let tokens = x.rows();
        let rows = tokens * rounding.terms();
        let k = x.cols().next_multiple_of(ACT_GROUP);
        let groups = k / ACT_GROUP;
        let mut acts = Self {
            tokens,
            rows,
            k,
            q: vec![0; rows * k],
            d: vec![0.0; rows * groups],
            sums16: vec![0.0; rows * groups * 2],
            sums32: vec![0.0; rows * groups],
            bias16: vec![0; rows * groups * 2],
            bias32: vec![0; rows * groups],
        };
        let outs = acts
            .q
            .chunks_exact_mut(k.max(1))
            .zip(acts.d.chunks_exact_mut(groups.max(1)))
            .zip(
                acts.sums16
                    .chunks_exact_mut((2 * groups).max(1))
                    .zip(acts.sums32.chunks_exact_mut(groups.max(1))),
            )
            .zip(
                acts.bias16
                    .chunks_exact_mut((2 * groups).max(1))
                    .zip(acts.bias32.chunks_exact_mut(groups.max(1))),
            )
            .map(|(((q, d), (sums16, sums32)), (bias16, bias32))| RowOut {
                q,
                d,
                sums16,
                sums32,
                bias16,
                bias32,
            })
            .enumerate();
        if rows < ROWS_WORTH_SHARING {
            outs.for_each(|(m, out)| quantize(ctx.isa(), x.row(m % tokens), rounding, term(m, tokens), out));
        } else {
            let outs = Mutex::new(outs);
            let next = || outs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            ctx.run(rows, |_, _| {
                if let Some((m, out)) = next() {
                    quantize(ctx.isa(), x.row(m % tokens), rounding, term(m, tokens), out);
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

    /// Codes of row `m`.
    #[inline(always)]
    pub fn q(&self, m: usize) -> &[i8] {
        &self.q[m * self.k..][..self.k]
    }

    /// Scales of row `m`, one for 32 features.
    #[inline(always)]
    pub fn d(&self, m: usize) -> &[f32] {
        let groups = self.k / ACT_GROUP;
        &self.d[m * groups..][..groups]
    }

    /// `d · Σq` of row `m` over runs of `group` features, 16 or 32.
    #[inline(always)]
    pub fn sums(&self, m: usize, group: usize) -> &[f32] {
        let groups = self.k / group;
        if group == 16 { &self.sums16[m * groups..][..groups] } else { &self.sums32[m * groups..][..groups] }
    }

    /// `−128 · Σq` of row `m` over runs of `group` features, 16 or 32.
    #[inline(always)]
    pub fn bias(&self, m: usize, group: usize) -> &[i32] {
        let groups = self.k / group;
        if group == 16 { &self.bias16[m * groups..][..groups] } else { &self.bias32[m * groups..][..groups] }
    }
}

struct RowOut<'a> {
    q: &'a mut [i8],
    d: &'a mut [f32],
    sums16: &'a mut [f32],
    sums32: &'a mut [f32],
    bias16: &'a mut [i32],
    bias32: &'a mut [i32],
}

multiversion! {
    fn quantize(x: &[f32], rounding: ActRounding, term: Term, out: RowOut<'_>) = quantize_row;
}

/// Which term of the activations a row of codes is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Term {
    First,
    Second,
}

fn term(row: usize, tokens: usize) -> Term {
    if row < tokens { Term::First } else { Term::Second }
}

#[inline(always)]
fn quantize_row(x: &[f32], rounding: ActRounding, term: Term, out: RowOut<'_>) {
    let whole = match rounding {
        ActRounding::Token => Some(max_abs(x)),
        _ => None,
    };
    let mut of_256 = 0.0;
    for (g, q) in out.q.chunks_exact_mut(ACT_GROUP).enumerate() {
        let mut group = [0f32; ACT_GROUP];
        let start = g * ACT_GROUP;
        let have = (x.len() - start).min(ACT_GROUP);
        match x[start..].first_chunk() {
            Some(whole) => group = *whole,
            None => group[..have].copy_from_slice(&x[start..]),
        }
        if term == Term::Second {
            let (first, d) = round_group(&group, max_abs(&group));
            for (x, q) in group.iter_mut().zip(&first) {
                *x -= *q as f32 * d;
            }
        }
        if rounding == ActRounding::Gguf256 && start.is_multiple_of(256) {
            of_256 = max_abs(&x[start..(start + 256).min(x.len())]);
        }
        let max = match rounding {
            ActRounding::Gguf256 => of_256,
            _ => whole.unwrap_or_else(|| max_abs(&group)),
        };
        let (codes, exact) = round_group(&group, max);
        q.copy_from_slice(&codes.map(|code| code as i8));
        let halves = [sum(&codes[..16]), sum(&codes[16..])];
        out.d[g] = stored(exact, rounding);
        for (h, half) in halves.into_iter().enumerate() {
            out.sums16[2 * g + h] = stored(exact * half as f32, rounding);
            out.bias16[2 * g + h] = -128 * half;
        }
        out.sums32[g] = stored(exact * (halves[0] + halves[1]) as f32, rounding);
        out.bias32[g] = -128 * (halves[0] + halves[1]);
    }
}

/// What is stored of a scale or a sum.
#[inline(always)]
fn stored(x: f32, rounding: ActRounding) -> f32 {
    if rounding == ActRounding::Gguf32 { half::f16::from_f32(x).to_f32() } else { x }
}

/// Rounds a group of which `max` is the largest magnitude: codes and their scale. A NaN has code 0.
#[inline(always)]
fn round_group(group: &[f32; ACT_GROUP], max: f32) -> ([i32; ACT_GROUP], f32) {
    let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
    let mut codes = [0; ACT_GROUP];
    for (code, x) in codes.iter_mut().zip(group) {
        *code = i32::from(whole_bits(x * inverse) as i8);
    }
    (codes, max / 127.0)
}

/// The nearest whole number, halves to even, in the low bits.
#[inline(always)]
pub(crate) fn whole_bits(x: f32) -> u32 {
    // Adding 1.5 · 2^23 leaves no place for digits after the point.
    (x + 12_582_912.0).to_bits()
}

/// As whole numbers, magnitudes have the order they have as floats, and their maximum needs none of its steps in order.
#[inline(always)]
fn max_abs(x: &[f32]) -> f32 {
    f32::from_bits(x.iter().map(|x| x.abs().to_bits()).fold(0, u32::max))
}

#[inline(always)]
fn sum(codes: &[i32]) -> i32 {
    codes.iter().sum()
}
