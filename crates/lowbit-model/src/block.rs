//! One transformer block: what the decoder does to the residual stream, block by block.

use crate::{
    LinearOp, ModelError, ModelSpec, Stored, Weights,
    attention::{Attention, Queries},
    batch::Segment,
    build::{self, Block, RopeDivisors},
    ffn::{FfnWork, sized},
    input::Inputs,
    kv::{Float, KvCache, KvElement, KvGeometry},
    linear::product,
    profile::{Laps, Part},
    rope::{RopeTable, Turn},
    rows::share_rows,
    spec::{LinearId, QkNorm},
};
use lowbit_format::{NK, QuantTensor};
use lowbit_kernels::{ActPrecision, Ctx, MatMut, MatRef, ops};
use std::ops::Range;

/// Working memory of passes, grown to the largest batch.
#[derive(Default)]
pub struct Work {
    pub(crate) stream: Vec<f32>,
    pub(crate) normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    added: Vec<f32>,
    pub(crate) angles: Vec<Vec<f32>>,
    parts: Vec<f32>,
    ffn: FfnWork,
}

/// What a block needs to know of its model.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) spec: &'a ModelSpec,
}

impl Run<'_> {
    /// Angles of every row's position, for every rope of the model.
    pub(crate) fn angles(
        self,
        ctx: &Ctx,
        segments: &[Segment],
        caches: &[&mut KvCache],
        angles: &mut Vec<Vec<f32>>,
    ) {
        let count = segments.last().map_or(0, |last| last.rows.end);
        angles.resize(self.spec.ropes.len(), Vec::new());
        for (rope, angles) in angles.iter_mut().enumerate() {
            let width = 2 * caches[0].ropes[rope].pairs();
            share_rows(ctx, sized(angles, count * width), width, |m, row, _| {
                let segment = Segment::of_row(segments, m);
                // Frequencies may depend on the capacity of the cache.
                let table = &caches[segment.sequence].ropes[rope];
                table.angles(segment.position + m - segment.rows.start, row);
            });
        }
    }

    /// The attention part of a block: adds to the stream of rows from `first` on.
    pub(crate) fn attend(
        self,
        ctx: &Ctx,
        (index, layer): (usize, usize),
        block: &Block,
        first: usize,
        (segments, caches): (&[Segment], &mut [&mut KvCache]),
        work: &mut Work,
        laps: &mut Laps,
    ) {
        let spec = self.spec;
        let count = segments.last().map_or(0, |last| last.rows.end);
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
            angles: spec.blocks[index].rope.map(|i| (caches[0].ropes[i].pairs(), work.angles[i].as_slice())),
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
        for Segment { sequence, rows, .. } in segments {
            let of_rows = rows.start * narrow..rows.end * narrow;
            let (keys, values) = (&key[of_rows.clone()], &value[of_rows]);
            let store = &mut *caches[*sequence].layers[layer];
            store.append(MatRef::new(keys, rows.len(), narrow), MatRef::new(values, rows.len(), narrow));
        }
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
        let asked: Vec<Segment> = segments.iter().filter_map(|segment| segment.from(first)).collect();
        let queries = |segment: &Segment| Queries {
            store: &*caches[segment.sequence].layers[layer],
            q: &query[segment.rows.start * wide..segment.rows.end * wide],
            position: segment.position,
        };
        let mixed = sized(&mut work.mixed, asking * wide);
        let sequences: Vec<Queries<'_>> = asked.iter().map(queries).collect();
        attention.forward(ctx, &sequences, &mut work.parts, mixed);
        // By key head first, to by token first: the same where a segment is one token.
        let group = wide / spec.kv_heads;
        let joined: &mut [f32] = if spec.kv_heads == 1 || asked.iter().all(|segment| segment.rows.len() == 1)
        {
            mixed
        } else {
            share_rows(ctx, query, wide, |m, row, _| {
                let Range { start, end } = Segment::of_row(&asked, m).rows;
                let mixed = &mixed[start * wide..end * wide];
                for (kv_head, part) in row.chunks_exact_mut(group).enumerate() {
                    part.copy_from_slice(&mixed[(kv_head * (end - start) + m - start) * group..][..group]);
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
    pub(crate) fn feed_forward(
        self,
        ctx: &Ctx,
        block: &Block,
        (count, first): (usize, usize),
        work: &mut Work,
        laps: &mut Laps,
    ) {
        let spec = self.spec;
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

    /// Rows of `x`, normed into `buffer`.
    pub(crate) fn normed<'a>(
        self,
        ctx: &Ctx,
        x: &[f32],
        gain: &[f32],
        buffer: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let width = gain.len();
        let out = sized(buffer, x.len());
        share_rows(ctx, out, width, |m, out, _| {
            ops::rms_norm(ctx.isa(), &x[m * width..][..width], gain, self.spec.norm_eps, out);
        });
        out
    }

    /// Norms rows in place; nothing without a gain.
    fn norm_rows(self, ctx: &Ctx, x: &mut [f32], gain: Option<&[f32]>) {
        let Some(gain) = gain else { return };
        share_rows(ctx, x, gain.len(), |_, row, scratch| {
            let spare = scratch.floats(row.len());
            ops::rms_norm(ctx.isa(), row, gain, self.spec.norm_eps, spare);
            row.copy_from_slice(spare);
        });
    }

    /// Adds to the stream what a part of a block gives, normed where there is a gain.
    fn add(self, ctx: &Ctx, stream: &mut [f32], added: &mut [f32], gain: Option<&[f32]>, laps: &mut Laps) {
        self.norm_rows(ctx, added, gain);
        laps.lap(Part::Norms);
        let hidden = self.spec.hidden;
        share_rows(ctx, stream, hidden, |m, row, _| {
            ops::add(ctx.isa(), row, &added[m * hidden..][..hidden]);
        });
        laps.lap(Part::Other);
    }
}

/// One block of a model by itself, for whoever works on a model that is larger than memory: the residual stream goes in
/// and comes out.
pub struct OneBlock {
    spec: ModelSpec,
    index: usize,
    block: Block,
    rope_divisors: RopeDivisors,
}

impl OneBlock {
    /// Block `index` of the model, every linear layer replaced by what `wrap` makes of it.
    ///
    /// # Errors
    /// As [`Decoder::build`](crate::Decoder::build).
    ///
    /// # Panics
    /// Where the model has no such block.
    pub fn build_with(
        spec: &ModelSpec,
        index: usize,
        weights: &dyn Weights,
        precision: ActPrecision,
        wrap: &dyn Fn(LinearId, Stored) -> Box<dyn LinearOp>,
    ) -> Result<Self, ModelError> {
        let mut spec = spec.clone();
        assert!(index < spec.blocks.len(), "block {index} of {}", spec.blocks.len());
        let (block, rope_divisors) = build::one_block(&mut spec, index, weights, precision, wrap)?;
        Ok(Self { spec, index, block, rope_divisors })
    }

    /// An empty cache for `capacity` tokens, in f32.
    ///
    /// # Errors
    /// Where the capacity is 0 or more than the model's context.
    pub fn cache(&self, capacity: usize) -> Result<KvCache, ModelError> {
        let limit = self.spec.longest();
        if capacity == 0 || capacity > limit {
            return Err(ModelError::Capacity { found: capacity, limit });
        }
        let ropes = self.spec.ropes.iter().zip(&self.rope_divisors);
        let ropes = ropes.map(|(spec, divisors)| RopeTable::new(spec, divisors.as_deref(), capacity));
        let store = Float::new(KvElement::F32, self.spec.kv_heads, self.spec.head_dim);
        KvCache::new(vec![Box::new(store)], self.geometry(), capacity, ropes.collect())
    }

    fn geometry(&self) -> KvGeometry {
        KvGeometry { layers: 1, kv_heads: self.spec.kv_heads, head_dim: self.spec.head_dim }
    }

    /// Replaces the residual stream of tokens, at the positions after those in the cache, by that after this block.
    ///
    /// # Errors
    /// Where the cache is another model's or has no room; the stream is as before then.
    ///
    /// # Panics
    /// Where the stream is not made of whole tokens.
    pub fn forward(&self, ctx: &Ctx, stream: &mut [f32], cache: &mut KvCache) -> Result<(), ModelError> {
        let hidden = self.spec.hidden;
        assert!(stream.len().is_multiple_of(hidden), "a stream of whole tokens of {hidden} elements");
        let count = stream.len() / hidden;
        cache.check(self.geometry(), count)?;
        if count == 0 {
            return Ok(());
        }
        let mut work = std::mem::take(&mut cache.work);
        let mut laps = Laps::start(None);
        let run = Run { spec: &self.spec };
        sized(&mut work.stream, stream.len()).copy_from_slice(stream);
        let segments = [Segment { sequence: 0, rows: 0..count, position: cache.len() }];
        let batch: (&[Segment], &mut [&mut KvCache]) = (&segments, &mut [&mut *cache]);
        run.angles(ctx, batch.0, batch.1, &mut work.angles);
        run.attend(ctx, (self.index, 0), &self.block, 0, batch, &mut work, &mut laps);
        run.feed_forward(ctx, &self.block, (count, 0), &mut work, &mut laps);
        stream.copy_from_slice(&work.stream[..stream.len()]);
        cache.work = work;
        Ok(())
    }
}

/// The residual stream before the first block: a row of `hidden` elements for each token, of `embedding` as the
/// checkpoint stores it.
///
/// # Errors
/// Where a token is not in the vocabulary.
///
/// # Panics
/// Where the matrix is not the spec's.
pub fn embed(spec: &ModelSpec, embedding: &QuantTensor, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
    assert_eq!(embedding.shape(), NK { n: spec.vocab, k: spec.hidden }, "token embeddings");
    let mut stream = vec![0.0; tokens.len() * spec.hidden];
    for (index, (id, row)) in tokens.iter().zip(stream.chunks_exact_mut(spec.hidden)).enumerate() {
        if *id as usize >= spec.vocab {
            return Err(ModelError::Token { index, id: *id, vocab: spec.vocab });
        }
        embedding.decode_row(*id as usize, row);
        if spec.embedding_scale != 1.0 {
            row.iter_mut().for_each(|x| *x *= spec.embedding_scale);
        }
    }
    Ok(stream)
}
