//! Attention of a batch of new tokens over a cache that already holds their keys and values.
//!
//! Work is cut into key heads times tiles of tokens. All query heads that share a key head go together, so that its keys
//! and values are read once for them. A tile looks only at the keys that one of its tokens sees; what a single token of
//! it does not see gets probability 0. No token's result depends on the tile it is in, nor on the number of workers.

use crate::{kv::KvStore, rope::RopeTable, rows::share};
use lowbit_kernels::{Ctx, MatMut, MatRef, Scratch, ops};

/// Queries that are done together: enough to use a key more than once while it is in a register.
const TILE_QUERIES: usize = 64;
/// Scores of a tile that a worker's cache should hold.
const TILE_SCORES: usize = 1 << 18;

/// Everything but the numbers.
pub(crate) struct Attention<'a> {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// What scores are multiplied with, and their soft cap.
    pub(crate) scale: f32,
    pub(crate) cap: Option<f32>,
    /// Keys that a token sees, itself included.
    pub(crate) window: Option<usize>,
    /// Preparation of queries.
    pub(crate) turn: Turn<'a>,
}

/// What happens to each head of queries and keys before they meet: a norm by head, and rotation.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) gain: Option<&'a [f32]>,
    pub(crate) eps: f32,
    pub(crate) pairs: ops::RopePairs,
    /// Angles of every token of the batch, as [`RopeTable::angles`] writes them.
    pub(crate) angles: Option<(&'a RopeTable, &'a [f32])>,
}

impl Turn<'_> {
    /// Prepares one head of the batch's token `token` in place; `spare` is as long as the head.
    pub(crate) fn head(&self, ctx: &Ctx, token: usize, head: &mut [f32], spare: &mut [f32]) {
        if let Some(gain) = self.gain {
            ops::rms_norm(ctx.isa(), head, gain, self.eps, spare);
            head.copy_from_slice(spare);
        }
        if let Some((table, angles)) = self.angles {
            let pairs = table.pairs();
            let (cos, sin) = angles[token * 2 * pairs..][..2 * pairs].split_at(pairs);
            ops::rope(ctx.isa(), self.pairs, head, cos, sin);
        }
    }
}

/// A run of tokens of one key head.
struct Tile<'a> {
    kv_head: usize,
    /// First token, counted within the queries.
    first: usize,
    tokens: usize,
    out: &'a mut [f32],
}

impl Attention<'_> {
    /// `q` holds the last tokens of the store, a row of all heads each; the batch's first `skipped` tokens are not
    /// among them. `out` gets `[kv_heads][tokens][heads / kv_heads][head_dim]`.
    pub(crate) fn forward(&self, ctx: &Ctx, store: &dyn KvStore, q: &[f32], skipped: usize, out: &mut [f32]) {
        let group = self.heads / self.kv_heads;
        let wide = self.heads * self.head_dim;
        let count = q.len() / wide;
        let held = store.len() - count;
        let seen = self.window.unwrap_or(store.len()).min(store.len());
        let queries = TILE_QUERIES.min(TILE_SCORES / (seen + TILE_QUERIES));
        let tile = (queries / group).clamp(1, count);
        let per_token = group * self.head_dim;
        let mut tiles = Vec::with_capacity(self.kv_heads * count.div_ceil(tile));
        for (kv_head, out) in out.chunks_exact_mut(count * per_token).enumerate() {
            let outs = out.chunks_mut(tile * per_token).enumerate();
            tiles.extend(outs.map(|(i, out)| Tile {
                kv_head,
                first: i * tile,
                tokens: out.len() / per_token,
                out,
            }));
        }
        // Late tiles of a prompt see the most keys: they start first, so that no worker is left with one at the end.
        let size = count * wide * seen;
        share(ctx, size, tiles.into_iter().rev(), |tile, scratch| {
            self.tile(ctx, store, q, (held, skipped), tile, scratch);
        });
    }

    fn tile(
        &self,
        ctx: &Ctx,
        store: &dyn KvStore,
        q: &[f32],
        (held, skipped): (usize, usize),
        tile: Tile<'_>,
        scratch: &mut Scratch,
    ) {
        let (dim, group) = (self.head_dim, self.heads / self.kv_heads);
        let rows = tile.tokens * group;
        let position = held + tile.first;
        let visible = |position: usize| {
            let end = position + 1;
            self.window.map_or(0, |window| end.saturating_sub(window))..end
        };
        let keys = visible(position).start..visible(position + tile.tokens - 1).end;
        let width = keys.len();
        let (queries, scores) =
            scratch.floats(rows * dim + dim + rows * width).split_at_mut(rows * dim + dim);
        let (queries, spare) = queries.split_at_mut(rows * dim);
        for (row, head) in queries.chunks_exact_mut(dim).enumerate() {
            let (token, member) = (tile.first + row / group, tile.kv_head * group + row % group);
            head.copy_from_slice(&q[(token * self.heads + member) * dim..][..dim]);
            self.turn.head(ctx, skipped + token, head, spare);
            ops::scale(ctx.isa(), head, self.scale);
        }
        let q = MatRef::new(queries, rows, dim);
        store.scores(ctx.isa(), tile.kv_head, q, keys.clone(), MatMut::new(scores, rows, width));
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            let seen = visible(position + row / group);
            let (before, after) = (seen.start - keys.start, seen.end - keys.start);
            scores[..before].fill(0.0);
            scores[after..].fill(0.0);
            let seen = &mut scores[before..after];
            if let Some(cap) = self.cap {
                ops::soft_cap(ctx.isa(), seen, cap);
            }
            ops::softmax(ctx.isa(), seen);
        }
        let p = MatRef::new(scores, rows, width);
        store.mix(ctx.isa(), tile.kv_head, p, keys, MatMut::new(tile.out, rows, dim));
    }
}
