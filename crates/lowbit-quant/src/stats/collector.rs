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
            hessian: (needs.inputs == Inputs::Hessian).then(|| Hessian::new(k)),
            waiting: Vec::new(),
            threads,
        }
    }

    pub(crate) fn add(&mut self, x: MatRef<'_>) {
        let samples = self.needs.samples as u64;
        for m in 0..x.rows() {
            let row = x.row(m);
            let each = self.abs_sum.iter_mut().zip(&mut self.abs_max).zip(&mut self.squares).zip(row);
            for (((sum, max), squares), x) in each {
                *sum += f64::from(x.abs());
                *max = max.max(x.abs());
                *squares += f64::from(*x) * f64::from(*x);
            }
            // Token i is taken where i · samples / expected steps up.
            let step = |i: u64| u128::from(i) * u128::from(samples) / u128::from(self.expected.max(1));
            if step(self.tokens) != step(self.tokens + 1) && self.samples.len() < self.needs.samples * self.k
            {
                self.samples.extend_from_slice(row);
            }
            self.tokens += 1;
            if self.hessian.is_some() {
                self.waiting.extend_from_slice(row);
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
        let count = self.tokens.max(1) as f64;
        let mean = |sums: &[f64]| sums.iter().map(|sum| (sum / count) as f32).collect();
        let magnitudes = [mean(&self.abs_sum), std::mem::take(&mut self.abs_max), mean(&self.squares)];
        InputStats::new(self.tokens, magnitudes, self.samples, self.hessian)
    }
}
