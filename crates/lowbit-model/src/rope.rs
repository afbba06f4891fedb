//! Rotary position embedding: frequencies with their scaling kinds, and the angles of a batch.
//!
//! Pair `i` of a head at position `p` is turned by `p · f[i]` with `f[i] = base^(−2i / dims)`, changed by the scaling.
//! Cosine and sine are multiplied with an *attention factor* (YaRN and longrope), on queries and on keys.
//!
//! Two kinds depend on the length of the sequence. The reference implementation rotates new tokens by the current length
//! and leaves cached keys as they are, so its answers depend on how a prompt was cut. Here the length is the capacity
//! the cache was opened with: the same tokens in the same cache give the same logits, however they arrive.

use lowbit_kernels::{Ctx, ops};
use std::f64::consts::TAU;

/// One rotary embedding of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Base of the frequencies (theta).
    pub base: f64,
    /// Leading elements of a head that rotate; even.
    pub dims: usize,
    /// What is done for contexts longer than the training's.
    pub scaling: RopeScaling,
}

/// How frequencies are changed for contexts longer than the training's.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by the factor: position interpolation.
    Linear { factor: f64 },
    /// A larger base where the sequence is longer than `trained`: NTK-aware.
    Dynamic { factor: f64, trained: usize },
    /// Llama 3.1: long waves divided, short ones kept, a ramp between.
    Llama3 { factor: f64, low: f64, high: f64, trained: usize },
    /// YaRN: a ramp between divided and kept by the number of turns within `trained`.
    Yarn {
        factor: f64,
        trained: usize,
        beta_fast: f64,
        beta_slow: f64,
        truncate: bool,
        attention_factor: f64,
    },
    /// Phi-3: a divisor for each pair, one list up to `trained` and another beyond. Empty lists are read from the
    /// checkpoint's tensors.
    LongRope { short: Vec<f32>, long: Vec<f32>, trained: usize, attention_factor: f64 },
}

/// Frequencies for one length of cache.
#[derive(Clone, Debug)]
pub(crate) struct RopeTable {
    frequencies: Vec<f32>,
    attention_factor: f32,
}

impl RopeTable {
    /// Frequencies of `spec` in a cache of `capacity` tokens; each divided by its divisor where there are any.
    pub(crate) fn new(spec: &RopeSpec, divisors: Option<&[f32]>, capacity: usize) -> Self {
        let half = spec.dims / 2;
        let d = spec.dims as f64;
        let plain = |base: f64| (0..half).map(move |i| base.powf(-2.0 * i as f64 / d));
        let mut attention_factor = 1.0;
        let mut frequencies: Vec<f64> = match &spec.scaling {
            RopeScaling::None => plain(spec.base).collect(),
            RopeScaling::Linear { factor } => plain(spec.base).map(|f| f / factor).collect(),
            RopeScaling::Dynamic { factor, trained } => {
                let trained = *trained as f64;
                let length = (capacity as f64).max(trained);
                let growth = (factor * length / trained - (factor - 1.0)).powf(d / (d - 2.0));
                plain(spec.base * growth).collect()
            }
            RopeScaling::Llama3 { factor, low, high, trained } => {
                let scaled = |f: f64| {
                    let turns = *trained as f64 * f / TAU;
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    f * keep + f / factor * (1.0 - keep)
                };
                plain(spec.base).map(scaled).collect()
            }
            RopeScaling::Yarn { factor, trained, beta_fast, beta_slow, truncate, attention_factor: a } => {
                attention_factor = *a;
                let dim_of = |turns: f64| d * (*trained as f64 / (turns * TAU)).ln() / (2.0 * spec.base.ln());
                let (low, high) = (dim_of(*beta_fast), dim_of(*beta_slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, mut high) = (low.max(0.0), high.min(d - 1.0));
                if low == high {
                    high += 0.001;
                }
                let ramp = |i: usize| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain(spec.base)
                    .enumerate()
                    .map(|(i, f)| f / factor * ramp(i) + f * (1.0 - ramp(i)))
                    .collect()
            }
            RopeScaling::LongRope { short, long, trained, attention_factor: a } => {
                attention_factor = *a;
                let list = if capacity > *trained { long } else { short };
                plain(spec.base).zip(list).map(|(f, divisor)| f / f64::from(*divisor)).collect()
            }
        };
        if let Some(divisors) = divisors {
            for (f, divisor) in frequencies.iter_mut().zip(divisors) {
                *f /= f64::from(*divisor);
            }
        }
        let frequencies = frequencies.into_iter().map(|f| f as f32).collect();
        Self { frequencies, attention_factor: attention_factor as f32 }
    }

    /// Pairs that rotate.
    pub(crate) fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Cosines, then sines of every pair at `position`; `out` has twice as many elements as there are pairs.
    pub(crate) fn angles(&self, position: usize, out: &mut [f32]) {
        let (cos, sin) = out.split_at_mut(self.pairs());
        for (i, f) in self.frequencies.iter().enumerate() {
            let (s, c) = (position as f32 * f).sin_cos();
            cos[i] = c * self.attention_factor;
            sin[i] = s * self.attention_factor;
        }
    }
}

/// What happens to each head of queries and keys before they meet: a norm by head, and rotation.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) gain: Option<&'a [f32]>,
    pub(crate) eps: f32,
    pub(crate) pairs: ops::RopePairs,
    /// Pairs that rotate and the angles of every token of the batch, as [`RopeTable::angles`] writes them.
    pub(crate) angles: Option<(usize, &'a [f32])>,
}

impl Turn<'_> {
    /// Prepares the heads of the batch's token `token` in place; `spare` is as long as one of them.
    pub(crate) fn heads(&self, ctx: &Ctx, token: usize, heads: &mut [f32], spare: &mut [f32]) {
        for head in heads.chunks_exact_mut(spare.len()) {
            if let Some(gain) = self.gain {
                ops::rms_norm(ctx.isa(), head, gain, self.eps, spare);
                head.copy_from_slice(spare);
            }
            if let Some((pairs, angles)) = self.angles {
                let (cos, sin) = angles[token * 2 * pairs..][..2 * pairs].split_at(pairs);
                ops::rope(ctx.isa(), self.pairs, head, cos, sin);
            }
        }
    }
}
