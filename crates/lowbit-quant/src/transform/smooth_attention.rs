//! Keys made even and queries the other way round, which scores do not notice: keys have outliers in a few channels of a head,
//! and a cache of few bits rounds the others away.

use crate::{
    QuantError,
    driver::Work,
    stats::{InputStats, Inputs, Needs},
};
use lowbit_format::WeightSpec;
use lowbit_model::{ModelSpec, QkNorm, Role};

/// λᵢ = max|Kᵢ|^α divides channel i of the keys of every head and multiplies that of the queries that meet them, in the
/// projections and their biases. Channels that a rotary embedding turns together share the larger λ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothAttention {
    /// α, from 0 (nothing is changed) to 1.
    pub alpha: f32,
    /// Tokens whose keys are looked at.
    pub samples: usize,
}

impl SmoothAttention {
    pub(crate) fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, samples: self.samples, ..Needs::NONE }
    }

    /// Scales the projections of a block, `stats` being of what they read, with samples. Blocks whose queries and keys are
    /// normalized after their projection, or whose projections are not both rounded, stay as they are.
    pub(crate) fn fold(self, work: &mut Work<'_>, stats: &InputStats) -> Result<(), QuantError> {
        let grouped = |role: Role| {
            let mut layers = work.layers_of(role);
            layers.all(|layer| matches!(work.spec_of(&layer.tensor), Some(WeightSpec::Grouped(_))))
        };
        if work.model.qk_norm != QkNorm::None || !grouped(Role::Query) || !grouped(Role::Key) {
            return Ok(());
        }
        let largest = largest_keys(work, stats)?;
        let scales = scales(work.model, work.index, &largest, self.alpha);
        let (head, of_kv) = (work.model.head_dim, work.model.heads / work.model.kv_heads);
        let key = |n: usize| n / head / of_kv * head + n % head;
        work.edit_outputs(Role::Query, |n, w| *w *= scales[key(n)])?;
        work.edit_outputs(Role::Key, |n, w| *w /= scales[n])
    }
}

/// max|K| of every key channel over the sampled tokens, before positions are turned in.
fn largest_keys(work: &Work<'_>, stats: &InputStats) -> Result<Vec<f32>, QuantError> {
    let mut largest = vec![0.0; work.model.kv_width()];
    for layer in work.layers_of(Role::Key) {
        let (weights, shape) = work.decoded(&layer.tensor)?;
        let bias = work.bias(layer)?.unwrap_or_else(|| vec![0.0; layer.rows.len()]);
        let rows = weights[layer.rows.start * shape.k..layer.rows.end * shape.k].chunks_exact(shape.k);
        for ((row, bias), largest) in rows.zip(bias).zip(&mut largest) {
            // Samples of tokens that count the same were multiplied by a weight each, which the bias was not.
            let tokens = stats.samples.chunks_exact(shape.k).zip(&stats.sample_weights);
            let keys = tokens.filter(|(_, weight)| **weight > 0.0).map(|(x, weight)| {
                let product: f32 = row.iter().zip(x).map(|(w, x)| w * x).sum();
                product / weight + bias
            });
            *largest = keys.fold(0.0, |max: f32, key| max.max(key.abs()));
        }
    }
    Ok(largest)
}

/// λ of every key channel; 1 where keys are all zero.
fn scales(model: &ModelSpec, block: usize, largest: &[f32], alpha: f32) -> Vec<f32> {
    let mut scales = Vec::with_capacity(largest.len());
    for head in largest.chunks_exact(model.head_dim) {
        let lambda = |i: usize| head[i].max(head[model.turned_with(block, i)]).powf(alpha);
        let usable = |s: f32| if s.is_finite() && s > 1e-5 { s } else { 1.0 };
        scales.extend((0..head.len()).map(|i| usable(lambda(i))));
    }
    scales
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::fold::tests::{in_work, output};
    use lowbit_testing::{max_relative_error, seeded_values};

    fn stats(k: usize, weight: f32) -> InputStats {
        let rows = 20;
        let samples = seeded_values("inputs", rows * k, 1.0, 0.0).iter().map(|x| weight * x).collect();
        let magnitudes = [vec![1.0; k], vec![1.0; k], vec![1.0; k]];
        InputStats::new(rows as u64, magnitudes, (samples, vec![weight; rows]), None)
    }

    #[test]
    fn a_block_computes_the_same_with_even_keys_and_pairs_that_turn_together_share_a_scale() {
        for case in ["llama-mha", "llama-gqa", "llama-biases", "qwen2", "phi3-window", "mixtral"] {
            in_work(case, |work| {
                let stream = seeded_values("stream", 9 * work.model.hidden, 1.0, 0.0);
                let before = output(work, &stream);
                let stats = stats(work.model.hidden, 1.0);
                let keys = largest_keys(work, &stats).unwrap();
                SmoothAttention { alpha: 0.5, samples: 20 }.fold(work, &stats).unwrap();
                // A few roundings of single precision on the way.
                let error = max_relative_error(&before, &output(work, &stream));
                assert!(error < 2e-5, "{case} {error}");
                let head = work.model.head_dim;
                let turned = work.model.ropes[work.model.blocks[0].rope.unwrap()].dims;
                let adjacent = work.model.turned_with(0, 0) == 1;
                let after = largest_keys(work, &stats).unwrap();
                for (before, after) in keys.chunks_exact(head).zip(after.chunks_exact(head)) {
                    for i in 0..turned / 2 {
                        let (a, b) = if adjacent { (2 * i, 2 * i + 1) } else { (i, i + turned / 2) };
                        // λ is the square root of the larger one, which becomes that root.
                        let lambda = before[a].max(before[b]).sqrt();
                        for i in [a, b] {
                            assert!((after[i] - before[i] / lambda).abs() < 1e-4 * lambda, "{case} {i}");
                        }
                    }
                }
            });
        }
    }

    #[test]
    fn keys_are_those_of_the_inputs_as_they_were_before_tokens_were_made_to_count_the_same() {
        in_work("qwen2", |work| {
            let keys = |weight| largest_keys(work, &stats(work.model.hidden, weight)).unwrap();
            // A power of two, so that nothing is rounded.
            assert_eq!(keys(1.0), keys(0.25));
        });
    }

    #[test]
    fn keys_that_are_normalized_after_their_projection_stay_as_they_are() {
        in_work("gemma3", |work| {
            let stats = stats(work.model.hidden, 1.0);
            let tensor = work.layers_of(Role::Key).next().unwrap().tensor.clone();
            let before = work.decoded(&tensor).unwrap().0;
            SmoothAttention { alpha: 0.5, samples: 20 }.fold(work, &stats).unwrap();
            assert!(before == work.decoded(&tensor).unwrap().0);
        });
    }
}
