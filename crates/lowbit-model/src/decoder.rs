//! The one decoder: interprets a [`ModelSpec`] over linear layers and a cache.

use crate::{
    LinearId, LinearOp, ModelError, ModelSpec, Stored, Weights,
    attention::Attention,
    build::{self, Block, FfnWeights, Mlp, Parts, Wrap},
    ffn::{FfnWork, sized},
    input::Inputs,
    kv::{Float, KvCache, KvElement, KvGeometry, KvStore},
    linear::product,
    profile::{Laps, Part},
    rope::{RopeTable, Turn},
    rows::share_rows,
    spec::QkNorm,
};
use lowbit_kernels::{ActPrecision, Ctx, MatMut, MatRef, ops};

/// A model ready to run.
pub struct Decoder {
    spec: ModelSpec,
    parts: Parts,
}

/// For which tokens of a batch logits are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// None: the batch only fills the cache.
    None,
    /// The last.
    Last,
    /// All.
    All,
    /// This one of the batch and all after it.
    From(usize),
}

/// Working memory of a sequence, grown to the largest batch.
#[derive(Default)]
pub(crate) struct Work {
    stream: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    added: Vec<f32>,
    angles: Vec<Vec<f32>>,
    parts: Vec<f32>,
    ffn: FfnWork,
}

impl Decoder {
    /// Puts the tensors of a checkpoint in their places. Quantized weights are multiplied with activations in
    /// `precision`, but for models that prescribe theirs (BitNet).
    ///
    /// # Errors
    /// Where a tensor is absent or its shape is not the one that the spec implies.
    pub fn build(
        spec: ModelSpec,
        weights: &dyn Weights,
        precision: ActPrecision,
    ) -> Result<Self, ModelError> {
        Self::build_with(spec, weights, precision, &|_, stored| Box::new(stored))
    }

    /// As [`Self::build`], every linear layer replaced by what `wrap` makes of it.
    ///
    /// # Errors
    /// As [`Self::build`].
    ///
    /// # Panics
    /// Where `wrap` changes a shape.
    pub fn build_with(
        mut spec: ModelSpec,
        weights: &dyn Weights,
        precision: ActPrecision,
        wrap: &dyn Fn(LinearId, Stored) -> Box<dyn LinearOp>,
    ) -> Result<Self, ModelError> {
        let same_shape = |id, stored: Stored| {
            let shape = stored.shape();
            let wrapped = wrap(id, stored);
            assert_eq!(wrapped.shape(), shape, "shape of {id:?}");
            wrapped
        };
        let wrap: Wrap<'_> = &same_shape;
        let parts = build::parts(&mut spec, weights, precision, wrap)?;
        Ok(Self { spec, parts })
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Bytes of weights read to decode one token: every matrix once, of experts as many as a token uses, of the token
    /// embeddings nothing but what the head shares with them.
    pub fn bytes_per_token(&self) -> usize {
        let mlp = |mlp: &Mlp| mlp.gate.bytes() + mlp.up.bytes() + mlp.down.bytes();
        let blocks = self.parts.blocks.iter().map(|block| {
            let attention = [&block.query, &block.key, &block.value, &block.output];
            let attention: usize = attention.iter().map(|linear| linear.bytes()).sum();
            attention
                + match &block.ffn {
                    FfnWeights::Dense(dense) => mlp(dense),
                    FfnWeights::Experts { router, experts, used, .. } => {
                        router.bytes() + experts.iter().take(*used).map(mlp).sum::<usize>()
                    }
                }
        });
        blocks.sum::<usize>() + self.parts.head.bytes()
    }

    /// An empty cache for `capacity` tokens. Memory is taken as tokens come.
    ///
    /// # Errors
    /// Where the capacity is 0 or more than the model's context.
    pub fn cache(&self, capacity: usize, element: KvElement) -> Result<KvCache, ModelError> {
        let spec = &self.spec;
        let open = || Box::new(Float::new(element, spec.kv_heads, spec.head_dim)) as Box<dyn KvStore>;
        self.cache_of(capacity, (0..spec.blocks.len()).map(|_| open()).collect())
    }

    /// An empty cache over given stores, one for each block.
    ///
    /// # Errors
    /// As [`Self::cache`], and where the number of stores is not that of blocks.
    pub fn cache_of(&self, capacity: usize, layers: Vec<Box<dyn KvStore>>) -> Result<KvCache, ModelError> {
        let limit = self.spec.longest();
        if capacity == 0 || capacity > limit {
            return Err(ModelError::Capacity { found: capacity, limit });
        }
        let ropes = self.spec.ropes.iter().zip(&self.parts.rope_divisors);
        let ropes = ropes.map(|(spec, divisors)| RopeTable::new(spec, divisors.as_deref(), capacity));
        KvCache::new(layers, self.geometry(), capacity, ropes.collect())
    }

    fn geometry(&self) -> KvGeometry {
        let spec = &self.spec;
        KvGeometry { layers: spec.blocks.len(), kv_heads: spec.kv_heads, head_dim: spec.head_dim }
    }

    /// Runs `tokens` at the positions after those in the cache and writes a row of logits for each wanted token to
    /// `out`, replacing what was there.
    ///
    /// # Errors
    /// Where a token is not in the vocabulary or the cache has no room; the cache is as before then.
    pub fn forward(
        &self,
        ctx: &Ctx,
        tokens: &[u32],
        cache: &mut KvCache,
        want: Logits,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let count = tokens.len();
        let from = match want {
            Logits::None => count,
            Logits::Last => count.saturating_sub(1),
            Logits::All => 0,
            Logits::From(from) if from <= count => from,
            Logits::From(from) => return Err(ModelError::LogitRows { from, tokens: count }),
        };
        let vocab = self.spec.vocab;
        if let Some(index) = tokens.iter().position(|id| *id as usize >= vocab) {
            return Err(ModelError::Token { index, id: tokens[index], vocab });
        }
        cache.check(self.geometry(), count)?;
        out.clear();
        if count == 0 {
            return Ok(());
        }

        let mut work = std::mem::take(&mut cache.work);
        let (mut laps, forks) = (Laps::start(cache.profile.take()), ctx.forks());
        self.embed(ctx, tokens, sized(&mut work.stream, count * self.spec.hidden));
        self.angles(ctx, count, cache, &mut work.angles);
        laps.lap(Part::Other);
        for (i, block) in self.parts.blocks.iter().enumerate() {
            // Of the last block, only wanted tokens are read by anyone.
            let first = if i + 1 == self.parts.blocks.len() { from } else { 0 };
            self.attend(ctx, i, block, (count, first), cache, &mut work, &mut laps);
            if first < count {
                self.feed_forward(ctx, block, (count, first), &mut work, &mut laps);
            }
        }
        if from < count {
            self.logits(ctx, (count, from), &mut work, out, &mut laps);
        }
        cache.work = work;
        cache.profile = laps.finish(count, ctx.forks() - forks);
        Ok(())
    }

    fn embed(&self, ctx: &Ctx, tokens: &[u32], stream: &mut [f32]) {
        share_rows(ctx, stream, self.spec.hidden, |m, row, _| {
            self.parts.embed.decode_row(tokens[m] as usize, row);
            if self.spec.embedding_scale != 1.0 {
                ops::scale(ctx.isa(), row, self.spec.embedding_scale);
            }
        });
    }

    fn angles(&self, ctx: &Ctx, count: usize, cache: &KvCache, angles: &mut Vec<Vec<f32>>) {
        angles.resize(cache.ropes.len(), Vec::new());
        let held = cache.len();
        for (table, angles) in cache.ropes.iter().zip(angles) {
            let width = 2 * table.pairs();
            share_rows(ctx, sized(angles, count * width), width, |m, row, _| table.angles(held + m, row));
        }
    }

    /// The attention part of a block: adds to the stream of tokens from `first` on.
    fn attend(
        &self,
        ctx: &Ctx,
        index: usize,
        block: &Block,
        (count, first): (usize, usize),
        cache: &mut KvCache,
        work: &mut Work,
        laps: &mut Laps,
    ) {
        let spec = &self.spec;
        let (hidden, wide, narrow) = (spec.hidden, spec.query_width(), spec.kv_width());
        let asking = count - first;
        let stream = &mut work.stream[..count * hidden];
        let input: &[f32] = match &block.attention_in {
            Some(gain) => self.normed(ctx, stream, gain, &mut work.normed),
            None => stream,
        };
        laps.lap(Part::Norms);
        let query = sized(&mut work.query, asking * wide);
        let key = sized(&mut work.key, count * narrow);
        let value = sized(&mut work.value, count * narrow);
        {
            let layers = [&*block.key, &*block.value, &*block.query];
            let inputs = Inputs::new(ctx, MatRef::new(input, count, hidden), layers);
            let all = inputs.acts(laps);
            product(ctx, layers[0], all.of(0), MatMut::new(key, count, narrow), (laps, Part::Qkv));
            product(ctx, layers[1], all.of(1), MatMut::new(value, count, narrow), (laps, Part::Qkv));
            if first == 0 {
                product(ctx, layers[2], all.of(2), MatMut::new(query, count, wide), (laps, Part::Qkv));
            } else if asking > 0 {
                let some = MatRef::new(&input[first * hidden..], asking, hidden);
                let some = Inputs::new(ctx, some, [layers[2]]);
                let query = MatMut::new(query, asking, wide);
                product(ctx, layers[2], some.acts(laps).of(0), query, (laps, Part::Qkv));
            }
        }

        if spec.qk_norm == QkNorm::Row {
            self.norm_rows(ctx, query, block.query_norm.as_deref());
            self.norm_rows(ctx, key, block.key_norm.as_deref());
            laps.lap(Part::Norms);
        }
        let by_head = spec.qk_norm == QkNorm::Head;
        let turn = Turn {
            gain: block.query_norm.as_deref().filter(|_| by_head),
            eps: spec.norm_eps,
            pairs: spec.rope_pairs,
            angles: spec.blocks[index].rope.map(|i| (&cache.ropes[i], work.angles[i].as_slice())),
        };
        share_rows(ctx, query, wide, |m, row, scratch| {
            turn.heads(ctx, first + m, row, scratch.floats(spec.head_dim));
            ops::scale(ctx.isa(), row, spec.attention_scale);
        });
        let turn_key = Turn { gain: block.key_norm.as_deref().filter(|_| by_head), ..turn };
        share_rows(ctx, key, narrow, |m, row, scratch| {
            turn_key.heads(ctx, m, row, scratch.floats(spec.head_dim));
        });
        laps.lap(Part::Rope);
        let store = &mut *cache.layers[index];
        store.append(MatRef::new(key, count, narrow), MatRef::new(value, count, narrow));
        laps.lap(Part::Cache);
        if asking == 0 {
            return;
        }
        let attention = Attention {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            cap: spec.attention_cap,
            window: spec.blocks[index].window,
        };
        let mixed = sized(&mut work.mixed, asking * wide);
        attention.forward(ctx, store, query, &mut work.parts, mixed);
        // By key head first, to by token first.
        let group = wide / spec.kv_heads;
        let joined: &mut [f32] = if asking == 1 || spec.kv_heads == 1 {
            mixed
        } else {
            share_rows(ctx, query, wide, |m, row, _| {
                for (kv_head, part) in row.chunks_exact_mut(group).enumerate() {
                    part.copy_from_slice(&mixed[(kv_head * asking + m) * group..][..group]);
                }
            });
            query
        };
        laps.lap(Part::Attention);
        self.norm_rows(ctx, joined, block.attention_sub.as_deref());
        laps.lap(Part::Norms);
        let added = sized(&mut work.added, asking * hidden);
        let joined = Inputs::new(ctx, MatRef::new(joined, asking, wide), [&*block.output]);
        let out = MatMut::new(added, asking, hidden);
        product(ctx, &*block.output, joined.acts(laps).of(0), out, (laps, Part::Output));
        self.add(ctx, &mut stream[first * hidden..], added, block.attention_out.as_deref(), laps);
    }

    /// The feed-forward part of a block, likewise.
    fn feed_forward(
        &self,
        ctx: &Ctx,
        block: &Block,
        (count, first): (usize, usize),
        work: &mut Work,
        laps: &mut Laps,
    ) {
        let spec = &self.spec;
        let hidden = spec.hidden;
        let stream = &mut work.stream[first * hidden..count * hidden];
        let input: &[f32] = match &block.ffn_in {
            Some(gain) => self.normed(ctx, stream, gain, &mut work.normed),
            None => stream,
        };
        laps.lap(Part::Norms);
        let added = sized(&mut work.added, (count - first) * hidden);
        let settings = (spec.activation, spec.norm_eps);
        block.ffn.forward(ctx, settings, count - first, input, &mut work.ffn, added, laps);
        self.add(ctx, stream, added, block.ffn_out.as_deref(), laps);
    }

    fn logits(
        &self,
        ctx: &Ctx,
        (count, from): (usize, usize),
        work: &mut Work,
        out: &mut Vec<f32>,
        laps: &mut Laps,
    ) {
        let (hidden, vocab, rows) = (self.spec.hidden, self.spec.vocab, count - from);
        let stream = &work.stream[from * hidden..count * hidden];
        let normed = self.normed(ctx, stream, &self.parts.final_norm, &mut work.normed);
        laps.lap(Part::Norms);
        out.resize(rows * vocab, 0.0);
        let normed = Inputs::new(ctx, MatRef::new(normed, rows, hidden), [&*self.parts.head]);
        let normed = normed.acts(laps);
        laps.lap(Part::Other);
        product(ctx, &*self.parts.head, normed.of(0), MatMut::new(out, rows, vocab), (laps, Part::Head));
        if let Some(cap) = self.spec.logit_cap {
            share_rows(ctx, out, vocab, |_, row, _| ops::soft_cap(ctx.isa(), row, cap));
        }
    }

    /// Rows of `x`, normed into `buffer`.
    fn normed<'a>(&self, ctx: &Ctx, x: &[f32], gain: &[f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let width = gain.len();
        let out = sized(buffer, x.len());
        share_rows(ctx, out, width, |m, out, _| {
            ops::rms_norm(ctx.isa(), &x[m * width..][..width], gain, self.spec.norm_eps, out);
        });
        out
    }

    /// Norms rows in place; nothing without a gain.
    fn norm_rows(&self, ctx: &Ctx, x: &mut [f32], gain: Option<&[f32]>) {
        let Some(gain) = gain else { return };
        share_rows(ctx, x, gain.len(), |_, row, scratch| {
            let spare = scratch.floats(row.len());
            ops::rms_norm(ctx.isa(), row, gain, self.spec.norm_eps, spare);
            row.copy_from_slice(spare);
        });
    }

    /// Adds to the stream what a part of a block gives, normed where there is a gain.
    fn add(&self, ctx: &Ctx, stream: &mut [f32], added: &mut [f32], gain: Option<&[f32]>, laps: &mut Laps) {
        self.norm_rows(ctx, added, gain);
        laps.lap(Part::Norms);
        let hidden = self.spec.hidden;
        share_rows(ctx, stream, hidden, |m, row, _| {
            ops::add(ctx.isa(), row, &added[m * hidden..][..hidden]);
        });
        laps.lap(Part::Other);
    }
}
