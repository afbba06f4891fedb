//! The feed-forward part of a block: one gated layer, or some of many for each token.

use crate::{
    build::{FfnWeights, Linear, Mlp},
    input::Inputs,
    linear::product,
    profile::{Laps, Part},
    rows::share_rows,
    spec::ExpertWeights,
};
use lowbit_kernels::{
    Ctx, MatMut, MatRef,
    ops::{self, Activation},
};

/// Working memory.
#[derive(Default)]
pub(crate) struct FfnWork {
    gate: Vec<f32>,
    up: Vec<f32>,
    routing: Vec<f32>,
    chosen: Vec<(u32, u32, f32)>,
    gathered: Vec<f32>,
    result: Vec<f32>,
}

impl FfnWeights {
    /// `out = ffn(x)`, both of `tokens` rows.
    pub(crate) fn forward(
        &self,
        ctx: &Ctx,
        (activation, eps): (Activation, f32),
        tokens: usize,
        x: &[f32],
        work: &mut FfnWork,
        out: &mut [f32],
        laps: &mut Laps,
    ) {
        match self {
            Self::Dense(mlp) => mlp.forward(ctx, (activation, eps), tokens, x, work, out, laps),
            Self::Experts { router, experts, used, weights } => {
                choose(ctx, router, experts.len(), *used, *weights, tokens, x, work);
                laps.lap(Part::Router);
                mixture(ctx, experts, (activation, eps), x, work, out, laps);
            }
        }
    }
}

impl Mlp {
    fn forward(
        &self,
        ctx: &Ctx,
        (activation, eps): (Activation, f32),
        tokens: usize,
        x: &[f32],
        work: &mut FfnWork,
        out: &mut [f32],
        laps: &mut Laps,
    ) {
        let inner = self.gate.shape().n;
        let (gate, up) = (sized(&mut work.gate, tokens * inner), sized(&mut work.up, tokens * inner));
        let x = MatRef::new(x, tokens, x.len() / tokens);
        let x = Inputs::new(ctx, x, [&*self.gate, &*self.up]);
        let x = x.acts(laps);
        product(ctx, &*self.gate, x.of(0), MatMut::new(gate, tokens, inner), (laps, Part::GateUp));
        product(ctx, &*self.up, x.of(1), MatMut::new(up, tokens, inner), (laps, Part::GateUp));
        let between = match &self.sub {
            None => {
                share_rows(ctx, gate, inner, |m, gate, _| {
                    ops::gate(ctx.isa(), activation, gate, &up[m * inner..][..inner]);
                });
                gate
            }
            Some(gain) => {
                share_rows(ctx, gate, inner, |m, gate, _| {
                    ops::gate(ctx.isa(), activation, gate, &up[m * inner..][..inner]);
                });
                share_rows(ctx, up, inner, |m, up, _| {
                    ops::rms_norm(ctx.isa(), &gate[m * inner..][..inner], gain, eps, up);
                });
                up
            }
        };
        laps.lap(Part::Gate);
        let between = Inputs::new(ctx, MatRef::new(between, tokens, inner), [&*self.down]);
        let width = out.len() / tokens;
        let out = MatMut::new(out, tokens, width);
        product(ctx, &*self.down, between.acts(laps).of(0), out, (laps, Part::Down));
    }
}

/// Fills `work.chosen` with (expert, token, weight), sorted.
fn choose(
    ctx: &Ctx,
    router: &Linear,
    experts: usize,
    used: usize,
    weights: ExpertWeights,
    tokens: usize,
    x: &[f32],
    work: &mut FfnWork,
) {
    let routing = sized(&mut work.routing, tokens * experts);
    let x = Inputs::new(ctx, MatRef::new(x, tokens, x.len() / tokens), [&**router]);
    let routed = MatMut::new(routing, tokens, experts);
    router.forward(ctx, x.acts(&mut Laps::start(None)).of(0), routed);
    work.chosen.clear();
    let mut order: Vec<u32> = Vec::with_capacity(experts);
    for (token, row) in routing.chunks_exact_mut(experts).enumerate() {
        ops::softmax(ctx.isa(), row);
        order.clear();
        order.extend(0..experts as u32);
        // The lower number wins a tie.
        order.sort_unstable_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b)));
        let best = &order[..used];
        let sum = match weights {
            ExpertWeights::Normalized => best.iter().map(|expert| row[*expert as usize]).sum(),
            ExpertWeights::AsRouted => 1.0,
        };
        work.chosen.extend(best.iter().map(|e| (*e, token as u32, row[*e as usize] / sum)));
    }
    work.chosen.sort_unstable_by_key(|(expert, token, _)| (*expert, *token));
}

/// Runs every chosen expert once, on all tokens that chose it.
fn mixture(
    ctx: &Ctx,
    experts: &[Mlp],
    settings: (Activation, f32),
    x: &[f32],
    work: &mut FfnWork,
    out: &mut [f32],
    laps: &mut Laps,
) {
    out.fill(0.0);
    let chosen = std::mem::take(&mut work.chosen);
    let mut gathered = std::mem::take(&mut work.gathered);
    let mut result = std::mem::take(&mut work.result);
    for same in chosen.chunk_by(|a, b| a.0 == b.0) {
        let expert = &experts[same[0].0 as usize];
        let hidden = expert.down.shape().n;
        let row = |token: u32| token as usize * hidden..(token as usize + 1) * hidden;
        gathered.clear();
        same.iter().for_each(|(_, token, _)| gathered.extend_from_slice(&x[row(*token)]));
        let result = sized(&mut result, same.len() * hidden);
        expert.forward(ctx, settings, same.len(), &gathered, work, result, laps);
        for ((_, token, weight), result) in same.iter().zip(result.chunks_exact_mut(hidden)) {
            ops::scale(ctx.isa(), result, *weight);
            ops::add(ctx.isa(), &mut out[row(*token)], result);
        }
    }
    (work.chosen, work.gathered, work.result) = (chosen, gathered, result);
}

/// The first `len` elements, whatever they were; grows where there are fewer.
pub(crate) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
