//! Where in a model another one departs from it: the residual stream after every block.

use crate::mean::Mean;
use serde::Serialize;

/// How far the residual streams of two models are apart after one block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerError {
    /// The block, from 0.
    pub block: usize,
    /// Mean over tokens of ‖b − a‖ / ‖a‖, of the stream a of the reference and b of the other. By token, as a few tokens
    /// have streams a hundred times as long as the others, and would decide a quotient of sums.
    pub relative_error: f64,
    /// That of the token with the largest.
    pub worst: f64,
}

/// Errors added up, block by block.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    hidden: usize,
    blocks: Vec<(Mean, f64)>,
}

impl Layers {
    pub(crate) fn new(blocks: usize, hidden: usize) -> Self {
        Self { hidden, blocks: vec![(Mean::default(), 0.0); blocks] }
    }

    /// Adds streams of the same tokens: a row for each, blocks one after the other.
    ///
    /// # Panics
    /// Where the two have different lengths, or not a row of every token for every block.
    pub(crate) fn add(&mut self, reference: &[f32], other: &[f32]) {
        let block = reference.len() / self.blocks.len().max(1);
        assert!(
            reference.len() == other.len()
                && block.is_multiple_of(self.hidden)
                && block * self.blocks.len() == reference.len(),
            "streams of {} and {} numbers for {} blocks",
            reference.len(),
            other.len(),
            self.blocks.len()
        );
        if block == 0 {
            return;
        }
        let blocks = reference.chunks_exact(block).zip(other.chunks_exact(block));
        for ((a, b), (mean, worst)) in blocks.zip(&mut self.blocks) {
            for (a, b) in a.chunks_exact(self.hidden).zip(b.chunks_exact(self.hidden)) {
                let error = relative_error(a, b);
                mean.add(error);
                *worst = worst.max(error);
            }
        }
    }

    pub(crate) fn errors(&self) -> Vec<LayerError> {
        let errors = self.blocks.iter().enumerate().filter(|(_, (mean, _))| mean.count > 0);
        errors
            .map(|(block, (mean, worst))| LayerError { block, relative_error: mean.mean(), worst: *worst })
            .collect()
    }
}

/// ‖b − a‖ / ‖a‖, 0 where there is no difference.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let sum = |squares: &mut dyn Iterator<Item = f64>| squares.map(|x| x * x).sum::<f64>();
    let error = sum(&mut a.iter().zip(b).map(|(a, b)| f64::from(*b) - f64::from(*a)));
    let size = sum(&mut a.iter().map(|a| f64::from(*a)));
    if error == 0.0 { 0.0 } else { (error / size).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_each_token_and_of_each_block() {
        let mut layers = Layers::new(2, 2);
        // Two tokens: off by a half and by nothing after the first block, by a tenth and by twice after the second.
        layers.add(&[3.0, 4.0, 1e6, 0.0, 0.0, 10.0, 0.0, 1.0], &[3.0, 1.5, 1e6, 0.0, 0.0, 11.0, 0.0, 3.0]);
        let errors = layers.errors();
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[0], LayerError { block: 0, relative_error: 0.25, worst: 0.5 });
        assert_eq!((errors[1].block, errors[1].worst), (1, 2.0));
        assert!((errors[1].relative_error - 1.05).abs() < 1e-12);
    }

    #[test]
    fn nothing_against_nothing_is_no_error() {
        assert_eq!(relative_error(&[0.0], &[0.0]), 0.0);
        assert_eq!(relative_error(&[0.0], &[1.0]), f64::INFINITY);
        assert!(Layers::new(3, 4).errors().is_empty());
    }
}
