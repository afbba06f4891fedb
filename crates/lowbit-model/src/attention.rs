//! Attention of a batch of new tokens over caches that already hold their keys and values: tokens of one sequence or of
//! several, each over its own.
//!
//! Keys are cut into *tiles* at fixed positions of the sequence, queries into runs of rows of one key head: all query
//! heads that share it go together, so that its keys and values are read once for them. Of a tile a row gets a part of
//! its softmax and what that mixes; the parts are joined in the order of the tiles. A long prompt so needs no memory
//! for its scores, and where there are too few rows to occupy the workers (decoding), tiles are shared out instead and
//! joined when all are done.
//!
//! A row's result is the same sequence of roundings either way, whatever batch it is in and however many workers there
//! are: a tile begins where it begins for everyone, and what a row does not see of it has probability 0. Parts are
//! scaled by powers of two, which costs no rounding; FlashDecoding++ takes one maximum for all parts by a guess, and
//! does them again where the guess was too low.

use crate::{kv::KvStore, rows::share};
use lowbit_kernels::{
    Ctx, MatMut, MatRef, Scratch,
    ops::{self, SoftmaxPart},
};
use std::ops::Range;

/// Keys of a tile: with their values, what a first-level cache holds of heads of 64 elements.
const TILE_KEYS: usize = 128;
/// Rows of queries that are done together: enough to use a key more than once while it is in a register.
const TILE_ROWS: usize = 64;
/// Runs of tiles that a worker gets where tiles are shared out: one late worker then costs a fraction of the whole.
const RUNS_PER_WORKER: usize = 4;
/// Multiplications that take as long as handling one number elsewhere in a block: what makes sharing worth while.
const MULTIPLICATIONS_PER_NUMBER: usize = 4;
/// Floats beside a row of mixed values that hold its [`SoftmaxPart`]: a cache line, so that rows stay aligned.
const STATE: usize = 16;

/// The attention of one block, everything but the numbers. The decoder runs it; it is public for those who measure it.
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Soft cap of scores.
    pub cap: Option<f32>,
    /// Keys that a token sees, itself included.
    pub window: Option<usize>,
}

/// Tokens of one sequence that ask.
pub struct Queries<'a> {
    /// Holds at least the keys and values of all positions up to the last of these tokens.
    pub store: &'a dyn KvStore,
    /// A row of all heads for each token, rotated and scaled.
    pub q: &'a [f32],
    /// Position of the first token in its sequence.
    pub position: usize,
}

/// A run of tokens of one key head.
#[derive(Clone, Copy)]
struct Rows {
    /// Place of their sequence among those that ask.
    sequence: usize,
    kv_head: usize,
    /// First token, counted within the queries.
    first: usize,
    tokens: usize,
    /// Position of the first token in the sequence.
    position: usize,
}

/// What each call is about.
struct Call<'a> {
    ctx: &'a Ctx,
    sequences: &'a [Queries<'a>],
    attention: &'a Attention,
}

impl Attention {
    /// `out` gets `[kv_heads][tokens][heads / kv_heads][head_dim]` of one sequence after the other; `parts` is working
    /// memory.
    ///
    /// # Panics
    /// Where queries are no whole number of rows, a store holds too few tokens, or `out` is of another length.
    pub fn forward(&self, ctx: &Ctx, sequences: &[Queries<'_>], parts: &mut Vec<f32>, mut out: &mut [f32]) {
        let wide = self.heads * self.head_dim;
        let per_token = self.group() * self.head_dim;
        let (mut work, mut size, mut most_seen) = (Vec::new(), 0, 0);
        for (sequence, queries) in sequences.iter().enumerate() {
            let count = queries.q.len() / wide;
            let tokens = (TILE_ROWS / self.group()).clamp(1, count);
            let (own, others) = std::mem::take(&mut out).split_at_mut(queries.q.len());
            out = others;
            for (kv_head, out) in own.chunks_exact_mut(count * per_token).enumerate() {
                for (i, out) in out.chunks_mut(tokens * per_token).enumerate() {
                    let first = i * tokens;
                    let (tokens, position) = (out.len() / per_token, queries.position + first);
                    work.push((Rows { sequence, kv_head, first, tokens, position }, out));
                }
            }
            let held = queries.position + count;
            let seen = self.window.unwrap_or(held).min(held);
            size += count * wide * seen / MULTIPLICATIONS_PER_NUMBER;
            most_seen = most_seen.max(seen);
        }
        let call = Call { ctx, sequences, attention: self };
        if work.len() < 2 * ctx.threads() && ctx.threads() > 1 && most_seen > TILE_KEYS {
            call.by_tiles(size, work, parts);
        } else {
            // Late tokens of a prompt see the most keys: they start first, so that no worker is left with one at the
            // end.
            share(ctx, size, work.into_iter().rev(), |(rows, out), scratch| call.whole(rows, out, scratch));
        }
    }

    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Keys that the token at a position sees.
    pub(crate) fn visible(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Tiles with a key that some row sees.
    fn tiles(&self, rows: Rows) -> Range<usize> {
        let end = self.visible(rows.position + rows.tokens - 1).end;
        self.visible(rows.position).start / TILE_KEYS..end.div_ceil(TILE_KEYS)
    }
}

impl Call<'_> {
    /// All tiles of some rows, one after the other.
    fn whole(&self, rows: Rows, out: &mut [f32], scratch: &mut Scratch) {
        let (dim, count) = (self.attention.head_dim, rows.tokens * self.attention.group());
        let (parts, spare) = scratch
            .floats(count * (dim + STATE + dim + TILE_KEYS) + 2 * count)
            .split_at_mut(count * (dim + STATE));
        let (totals, spare) = spare.split_at_mut(2 * count);
        let (queries, scores) = spare.split_at_mut(count * dim);
        self.gather(rows, queries);
        let mut join = Join::new(self.ctx, dim, out, totals);
        for tile in self.attention.tiles(rows) {
            self.tile(rows, queries, tile, scores, parts);
            join.add(parts);
        }
        join.finish();
    }

    /// Runs of tiles on different workers, then their parts joined.
    fn by_tiles(&self, size: usize, work: Vec<(Rows, &mut [f32])>, parts: &mut Vec<f32>) {
        let (dim, group) = (self.attention.head_dim, self.attention.group());
        let of = |rows: Rows| self.attention.tiles(rows).len() * rows.tokens * group * (dim + STATE);
        let tiles: usize = work.iter().map(|(rows, _)| self.attention.tiles(*rows).len()).sum();
        let run = tiles.div_ceil(RUNS_PER_WORKER * self.ctx.threads());
        let needed = work.iter().map(|(rows, _)| of(*rows)).sum();
        let parts = crate::ffn::sized(parts, needed);
        let mut runs = Vec::with_capacity(tiles.div_ceil(run) + work.len());
        let mut rest = &mut *parts;
        for (rows, _) in &work {
            let tiles = self.attention.tiles(*rows);
            let per_tile = rows.tokens * group * (dim + STATE);
            for first in tiles.clone().step_by(run) {
                let some = first..(first + run).min(tiles.end);
                let (own, others) = std::mem::take(&mut rest).split_at_mut(some.len() * per_tile);
                rest = others;
                runs.push((*rows, some, own));
            }
        }
        share(self.ctx, size, runs.into_iter(), |(rows, tiles, parts), scratch| {
            let count = rows.tokens * group;
            let (queries, scores) = scratch.floats(count * (dim + TILE_KEYS)).split_at_mut(count * dim);
            self.gather(rows, queries);
            for (tile, parts) in tiles.zip(parts.chunks_exact_mut(count * (dim + STATE))) {
                self.tile(rows, queries, tile, scores, parts);
            }
        });
        let mut rest = &*parts;
        let joins = work.into_iter().map(|(rows, out)| {
            let (own, others) = rest.split_at(of(rows));
            rest = others;
            (rows, own, out)
        });
        let joins: Vec<_> = joins.collect();
        share(self.ctx, needed, joins.into_iter(), |(rows, parts, out), scratch| {
            let count = rows.tokens * group;
            let mut join = Join::new(self.ctx, dim, out, scratch.floats(2 * count));
            parts.chunks_exact(count * (dim + STATE)).for_each(|parts| join.add(parts));
            join.finish();
        });
    }

    /// The queries of some rows, those of a token together.
    fn gather(&self, rows: Rows, queries: &mut [f32]) {
        let Attention { heads, head_dim: dim, .. } = *self.attention;
        let q = self.sequences[rows.sequence].q;
        let width = self.attention.group() * dim;
        for (i, queries) in queries.chunks_exact_mut(width).enumerate() {
            let token = &q[(rows.first + i) * heads * dim..][..heads * dim];
            queries.copy_from_slice(&token[rows.kv_head * width..][..width]);
        }
    }

    /// What some rows get of one tile: to each row of `parts` mixed values, then power and sum of their softmax.
    fn tile(&self, rows: Rows, queries: &[f32], tile: usize, scores: &mut [f32], parts: &mut [f32]) {
        let (isa, attention) = (self.ctx.isa(), self.attention);
        let store = self.sequences[rows.sequence].store;
        let (dim, group) = (attention.head_dim, attention.group());
        let count = rows.tokens * group;
        let end = attention.visible(rows.position + rows.tokens - 1).end;
        let keys = tile * TILE_KEYS..((tile + 1) * TILE_KEYS).min(end);
        let width = keys.len();
        let scores = &mut scores[..count * width];
        let q = MatRef::new(queries, count, dim);
        store.scores(isa, rows.kv_head, q, keys.clone(), MatMut::new(scores, count, width));
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            let seen = attention.visible(rows.position + row / group);
            let seen = seen.start.clamp(keys.start, keys.end) - keys.start
                ..seen.end.clamp(keys.start, keys.end) - keys.start;
            let part = if seen.is_empty() {
                scores.fill(0.0);
                SoftmaxPart::EMPTY
            } else {
                if let Some(cap) = attention.cap {
                    ops::soft_cap(isa, &mut scores[seen.clone()], cap);
                }
                scores[..seen.start].fill(f32::NEG_INFINITY);
                scores[seen.end..].fill(f32::NEG_INFINITY);
                ops::softmax_part(isa, scores)
            };
            parts[row * (dim + STATE) + dim..][..2].copy_from_slice(&[part.power, part.sum]);
        }
        let p = MatRef::new(scores, count, width);
        let mixed = MatMut::strided(parts, count, dim, dim + STATE);
        store.mix(isa, rows.kv_head, p, keys, mixed);
    }
}

/// Parts of rows being joined, tile by tile.
struct Join<'a> {
    ctx: &'a Ctx,
    dim: usize,
    out: &'a mut [f32],
    /// Power and sum of each row so far.
    totals: &'a mut [f32],
}

impl<'a> Join<'a> {
    fn new(ctx: &'a Ctx, dim: usize, out: &'a mut [f32], totals: &'a mut [f32]) -> Self {
        out.fill(0.0);
        let SoftmaxPart { power, sum } = SoftmaxPart::EMPTY;
        totals.as_chunks_mut::<2>().0.fill([power, sum]);
        Self { ctx, dim, out, totals }
    }

    /// The next tile, as [`Call::tile`] leaves it.
    fn add(&mut self, parts: &[f32]) {
        let totals = self.totals.as_chunks_mut::<2>().0.iter_mut();
        let rows = self.out.chunks_exact_mut(self.dim).zip(totals);
        for ((out, total), part) in rows.zip(parts.chunks_exact(self.dim + STATE)) {
            let (mixed, state) = part.split_at(self.dim);
            let part = SoftmaxPart { power: state[0], sum: state[1] };
            if part == SoftmaxPart::EMPTY {
                continue;
            }
            let mut whole = SoftmaxPart { power: total[0], sum: total[1] };
            ops::softmax_join(self.ctx.isa(), out, &mut whole, mixed, part);
            *total = [whole.power, whole.sum];
        }
    }

    /// Makes probabilities of what was joined.
    fn finish(self) {
        for (out, [_, sum]) in self.out.chunks_exact_mut(self.dim).zip(self.totals.as_chunks::<2>().0) {
            ops::scale(self.ctx.isa(), out, 1.0 / sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KvElement, kv::Float};
    use lowbit_kernels::Isa;

    const DIM: usize = 20;
    const KV_HEADS: usize = 2;
    const LENGTH: usize = 700;

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    fn store(tokens: usize) -> Float {
        let mut store = Float::new(KvElement::F16, KV_HEADS, DIM);
        let width = KV_HEADS * DIM;
        let (keys, values) = (noise(LENGTH * width, 1), noise(LENGTH * width, 2));
        let rows = |x| MatRef::strided(x, tokens, width, width);
        store.append(rows(&keys), rows(&values));
        store
    }

    /// Rows of all tokens, by token, where the sequence arrives in pieces of the given lengths.
    fn run(attention: &Attention, pieces: &[usize], isa: Isa, threads: usize, size: f32) -> Vec<f32> {
        let ctx = Ctx::new(isa, threads);
        let wide = attention.heads * DIM;
        let q: Vec<f32> = noise(LENGTH * wide, 3).iter().map(|x| x * size).collect();
        let (mut held, mut all, mut parts) = (0, Vec::new(), Vec::new());
        for &count in pieces {
            let mut out = vec![f32::NAN; count * wide];
            let q = &q[held * wide..(held + count) * wide];
            let queries = Queries { store: &store(held + count), q, position: held };
            held += count;
            attention.forward(&ctx, &[queries], &mut parts, &mut out);
            let group = wide / KV_HEADS;
            for token in 0..count {
                for head in 0..KV_HEADS {
                    all.extend_from_slice(&out[(head * count + token) * group..][..group]);
                }
            }
        }
        all
    }

    fn exact(attention: &Attention, token: usize, head: usize, size: f32) -> Vec<f64> {
        let wide = attention.heads * DIM;
        let q = noise(LENGTH * wide, 3);
        let q = &q[token * wide + head * DIM..][..DIM];
        let (mut keys, mut values) = (vec![0.0; LENGTH * DIM], vec![0.0; LENGTH * DIM]);
        let view = |x| MatMut::new(x, LENGTH, DIM);
        store(LENGTH).decode(head / attention.group(), 0..LENGTH, view(&mut keys), view(&mut values));
        let seen = attention.visible(token);
        let scores: Vec<f64> = seen
            .clone()
            .map(|key| {
                let dot: f64 =
                    (0..DIM).map(|i| f64::from(q[i] * size) * f64::from(keys[key * DIM + i])).sum();
                attention.cap.map_or(dot, |cap| f64::from(cap) * (dot / f64::from(cap)).tanh())
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
        let mix = |i: usize| {
            let terms = scores.iter().zip(seen.clone());
            terms.map(|(x, key)| (x - max).exp() / sum * f64::from(values[key * DIM + i])).sum()
        };
        (0..DIM).map(mix).collect()
    }

    #[test]
    fn rows_have_the_same_bits_in_any_batch_on_any_number_of_workers_and_are_right() {
        for (heads, window, cap, size) in [
            (2, None, None, 1.0),
            (6, None, Some(5.0), 3.0),
            (14, Some(200), None, 1.0),
            (8, Some(7), None, 90.0),
        ] {
            let attention = Attention { heads, kv_heads: KV_HEADS, head_dim: DIM, cap, window };
            let whole = run(&attention, &[LENGTH], Isa::detect(), 1, size);
            for (pieces, threads) in [
                (vec![LENGTH], 3),
                (vec![130, 1, 300, 2, 1, 1, 65, 200], 1),
                (vec![130, 1, 300, 2, 1, 1, 65, 200], 2),
                (vec![LENGTH - 3, 1, 1, 1], 4),
            ] {
                let other = run(&attention, &pieces, Isa::detect(), threads, size);
                assert!(other == whole, "{heads} heads, window {window:?}, {pieces:?}, {threads} threads");
            }
            for isa in Isa::available() {
                assert!(run(&attention, &[LENGTH - 1, 1], isa, 2, size) == whole, "{}", isa.level());
            }
            for token in [0, 1, 127, 128, 129, 400, LENGTH - 1] {
                for head in [0, heads - 1] {
                    let wide = heads * DIM;
                    let got = &whole[token * wide + head * DIM..][..DIM];
                    for (got, exact) in got.iter().zip(exact(&attention, token, head, size)) {
                        // A score up to size · 20 is off by as many roundings of 6e-8, and so is what it weighs.
                        let bound = 1e-5 * f64::from(size);
                        assert!((f64::from(*got) - exact).abs() < bound, "{token} {head}: {got} {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn sequences_that_ask_together_get_the_bits_they_get_alone() {
        // Lengths of caches, and how many of their last tokens ask; the last store holds more than its tokens may see.
        let asked = [(600, 1), (5, 1), (130, 40), (1, 1), (300, 2), (256, 1)];
        let attention = Attention { heads: 6, kv_heads: KV_HEADS, head_dim: DIM, cap: None, window: None };
        let wide = attention.heads * DIM;
        let stores: Vec<Float> = asked.iter().map(|(held, _)| store(held + 3)).collect();
        let rows: Vec<Vec<f32>> =
            asked.iter().enumerate().map(|(i, (_, count))| noise(count * wide, 20 + i as u64)).collect();
        let queries = |i: usize| {
            let (held, count) = asked[i];
            Queries { store: &stores[i], q: &rows[i], position: held - count }
        };
        for threads in [1, 2, 5] {
            let ctx = Ctx::new(Isa::detect(), threads);
            let (mut alone, mut parts) = (Vec::new(), Vec::new());
            for i in 0..asked.len() {
                let mut out = vec![f32::NAN; rows[i].len()];
                attention.forward(&ctx, &[queries(i)], &mut parts, &mut out);
                alone.extend_from_slice(&out);
            }
            let mut together = vec![f32::NAN; alone.len()];
            let all: Vec<Queries<'_>> = (0..asked.len()).map(queries).collect();
            attention.forward(&ctx, &all, &mut parts, &mut together);
            assert!(together == alone, "{threads} threads");
        }
    }
}
