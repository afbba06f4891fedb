//! Collecting while a model runs.

use super::{Hessian, InputStats, Inputs, Needs};
use lowbit_kernels::MatRef;

/// Rows that are kept back and added together: products of more rows are faster.
const ROWS: usize = 2048;

/// Sums over the inputs of a layer so far.
#[derive(Debug)]
pub(crate) struct Collector {
    k: usize,
    needs: Needs,
    /// Tokens that the whole calibration will have.
    expected: u64,
    tokens: u64,
    abs_sum: Vec<f64>,
    abs_max: Vec<f32>,
    squares: Vec<f64>,
    samples: Vec<f32>,
    sample_weights: Vec<f32>,
    hessian: Option<Hessian>,
    waiting: Vec<f32>,
    threads: usize,
}

impl Collector {
    pub(crate) fn new(k: usize, needs: Needs, expected: u64, threads: usize) -> Self {
        Self {
            k,
            needs,
            expected,
            tokens: 0,
            abs_sum: vec![0.0; k],
            abs_max: vec![0.0; k],
            squares: vec![0.0; k],
            samples: Vec::new(),
            sample_weights: Vec::new(),
            hessian: (needs.inputs == Inputs::Hessian).then(|| Hessian::new(k)),
            waiting: Vec::new(),
            threads,
        }
    }

    pub(crate) fn add(&mut self, x: MatRef<'_>) {
        let samples = self.needs.samples as u64;
        for m in 0..x.rows() {
            let row = x.row(m);
            let weight = if self.needs.equal_tokens { per_root_mean_square(row) } else { 1.0 };
            let each = self.abs_sum.iter_mut().zip(&mut self.abs_max).zip(&mut self.squares).zip(row);
            for (((sum, max), squares), x) in each {
                *sum += f64::from((x * weight).abs());
                *max = max.max(x.abs());
                *squares += f64::from(x * weight).powi(2);
            }
            // Token i is taken where i · samples / expected steps up.
            let step = |i: u64| u128::from(i) * u128::from(samples) / u128::from(self.expected.max(1));
            if step(self.tokens) != step(self.tokens + 1) && self.samples.len() < self.needs.samples * self.k
            {
                self.samples.extend(row.iter().map(|x| x * weight));
                self.sample_weights.push(weight);
            }
            self.tokens += 1;
            if self.hessian.is_some() {
                self.waiting.extend(row.iter().map(|x| x * weight));
            }
            if self.waiting.len() >= ROWS * self.k {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if let Some(hessian) = &mut self.hessian
            && !self.waiting.is_empty()
        {
            hessian.add(&self.waiting, self.threads);
            self.waiting.clear();
        }
    }

    pub(crate) fn finish(mut self) -> InputStats {
        self.flush();
        if self.needs.shrink {
            self.hessian.iter_mut().for_each(Hessian::shrink);
        }
        let count = self.tokens.max(1) as f64;
        let mean = |sums: &[f64]| sums.iter().map(|sum| (sum / count) as f32).collect();
        let magnitudes = [mean(&self.abs_sum), std::mem::take(&mut self.abs_max), mean(&self.squares)];
        InputStats::new(self.tokens, magnitudes, (self.samples, self.sample_weights), self.hessian)
    }
}

/// What a row has to be multiplied by for its mean square to be 1; 0 where it is all zeros.
fn per_root_mean_square(row: &[f32]) -> f32 {
    let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { (row.len() as f64 / squares).sqrt() as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_count_the_same_do_so_whatever_their_size() {
        let rows = [[1.0f32, 2.0, -1.0], [0.5, 0.0, 3.0], [0.0, 0.0, 0.0]];
        let stats = |sizes: [f32; 3]| {
            let needs = Needs { inputs: Inputs::Hessian, samples: 3, equal_tokens: true, shrink: false };
            let mut collector = Collector::new(3, needs, 3, 1);
            let x: Vec<f32> = rows.iter().zip(sizes).flat_map(|(row, s)| row.map(|x| s * x)).collect();
            collector.add(MatRef::new(&x, 3, 3));
            collector.finish()
        };
        // Powers of two, so that not even roundings differ.
        let (even, uneven) = (stats([1.0; 3]), stats([1024.0, 0.25, 1.0]));
        assert_eq!(even.mean_square, uneven.mean_square);
        assert_eq!(even.abs_mean, uneven.abs_mean);
        assert_eq!(even.samples, uneven.samples);
        let mean = even.mean_square.iter().sum::<f32>() / 3.0;
        assert!((mean - 2.0 / 3.0).abs() < 1e-6, "two of three tokens have a mean square of one: {mean}");
        let [even, uneven] = [even, uneven].map(|stats| stats.factor(0.01, &[]).unwrap());
        assert_eq!(even.column(2), uneven.column(2));
    }

    #[test]
    fn shrinking_halves_products_of_different_inputs_where_there_are_as_many_tokens_as_inputs() {
        let x = [1.0f32, 2.0, 0.5, -1.0];
        let factor = |shrink| {
            let needs = Needs { inputs: Inputs::Hessian, shrink, ..Needs::NONE };
            let mut collector = Collector::new(2, needs, 2, 1);
            collector.add(MatRef::new(&x, 2, 2));
            collector.finish().factor(0.01, &[]).unwrap()
        };
        let off_diagonal = |factor: &super::super::Factor| factor.column(1)[0] * factor.column(1)[1];
        // Σ x₀ x₁ = 2 − 1/2.
        assert!((off_diagonal(&factor(false)) - 1.5).abs() < 1e-6);
        assert!((off_diagonal(&factor(true)) - 0.75).abs() < 1e-6);
    }
}
