//! How far one engine's logits are from another's, and from the text.

use std::path::Path;

use anyhow::{Result, ensure};
use peers_protocol::{Reply, Request, read_f32};
use serde::Serialize;

use crate::child::{EngineProcess, unexpected};
use crate::statistics::Mean;
use crate::windows::{FIRST_ROW, Windows};

/// Logits of the second half of a window, `[rows, vocabulary]`.
pub(crate) struct Rows {
    pub(crate) values: Vec<f32>,
    pub(crate) vocabulary: usize,
}

/// Has an engine evaluate a window of the text.
pub(crate) fn rows(
    engine: &mut EngineProcess,
    windows: &Windows,
    index: usize,
    scratch: &Path,
) -> Result<Rows> {
    let out = scratch.join("logits");
    let request = Request::Logits { window: windows.input(index), first: FIRST_ROW, out: out.clone() };
    match engine.ask(&request)? {
        Reply::Logits { rows, vocabulary } => {
            let values = read_f32(&out)?;
            // Removed at once so that the next window's rows do not wait for these to reach the disk.
            std::fs::remove_file(&out)?;
            ensure!(
                values.len() == rows * vocabulary && rows == windows.targets(index).len() + 1,
                "{}: {} logits for {rows} rows of {vocabulary}",
                engine.spec().name,
                values.len()
            );
            Ok(Rows { values, vocabulary })
        }
        other => Err(unexpected(engine.spec(), &other)),
    }
}

/// Perplexity over scored tokens so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerplexitySum {
    loss: Mean,
}

impl PerplexitySum {
    /// Scores `targets` by the rows before them; rows beyond the targets are ignored.
    pub(crate) fn add(&mut self, rows: &Rows, targets: &[u32]) -> Result<()> {
        for (row, &target) in rows.values.chunks_exact(rows.vocabulary).zip(targets) {
            let target = row.get(target as usize).ok_or_else(|| {
                anyhow::anyhow!("token {target} is outside the {} logits of a row", rows.vocabulary)
            })?;
            self.loss.push(log_sum_exp(row) - f64::from(*target));
        }
        Ok(())
    }

    /// The estimate.
    pub(crate) fn estimate(&self) -> Perplexity {
        let perplexity = self.loss.mean().exp();
        Perplexity {
            perplexity,
            standard_error: perplexity * self.loss.standard_error(),
            tokens: self.loss.count(),
        }
    }
}

/// A perplexity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Perplexity {
    pub(crate) perplexity: f64,
    pub(crate) standard_error: f64,
    /// Scored tokens.
    pub(crate) tokens: u64,
}

/// Divergence of an engine Q from the reference P over the rows so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct DivergenceSum {
    divergences: Vec<f64>,
    agreements: u64,
}

impl DivergenceSum {
    /// Compares two engines' rows of one window, the last excepted: it predicts what no window scores.
    pub(crate) fn add(&mut self, reference: &Rows, other: &Rows) -> Result<()> {
        ensure!(
            reference.vocabulary == other.vocabulary && reference.values.len() == other.values.len(),
            "rows of {} logits cannot be compared with rows of {}",
            reference.vocabulary,
            other.vocabulary
        );
        let rows = reference.values.len() / reference.vocabulary;
        let pairs = reference
            .values
            .chunks_exact(reference.vocabulary)
            .zip(other.values.chunks_exact(other.vocabulary));
        for (p, q) in pairs.take(rows.saturating_sub(1)) {
            self.divergences.push(divergence(p, q));
            self.agreements += u64::from(argmax(p) == argmax(q));
        }
        Ok(())
    }

    /// The summary; `None` before the first row.
    pub(crate) fn summary(&self) -> Option<Divergence> {
        let mut sorted = self.divergences.clone();
        sorted.sort_by(f64::total_cmp);
        let max = *sorted.last()?;
        let mut mean = Mean::default();
        sorted.iter().for_each(|&value| mean.push(value));
        Some(Divergence {
            mean: mean.mean(),
            standard_error: mean.standard_error(),
            percentile_99: sorted[(sorted.len() - 1) * 99 / 100],
            max,
            top1_agreement: self.agreements as f64 / sorted.len() as f64,
        })
    }
}

/// Kullback-Leibler divergence KL(P ‖ Q) in nats and agreement about the likeliest token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Divergence {
    pub(crate) mean: f64,
    pub(crate) standard_error: f64,
    pub(crate) percentile_99: f64,
    pub(crate) max: f64,
    /// Share of rows in which both have the same likeliest token.
    pub(crate) top1_agreement: f64,
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&logit| f64::from((logit - max).exp())).sum();
    f64::from(max) + sum.ln()
}

/// KL(softmax p ‖ softmax q). Exponentials in f32: each is off by some 1e-7 of itself, so the sum by no
/// more than 1e-7 times the mean |log p − log q|.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let offset = log_sum_exp(q) - log_sum_exp(p);
    let max = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut weighted, mut total) = (0.0_f64, 0.0_f64);
    for (&p, &q) in p.iter().zip(q) {
        let weight = f64::from((p - max).exp());
        total += weight;
        // A logit of minus infinity has weight zero, and zero times infinity is no number.
        if weight > 0.0 {
            weighted += weight * (f64::from(p) - f64::from(q));
        }
    }
    weighted / total + offset
}

/// Index of the largest logit, the first of equals.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in row.iter().enumerate() {
        if logit > row[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(probabilities: &[f64]) -> Vec<f32> {
        // Logits are defined up to a constant; 3.0 shows that it does not matter.
        probabilities.iter().map(|p| (p.ln() + 3.0) as f32).collect()
    }

    #[test]
    fn divergence_of_two_known_distributions() {
        let (p, q) = (logits(&[0.5, 0.25, 0.25]), logits(&[0.25, 0.25, 0.5]));
        // 0.5 ln 2 + 0.25 ln 1 + 0.25 ln ½; f32 logits of size 3 are off by up to 2e-7.
        assert!((divergence(&p, &q) - 0.25 * 2.0_f64.ln()).abs() < 1e-6);
        assert!(divergence(&p, &p).abs() < 1e-12);
    }

    #[test]
    fn an_impossible_token_of_the_reference_adds_nothing() {
        let p = [0.0, 0.0, f32::NEG_INFINITY];
        let q = [0.0, 0.0, 0.0];
        assert!((divergence(&p, &q) - (3.0_f64 / 2.0).ln()).abs() < 1e-6);
    }

    #[test]
    fn the_last_row_of_a_window_is_not_compared() {
        let reference = Rows { values: vec![0.0, 1.0, 1.0, 0.0, 5.0, 0.0], vocabulary: 2 };
        let other = Rows { values: vec![0.0, 1.0, 0.0, 1.0, 0.0, 5.0], vocabulary: 2 };
        let mut sum = DivergenceSum::default();
        assert!(sum.summary().is_none());
        sum.add(&reference, &other).unwrap();
        let summary = sum.summary().unwrap();
        assert_eq!(summary.top1_agreement, 0.5);
        // One row equal; in the other p = (e, 1) / (1 + e) and q is its mirror: (e − 1) / (e + 1).
        let mirrored = (1.0_f64.exp() - 1.0) / (1.0_f64.exp() + 1.0);
        assert!((summary.mean - mirrored / 2.0).abs() < 1e-6, "{summary:?}");
        assert!((summary.max - mirrored).abs() < 1e-6, "{summary:?}");
    }

    #[test]
    fn perplexity_of_a_uniform_row_is_the_size_of_the_vocabulary() {
        let mut sum = PerplexitySum::default();
        sum.add(&Rows { values: vec![-2.5; 7 * 3], vocabulary: 7 }, &[0, 6]).unwrap();
        let estimate = sum.estimate();
        assert_eq!(estimate.tokens, 2);
        assert!((estimate.perplexity - 7.0).abs() < 1e-5, "{estimate:?}");
        assert!(estimate.standard_error < 1e-6, "{estimate:?}");
        assert!(sum.add(&Rows { values: vec![0.0; 7], vocabulary: 7 }, &[7]).is_err());
    }

    #[test]
    fn rows_of_different_vocabularies_are_refused() {
        let mut sum = DivergenceSum::default();
        let rows = |vocabulary| Rows { values: vec![0.0; vocabulary], vocabulary };
        assert!(sum.add(&rows(4), &rows(5)).is_err());
    }
}
