//! Measuring candidates: in rounds, one after the other, so that what disturbs the machine disturbs all of them.

use super::{Planner, Query, Timing, TokenBucket};
use crate::{
    Act, ActRounding, Ctx, MatMut, MatRef,
    arranged::Arrangement,
    list::{KernelCard, WeightLayout},
};
use lowbit_format::QuantTensor;
use std::time::{Duration, Instant};

/// Rounds in which candidates are measured; the minimum of all is kept.
const ROUNDS: usize = 4;

/// Rounds after which candidates are dropped, if they are slower than the best by this factor.
const TRIAL: (usize, f64) = (2, 1.25);

/// How long a candidate runs in a round, for at least three products.
const ROUND: Duration = Duration::from_millis(4);

/// Bytes of copies of a weight that a measurement goes through in turn: in a model it is not in the cache when it is needed.
const COLD: usize = 64 << 20;

/// A weight in every layout that it can have, to be measured.
pub struct Subject<'a> {
    weight: &'a QuantTensor,
    rounding: Option<ActRounding>,
    layouts: Vec<(WeightLayout, Vec<Arrangement>)>,
    x: Vec<f32>,
}

impl<'a> Subject<'a> {
    /// Arranges copies of a weight on the workers of `ctx`, as many as are larger than a cache; layouts that no kernel of its
    /// instructions reads are left out, and so are those that find no memory.
    pub fn new(ctx: &Ctx, weight: &'a QuantTensor, rounding: Option<ActRounding>) -> Self {
        let mut subject = Self { weight, rounding, layouts: Vec::new(), x: Vec::new() };
        let spec = weight.spec();
        let q = subject.query(&spec, ctx, TokenBucket::One);
        let candidates = Planner::new().explain(&q).candidates;
        for layout in WeightLayout::ALL {
            if candidates.iter().any(|candidate| candidate.card.layout == layout) {
                let copies = copies(ctx, weight, layout);
                if !copies.is_empty() {
                    subject.layouts.push((layout, copies));
                }
            }
        }
        let most = TokenBucket::More.typical() * weight.shape().k;
        // Any numbers will do that are neither all equal nor tiny.
        subject.x = (0..most).map(|i| ((i * 7919) % 1021) as f32 / 510.0 - 1.0).collect();
        subject
    }

    /// The query that [`Self::measure`] answers.
    pub fn query<'q>(
        &self,
        spec: &'q lowbit_format::WeightSpec,
        ctx: &Ctx,
        tokens: TokenBucket,
    ) -> Query<'q> {
        Query {
            spec,
            shape: self.weight.shape(),
            tokens,
            rounding: self.rounding,
            isa: ctx.isa().level(),
            threads: ctx.threads(),
        }
    }

    /// The best time of every candidate for a number of tokens on the workers of `ctx`; `None` where `stop` said so before
    /// there were times to choose by.
    ///
    /// Each product starts from activations as floats, so making tables or rounding them is counted.
    pub fn measure(&self, ctx: &Ctx, tokens: TokenBucket, stop: &dyn Fn() -> bool) -> Option<Vec<Timing>> {
        let spec = self.weight.spec();
        let mut entrants: Vec<Entrant<'_>> = Planner::new()
            .explain(&self.query(&spec, ctx, tokens))
            .candidates
            .iter()
            .filter_map(|candidate| {
                let (_, copies) = self.layouts.iter().find(|(layout, _)| *layout == candidate.card.layout)?;
                Some(Entrant { card: candidate.card, copies, next: 0, best: f64::INFINITY, running: true })
            })
            .collect();
        let m = tokens.typical();
        let x = MatRef::new(&self.x[..m * self.weight.shape().k], m, self.weight.shape().k);
        let mut out = vec![0.0; m * self.weight.shape().n];
        for round in 0..ROUNDS {
            for entrant in entrants.iter_mut().filter(|entrant| entrant.running) {
                if stop() {
                    return None;
                }
                entrant.run(ctx, x, self.rounding, &mut out);
            }
            if round + 1 == TRIAL.0 {
                let best = entrants.iter().map(|entrant| entrant.best).fold(f64::INFINITY, f64::min);
                for entrant in &mut entrants {
                    entrant.running = entrant.best <= best * TRIAL.1;
                }
            }
        }
        Some(entrants.iter().map(|entrant| Timing { card: entrant.card, seconds: entrant.best }).collect())
    }
}

/// As many copies as are larger than a cache together, at least one; fewer, or none, where there is no memory.
fn copies(ctx: &Ctx, weight: &QuantTensor, layout: WeightLayout) -> Vec<Arrangement> {
    let count = match layout {
        // What is mapped from a file is read where it is.
        WeightLayout::Stored => 1,
        _ => COLD.div_ceil(weight.bytes().max(1)).clamp(1, 256),
    };
    (0..count).map_while(|_| Arrangement::new(ctx, weight, layout)).collect()
}

/// A candidate that is being measured.
struct Entrant<'a> {
    card: &'static KernelCard,
    copies: &'a [Arrangement],
    next: usize,
    best: f64,
    running: bool,
}

impl Entrant<'_> {
    fn run(&mut self, ctx: &Ctx, x: MatRef<'_>, rounding: Option<ActRounding>, out: &mut [f32]) {
        let (start, mut products) = (Instant::now(), 0);
        let n = out.len() / x.rows();
        while products < 3 || start.elapsed() < ROUND {
            let weight = &self.copies[self.next % self.copies.len()];
            let one = Instant::now();
            weight.multiply(ctx, &Act::new(x), (self.card.method, rounding), MatMut::new(out, x.rows(), n));
            self.best = self.best.min(one.elapsed().as_secs_f64());
            self.next += 1;
            products += 1;
        }
    }
}
