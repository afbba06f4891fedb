//! The one decoder: interprets a [`ModelSpec`] over linear layers and a cache.

use crate::{
    LinearId, LinearOp, ModelError, ModelSpec, Stored, Weights,
    batch::{Batch, Sequence},
    block::{Run, Work},
    build::{self, FfnWeights, Mlp, Parts, Wrap},
    ffn::sized,
    input::Inputs,
    kv::{Float, KvCache, KvElement, KvGeometry, KvStore},
    linear::product,
    profile::{Laps, Part},
    rope::RopeTable,
    rows::share_rows,
};
use lowbit_format::QuantTensor;
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

/// What a pass writes for every wanted token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Logits,
    Hidden,
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

    /// The token embeddings as they are stored.
    pub fn embedding(&self) -> &QuantTensor {
        &self.parts.embed
    }

    /// Whether the head is the token embeddings.
    pub fn tied(&self) -> bool {
        self.parts.tied
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

    /// Bytes that a cache of [`Self::cache`] takes when it holds so many tokens.
    pub fn cache_bytes(&self, tokens: usize, element: KvElement) -> usize {
        let KvGeometry { layers, kv_heads, head_dim } = self.geometry();
        layers * Float::bytes_for(element, kv_heads, head_dim, tokens)
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
        self.forward_to(ctx, tokens, cache, (want, Rows::Logits), out)
    }

    /// As [`forward`](Self::forward) with the rows that the head would read: hidden states after the last norm.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn hidden(
        &self,
        ctx: &Ctx,
        tokens: &[u32],
        cache: &mut KvCache,
        want: Logits,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        self.forward_to(ctx, tokens, cache, (want, Rows::Hidden), out)
    }

    fn forward_to(
        &self,
        ctx: &Ctx,
        tokens: &[u32],
        cache: &mut KvCache,
        (want, rows): (Logits, Rows),
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let sequence = [Sequence { tokens, cache, want }];
        let batch = Batch::new(&sequence, self.spec.vocab, self.geometry())?;
        out.clear();
        if tokens.is_empty() {
            return Ok(());
        }
        let [Sequence { cache, .. }] = sequence;
        let (mut work, mut streams) = (std::mem::take(&mut cache.work), cache.streams.take());
        let (mut laps, forks) = (Laps::start(cache.profile.take()), ctx.forks());
        self.pass(ctx, &batch, &mut [&mut *cache], (&mut work, streams.as_mut()), (rows, out), &mut laps);
        (cache.work, cache.streams) = (work, streams);
        cache.profile = laps.finish(tokens.len(), ctx.forks() - forks);
        Ok(())
    }

    /// Runs tokens of several sequences in one pass, each at the positions after those in its own cache, and writes a
    /// row of logits for each wanted token to `out`, replacing what was there: those of the first sequence, then those
    /// of the second, and so on. Weights are read once for all of them. What a sequence gets is what
    /// [`forward`](Self::forward) gives it alone, to the bit wherever that does not depend on how a prompt is cut.
    ///
    /// Profiles and streams are of single sequences: a batch leaves those of its caches alone.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); all caches are as before then.
    pub fn forward_batch(
        &self,
        ctx: &Ctx,
        sequences: &mut [Sequence<'_>],
        work: &mut Work,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let batch = Batch::new(sequences, self.spec.vocab, self.geometry())?;
        out.clear();
        if !batch.tokens.is_empty() {
            let mut caches: Vec<&mut KvCache> = sequences.iter_mut().map(|one| &mut *one.cache).collect();
            self.pass(ctx, &batch, &mut caches, (work, None), (Rows::Logits, out), &mut Laps::start(None));
        }
        Ok(())
    }

    /// All blocks and the head, over a batch with at least one row.
    fn pass(
        &self,
        ctx: &Ctx,
        batch: &Batch,
        caches: &mut [&mut KvCache],
        (work, mut streams): (&mut Work, Option<&mut Vec<f32>>),
        (rows, out): (Rows, &mut Vec<f32>),
        laps: &mut Laps,
    ) {
        let (count, from, hidden) = (batch.tokens.len(), batch.wanted, self.spec.hidden);
        let run = Run { spec: &self.spec };
        self.embed(ctx, &batch.tokens, sized(&mut work.stream, count * hidden));
        run.angles(ctx, &batch.segments, caches, &mut work.angles);
        laps.lap(Part::Other);
        streams.iter_mut().for_each(|streams| streams.clear());
        for (i, block) in self.parts.blocks.iter().enumerate() {
            // Of the last block, only wanted tokens are read by anyone.
            let first = if i + 1 == self.parts.blocks.len() { from } else { 0 };
            run.attend(ctx, (i, i), block, first, (&batch.segments, caches), work, laps);
            if first < count {
                run.feed_forward(ctx, block, (count, first), work, laps);
            }
            if let Some(streams) = &mut streams {
                streams.extend_from_slice(&work.stream[first * hidden..count * hidden]);
            }
        }
        if from < count {
            self.rows(ctx, (count, from), work, (rows, out), laps);
        }
    }

    fn embed(&self, ctx: &Ctx, tokens: &[u32], stream: &mut [f32]) {
        share_rows(ctx, stream, self.spec.hidden, |m, row, _| {
            self.parts.embed.decode_row(tokens[m] as usize, row);
            if self.spec.embedding_scale != 1.0 {
                ops::scale(ctx.isa(), row, self.spec.embedding_scale);
            }
        });
    }

    fn rows(
        &self,
        ctx: &Ctx,
        (count, from): (usize, usize),
        work: &mut Work,
        (kind, out): (Rows, &mut Vec<f32>),
        laps: &mut Laps,
    ) {
        let (hidden, vocab, rows) = (self.spec.hidden, self.spec.vocab, count - from);
        let stream = &work.stream[from * hidden..count * hidden];
        let run = Run { spec: &self.spec };
        let normed = run.normed(ctx, stream, &self.parts.final_norm, &mut work.normed);
        laps.lap(Part::Norms);
        if kind == Rows::Hidden {
            out.extend_from_slice(normed);
            return;
        }
        out.resize(rows * vocab, 0.0);
        let normed = Inputs::new(ctx, MatRef::new(normed, rows, hidden), [&*self.parts.head]);
        let normed = normed.acts(laps);
        laps.lap(Part::Other);
        product(ctx, &*self.parts.head, normed.of(0), MatMut::new(out, rows, vocab), (laps, Part::Head));
        if let Some(cap) = self.spec.logit_cap {
            share_rows(ctx, out, vocab, |_, row, _| ops::soft_cap(ctx.isa(), row, cap));
        }
    }
}
