//! Attention of one whole sequence to itself, forward and backward: scores are made a few rows of queries at a time and made
//! again for the gradients, so that no sequence needs memory for all of them.

use super::{dense::MULTIPLICATIONS_PER_NUMBER, derivatives::cap_slope};
use crate::{Attention, rows::share};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_kernels::{Ctx, ops};

/// Queries whose scores are held at the same time.
const TILE: usize = 64;

/// Rotated and scaled queries [T, heads · head_dim], keys and values [T, kv_heads · head_dim].
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a> {
    pub(super) query: &'a [f32],
    pub(super) key: &'a [f32],
    pub(super) value: &'a [f32],
    pub(super) tokens: usize,
}

/// Some queries of one head and the keys that any of them sees.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    rows: usize,
    start: usize,
    keys: usize,
}

/// Query, key and value of one head.
#[derive(Clone, Copy)]
struct Head<'a> {
    query: MatRef<'a, f32>,
    key: MatRef<'a, f32>,
    value: MatRef<'a, f32>,
}

impl Attention {
    /// What every head mixes, [T, heads · head_dim].
    pub(super) fn whole(&self, ctx: &Ctx, of: Sequence<'_>) -> Vec<f32> {
        let (dim, wide) = (self.head_dim, self.heads * self.head_dim);
        let mut by_head = vec![0.0; of.tokens * wide];
        let heads = by_head.chunks_exact_mut(of.tokens * dim).enumerate();
        share(ctx, self.size(of.tokens), heads, |(head, out), _| {
            let parts = self.head(of, head);
            let mut scores = Vec::new();
            for tile in self.tiles_of(of.tokens) {
                self.probabilities(ctx, parts, tile, &mut scores, None);
                let to = MatMut::from_row_major_slice_mut(
                    &mut out[tile.first * dim..][..tile.rows * dim],
                    tile.rows,
                    dim,
                );
                let value = parts.value.subrows(tile.start, tile.keys);
                matmul(to, Accum::Replace, tile.of(&scores), value, 1.0, Par::Seq);
            }
        });
        let mut out = vec![0.0; of.tokens * wide];
        for (head, mixed) in by_head.chunks_exact(of.tokens * dim).enumerate() {
            add_columns(&mut out, wide, head * dim, mixed, dim);
        }
        out
    }

    /// Gradients of queries, keys and values from that of what is mixed.
    pub(super) fn backward(&self, ctx: &Ctx, of: Sequence<'_>, gradient: &[f32]) -> [Vec<f32>; 3] {
        let (dim, tokens) = (self.head_dim, of.tokens);
        let (wide, narrow) = (self.heads * dim, self.kv_heads * dim);
        let mut by_head = vec![0.0; 3 * tokens * wide];
        let heads = by_head.chunks_exact_mut(3 * tokens * dim).enumerate();
        share(ctx, 3 * self.size(tokens), heads, |(head, out), _| {
            let (query, rest) = out.split_at_mut(tokens * dim);
            let (key, value) = rest.split_at_mut(tokens * dim);
            let gradient = MatRef::from_row_major_slice(gradient, tokens, wide).subcols(head * dim, dim);
            self.head_backward(ctx, self.head(of, head), gradient, [query, key, value]);
        });
        let mut all = [vec![0.0; tokens * wide], vec![0.0; tokens * narrow], vec![0.0; tokens * narrow]];
        let group = self.heads / self.kv_heads;
        for (head, parts) in by_head.chunks_exact(3 * tokens * dim).enumerate() {
            let columns = [(wide, head * dim), (narrow, head / group * dim), (narrow, head / group * dim)];
            for ((all, part), (width, at)) in
                all.iter_mut().zip(parts.chunks_exact(tokens * dim)).zip(columns)
            {
                add_columns(all, width, at, part, dim);
            }
        }
        all
    }

    fn head_backward(
        &self,
        ctx: &Ctx,
        of: Head<'_>,
        gradient: MatRef<'_, f32>,
        [query, key, value]: [&mut [f32]; 3],
    ) {
        let dim = self.head_dim;
        let (mut scores, mut slopes, mut change) = (Vec::new(), Vec::new(), Vec::new());
        for tile in self.tiles_of(of.query.nrows()) {
            self.probabilities(ctx, of, tile, &mut scores, Some(&mut slopes));
            let gradient = gradient.subrows(tile.first, tile.rows);
            let (keys, values) =
                (of.key.subrows(tile.start, tile.keys), of.value.subrows(tile.start, tile.keys));
            change.resize(tile.rows * tile.keys, 0.0);
            let to = MatMut::from_row_major_slice_mut(&mut change, tile.rows, tile.keys);
            matmul(to, Accum::Replace, gradient, values.transpose(), 1.0, Par::Seq);
            let seen = tile.start * dim..(tile.start + tile.keys) * dim;
            let to = MatMut::from_row_major_slice_mut(&mut value[seen.clone()], tile.keys, dim);
            matmul(to, Accum::Add, tile.of(&scores).transpose(), gradient, 1.0, Par::Seq);
            let rows = change.chunks_exact_mut(tile.keys).zip(scores.chunks_exact(tile.keys));
            for (change, probabilities) in rows {
                let mean: f32 = change.iter().zip(probabilities).map(|(c, p)| c * p).sum();
                change.iter_mut().zip(probabilities).for_each(|(c, p)| *c = p * (*c - mean));
            }
            if self.cap.is_some() {
                change.iter_mut().zip(&slopes).for_each(|(c, slope)| *c *= slope);
            }
            let to = MatMut::from_row_major_slice_mut(
                &mut query[tile.first * dim..][..tile.rows * dim],
                tile.rows,
                dim,
            );
            matmul(to, Accum::Replace, tile.of(&change), keys, 1.0, Par::Seq);
            let to = MatMut::from_row_major_slice_mut(&mut key[seen], tile.keys, dim);
            let queries = of.query.subrows(tile.first, tile.rows);
            matmul(to, Accum::Add, tile.of(&change).transpose(), queries, 1.0, Par::Seq);
        }
    }

    /// The softmax of a tile's scores, and the slopes of their cap where there is one.
    fn probabilities(
        &self,
        ctx: &Ctx,
        of: Head<'_>,
        tile: Tile,
        scores: &mut Vec<f32>,
        mut slopes: Option<&mut Vec<f32>>,
    ) {
        scores.resize(tile.rows * tile.keys, 0.0);
        let to = MatMut::from_row_major_slice_mut(scores, tile.rows, tile.keys);
        let keys = of.key.subrows(tile.start, tile.keys).transpose();
        matmul(to, Accum::Replace, of.query.subrows(tile.first, tile.rows), keys, 1.0, Par::Seq);
        if let Some(cap) = self.cap {
            ops::soft_cap(ctx.isa(), scores, cap);
            if let Some(slopes) = &mut slopes {
                slopes.clear();
                slopes.extend(scores.iter().map(|capped| cap_slope(*capped, cap)));
            }
        }
        for (i, row) in scores.chunks_exact_mut(tile.keys).enumerate() {
            let seen = self.visible(tile.first + i);
            row[..seen.start - tile.start].fill(f32::NEG_INFINITY);
            row[seen.end - tile.start..].fill(f32::NEG_INFINITY);
            ops::softmax(ctx.isa(), row);
        }
    }

    fn tiles_of(&self, tokens: usize) -> impl Iterator<Item = Tile> {
        (0..tokens).step_by(TILE).map(move |first| {
            let rows = TILE.min(tokens - first);
            let start = self.visible(first).start;
            Tile { first, rows, start, keys: first + rows - start }
        })
    }

    fn head<'a>(&self, of: Sequence<'a>, head: usize) -> Head<'a> {
        let (dim, tokens) = (self.head_dim, of.tokens);
        let kv_head = head / (self.heads / self.kv_heads);
        let of_head = |x: &'a [f32], heads: usize, head: usize| {
            MatRef::from_row_major_slice(x, tokens, heads * dim).subcols(head * dim, dim)
        };
        Head {
            query: of_head(of.query, self.heads, head),
            key: of_head(of.key, self.kv_heads, kv_head),
            value: of_head(of.value, self.kv_heads, kv_head),
        }
    }

    fn size(&self, tokens: usize) -> usize {
        self.heads * self.head_dim * tokens * tokens / MULTIPLICATIONS_PER_NUMBER
    }
}

impl Tile {
    fn of(self, scores: &[f32]) -> MatRef<'_, f32> {
        MatRef::from_row_major_slice(scores, self.rows, self.keys)
    }
}

/// Adds rows of `dim` elements to columns from `at` on of rows of `width`.
fn add_columns(out: &mut [f32], width: usize, at: usize, part: &[f32], dim: usize) {
    for (out, part) in out.chunks_exact_mut(width).zip(part.chunks_exact(dim)) {
        out[at..at + dim].iter_mut().zip(part).for_each(|(out, x)| *out += x);
    }
}
