//! Where gradients begin: the last norm, the head, and the cross-entropy of the next token.

use super::{
    block::none_of,
    dense::MULTIPLICATIONS_PER_NUMBER,
    derivatives::{cap_slope, unnorm},
};
use crate::{
    ModelError, ModelSpec, Weights,
    build::{self, LastParts},
    rows::{share, share_rows},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::QuantTensor;
use lowbit_kernels::{Ctx, ops};

/// Logits that are held at the same time.
const LOGITS: usize = 1 << 24;
/// Rows of the head that are decoded together.
const ROWS: usize = 2048;

/// The end of a model.
pub struct LossHead {
    spec: ModelSpec,
    norm: Vec<f32>,
    weight: QuantTensor,
}

impl LossHead {
    /// The last norm and the head of a model.
    ///
    /// # Errors
    /// Where a tensor is absent or of another shape, and where the head's input is permuted or rotated.
    pub fn build(spec: &ModelSpec, weights: &dyn Weights) -> Result<Self, ModelError> {
        let LastParts { norm, head, input } = build::last_parts(spec, weights)?;
        if input.is_some() {
            let next = "take the model that it was made from";
            return Err(none_of("a head whose input is permuted or rotated".to_owned(), next));
        }
        Ok(Self { spec: spec.clone(), norm, weight: head })
    }

    /// The mean over all tokens but the first of −ln of the probability that the model gives to it, and the gradient of the stream
    /// after the last block, [T, hidden]. Of fewer than two tokens both are 0.
    ///
    /// # Errors
    /// Where a token is not in the vocabulary.
    ///
    /// # Panics
    /// Where the stream is not one of these tokens.
    pub fn loss(&self, ctx: &Ctx, stream: &[f32], tokens: &[u32]) -> Result<(f64, Vec<f32>), ModelError> {
        let (hidden, vocab) = (self.spec.hidden, self.spec.vocab);
        assert_eq!(stream.len(), tokens.len() * hidden, "a row of {hidden} elements for every token");
        if let Some(index) = tokens.iter().position(|id| *id as usize >= vocab) {
            return Err(ModelError::Token { index, id: tokens[index], vocab });
        }
        let mut gradient = vec![0.0; stream.len()];
        let Some((_, targets)) = tokens.split_first().filter(|(_, rest)| !rest.is_empty()) else {
            return Ok((0.0, gradient));
        };
        let mut normed = vec![0.0; targets.len() * hidden];
        share_rows(ctx, &mut normed, hidden, |m, out, _| {
            ops::rms_norm(ctx.isa(), &stream[m * hidden..][..hidden], &self.norm, self.spec.norm_eps, out);
        });
        let at_a_time = (LOGITS / vocab).max(1);
        let rows = gradient.chunks_mut(at_a_time * hidden).zip(normed.chunks(at_a_time * hidden));
        let mut lost = 0.0;
        for ((gradient, normed), some) in rows.zip(targets.chunks(at_a_time)) {
            lost += self.some(ctx, normed, (some, targets.len()), &mut gradient[..normed.len()]);
        }
        let asked = targets.len() * hidden;
        unnorm(ctx, &stream[..asked], &self.norm, self.spec.norm_eps, &mut gradient[..asked]);
        Ok((lost / targets.len() as f64, gradient))
    }

    /// What is lost at some tokens, summed up, and the gradient of what the head reads there, by the number of all.
    fn some(&self, ctx: &Ctx, normed: &[f32], (targets, all): (&[u32], usize), gradient: &mut [f32]) -> f64 {
        let (hidden, count) = (self.spec.hidden, targets.len());
        // A row for every token of the vocabulary: rows of the head are decoded once for all of them.
        let mut logits = vec![0.0; self.spec.vocab * count];
        let size = logits.len() * hidden / MULTIPLICATIONS_PER_NUMBER;
        let x = MatRef::from_row_major_slice(normed, count, hidden);
        share(ctx, size, logits.chunks_mut(ROWS * count).enumerate(), |(task, logits), _| {
            let weight = self.decoded(task, logits.len() / count);
            let weight = MatRef::from_row_major_slice(&weight, logits.len() / count, hidden);
            let to = MatMut::from_row_major_slice_mut(logits, weight.nrows(), count);
            matmul(to, Accum::Replace, weight, x.transpose(), 1.0, Par::Seq);
        });
        if let Some(cap) = self.spec.logit_cap {
            ops::soft_cap(ctx.isa(), &mut logits, cap);
        }
        let lost = self.unsoftmax(&mut logits, targets, all);
        // Parts of the sum over the vocabulary, added in their order.
        let tasks = self.spec.vocab.div_ceil(ROWS);
        let mut parts = vec![0.0; tasks * gradient.len()];
        share(ctx, size, parts.chunks_exact_mut(gradient.len()).enumerate(), |(task, part), _| {
            let slopes = logits.chunks(ROWS * count).nth(task).unwrap_or_default();
            let rows = slopes.len() / count;
            let weight = self.decoded(task, rows);
            let weight = MatRef::from_row_major_slice(&weight, rows, hidden);
            let slopes = MatRef::from_row_major_slice(slopes, rows, count).transpose();
            let to = MatMut::from_row_major_slice_mut(part, count, hidden);
            matmul(to, Accum::Replace, slopes, weight, 1.0, Par::Seq);
        });
        gradient.fill(0.0);
        parts.chunks_exact(gradient.len()).for_each(|part| ops::add(ctx.isa(), gradient, part));
        lost
    }

    /// Replaces logits [vocab, tokens] by the gradient of what is lost, and says how much that is, summed up.
    fn unsoftmax(&self, logits: &mut [f32], targets: &[u32], all: usize) -> f64 {
        let count = targets.len();
        let mut most = vec![f32::NEG_INFINITY; count];
        for row in logits.chunks_exact(count) {
            most.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(*x));
        }
        let mut sums = vec![0f64; count];
        for row in logits.chunks_exact(count) {
            let each = sums.iter_mut().zip(row).zip(&most);
            each.for_each(|((sum, x), most)| *sum += f64::from(ops::exp_non_positive(x - most)));
        }
        let at = |t: usize| targets[t] as usize * count + t;
        let each = (0..count).map(|t| sums[t].ln() + f64::from(most[t]) - f64::from(logits[at(t)]));
        let lost = each.sum();
        let factors: Vec<f32> = sums.iter().map(|sum| (1.0 / (sum * all as f64)) as f32).collect();
        for (token, row) in logits.chunks_exact_mut(count).enumerate() {
            for (t, x) in row.iter_mut().enumerate() {
                let slope = self.spec.logit_cap.map_or(1.0, |cap| cap_slope(*x, cap));
                let hit = if targets[t] as usize == token { 1.0 / all as f32 } else { 0.0 };
                *x = slope * (ops::exp_non_positive(*x - most[t]) * factors[t] - hit);
            }
        }
        lost
    }

    /// Rows of the head from the first of a task on.
    fn decoded(&self, task: usize, rows: usize) -> Vec<f32> {
        let mut weight = vec![0.0; rows * self.spec.hidden];
        let each = weight.chunks_exact_mut(self.spec.hidden).enumerate();
        each.for_each(|(i, row)| self.weight.decode_row(task * ROWS + i, row));
        weight
    }
}
