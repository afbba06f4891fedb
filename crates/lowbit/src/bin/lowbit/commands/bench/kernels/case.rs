//! One weight matrix as it is measured: arranged as a model's would be, in several copies where it is to come from memory.

use crate::{energy::Meter, options::Activations};
use anyhow::Result;
use lowbit::{Ctx, Planner, WeightSpec, synth::random_tensor};
use lowbit_format::{NK, QuantTensor};
use lowbit_kernels::{Act, Arranged, MatMut, MatRef, reference};
use std::time::{Duration, Instant};

/// How long a product is repeated in a round.
const ROUND: Duration = Duration::from_millis(20);

/// Rows of weights that are compared with exact products.
const ROWS: usize = 16;

/// Tokens that are.
const TOKENS: usize = 4;

/// A weight matrix in the layout that it is multiplied in.
pub(super) struct Weights {
    pub(super) spec: WeightSpec,
    pub(super) shape: NK,
    pub(super) activations: Activations,
    copies: Vec<Arranged>,
    /// The first rows as they are stored.
    sample: QuantTensor,
}

impl Weights {
    /// Random weights as they are planned for some activations, and as many copies of them as exceed `cold` bytes.
    pub(super) fn new(
        ctx: &Ctx,
        (spec, shape): (&WeightSpec, NK),
        activations: Activations,
        cold: u64,
    ) -> Result<Self> {
        let rounding = activations.precision().rounding(spec);
        let made = |seed| -> Result<(Arranged, QuantTensor)> {
            let tensor = random_tensor(spec, shape, seed)?;
            Ok((Arranged::new(ctx, &tensor, &Planner::new(), rounding), tensor))
        };
        let (first, tensor) = made(0)?;
        let sample = tensor.rows(0..ROWS.min(shape.n));
        drop(tensor);
        let count = copies(first.bytes(), cold) as u64;
        let more = (1..count).map(|seed| Ok(made(seed)?.0));
        let copies = std::iter::once(Ok(first)).chain(more).collect::<Result<_>>()?;
        Ok(Self { spec: spec.clone(), shape, activations, copies, sample })
    }

    /// Bytes that a product reads.
    pub(super) fn bytes(&self) -> usize {
        self.copies[0].bytes()
    }

    /// The kernel that multiplies so many tokens.
    pub(super) fn kernel(&self, tokens: usize) -> &'static str {
        self.copies[0].plan().kernel(tokens).name
    }
}

/// How many matrices of so many bytes are more than `cold` bytes.
fn copies(bytes: usize, cold: u64) -> usize {
    1 + (cold / bytes.max(1) as u64) as usize
}

/// Some tokens times a weight matrix, and how long that took.
pub(super) struct Case<'a> {
    pub(super) weights: &'a Weights,
    pub(super) tokens: usize,
    x: Vec<f32>,
    out: Vec<f32>,
    /// Copy that is next.
    next: usize,
    /// Microseconds of every product.
    pub(super) times: Vec<f64>,
    /// Energy of all products, those that were not timed included.
    joules: f64,
    products: usize,
}

impl<'a> Case<'a> {
    pub(super) fn new(weights: &'a Weights, tokens: usize) -> Self {
        Self {
            weights,
            tokens,
            x: gaussian(tokens * weights.shape.k),
            out: vec![0.0; tokens * weights.shape.n],
            next: 0,
            times: Vec::new(),
            joules: 0.0,
            products: 0,
        }
    }

    /// Multiplies for a while. Where there is one copy only, the first product brings it into the caches.
    pub(super) fn round(&mut self, ctx: &Ctx, meter: Option<&Meter>) {
        let before = meter.map(Meter::read);
        let warm = self.weights.copies.len() == 1;
        let (mut spent, mut count) = (Duration::ZERO, 0);
        while spent < ROUND {
            let start = Instant::now();
            self.multiply(ctx);
            let time = start.elapsed();
            if count > 0 || !warm {
                self.times.push(time.as_secs_f64() * 1e6);
                spent += time;
            }
            count += 1;
        }
        if let (Some(meter), Some(before)) = (meter, before) {
            self.joules += meter.joules_since(&before);
            self.products += count;
        }
    }

    /// One product, with all that is made of the activations for it.
    fn multiply(&mut self, ctx: &Ctx) {
        let NK { n, k } = self.weights.shape;
        let x = Act::new(MatRef::new(&self.x, self.tokens, k));
        let out = MatMut::new(&mut self.out, self.tokens, n);
        let copies = &self.weights.copies;
        copies[self.next].multiply(ctx, &x, out);
        self.next = (self.next + 1) % copies.len();
    }

    /// What a product took, if energy was counted.
    pub(super) fn joules_per_product(&self) -> Option<f64> {
        (self.products > 0).then(|| self.joules / self.products as f64)
    }

    /// Squared error of some rows and tokens against exact products, over the sum of their squares.
    pub(super) fn nmse(&mut self, ctx: &Ctx) -> f64 {
        // The sample is of the first copy.
        self.next = 0;
        self.multiply(ctx);
        let Weights { shape, sample, .. } = self.weights;
        let tokens = self.tokens.min(TOKENS);
        let exact = reference::mpgemm_f64(sample, MatRef::new(&self.x[..tokens * shape.k], tokens, shape.k));
        let rows = sample.shape().n;
        let (mut error, mut size) = (0.0, 0.0);
        for (exact, out) in exact.chunks_exact(rows).zip(self.out.chunks_exact(shape.n)) {
            for (exact, out) in exact.iter().zip(out) {
                error += (f64::from(*out) - exact).powi(2);
                size += exact * exact;
            }
        }
        error / size
    }
}

/// Sums of twelve uniform numbers, from their index: close enough to activations.
fn gaussian(len: usize) -> Vec<f32> {
    let uniform = |i: u64| {
        let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z >> 40) as f32 / 16_777_216.0
    };
    (0..len as u64).map(|i| (12 * i..12 * i + 12).map(uniform).sum::<f32>() - 6.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit::Isa;

    #[test]
    fn copies_exceed_what_a_cache_holds() {
        assert_eq!((copies(100, 0), copies(100, 99), copies(100, 100), copies(100, 250)), (1, 1, 2, 3));
    }

    #[test]
    fn cases_of_every_layout_are_right_warm_and_cold() {
        let ctx = Ctx::new(Isa::detect(), 1);
        for label in ["int2-sym-g128", "ternary-row", "q4_0", "int8-sym-g32"] {
            for cold in [0, 50_000] {
                let spec = WeightSpec::parse(label).unwrap();
                let weights =
                    Weights::new(&ctx, (&spec, NK { n: 33, k: 256 }), Activations::Int16, cold).unwrap();
                assert!(
                    (weights.copies.len() * weights.bytes()) as u64 > cold
                        && (weights.copies.len() > 1) == (cold > 0)
                );
                let mut case = Case::new(&weights, 2);
                case.round(&ctx, None);
                assert!(!case.times.is_empty());
                let nmse = case.nmse(&ctx);
                assert!(nmse < 1e-6, "{label}: {nmse}");
            }
        }
    }
}
