//! Predictions of two models for the same tokens, row by row.
//!
//! # Significance
//!
//! Whether one perplexity is higher than another is judged by the differences of the two losses token by token: both
//! models find the same tokens hard, so the differences scatter far less than the losses. Tokens of a window are not
//! independent, though, and where they hang together the spread of the windows' means shows it; the larger of the two
//! standard errors counts. A difference of more than two of it is unlikely to be chance.

use crate::{
    Divergence, Loss,
    divergence::{kl_of, top_token},
    loss::log_sum_exp,
    mean::Mean,
};
use serde::Serialize;

/// What two models say of one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Negative log-likelihood of the token in the reference and in the other, in nats.
    pub nats: [f64; 2],
    /// Divergence of the other from the reference, in nats.
    pub kl: f64,
    /// Whether both have the same most probable token.
    pub agree: bool,
}

impl Row {
    /// Compares logits before `token`; `None` where a log-likelihood or the divergence is no finite number.
    ///
    /// # Panics
    /// Where the rows have different lengths or no such token.
    pub fn of(reference: &[f32], other: &[f32], token: u32) -> Option<Self> {
        assert_eq!(reference.len(), other.len(), "logits of one vocabulary");
        let sums = [reference, other].map(log_sum_exp);
        let nats = |logits: &[f32], sum: f64| sum - f64::from(logits[token as usize]);
        let nats = [nats(reference, sums[0]), nats(other, sums[1])];
        let kl = kl_of((reference, sums[0]), (other, sums[1]));
        let agree = top_token(reference) == top_token(other);
        (nats.iter().all(|nats| nats.is_finite()) && kl.is_finite()).then_some(Self { nats, kl, agree })
    }
}

/// Rows added up, window by window.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    losses: [Loss; 2],
    divergence: Divergence,
    /// Of every row.
    kl: Vec<f64>,
    /// Loss of the other less that of the reference.
    difference: Mean,
    /// The same without its sign.
    moved: Mean,
    /// Of the window that is not over.
    window: Mean,
    /// Means of the windows that are.
    windows: Mean,
}

impl Pairs {
    /// Adds a row of the present window.
    pub fn add(&mut self, row: Row) {
        let difference = row.nats[1] - row.nats[0];
        self.losses.iter_mut().zip(row.nats).for_each(|(loss, nats)| loss.add(nats));
        self.divergence.add_row(row.kl, row.agree);
        self.kl.push(row.kl);
        self.difference.add(difference);
        self.moved.add(difference.abs());
        self.window.add(difference);
    }

    /// Ends a window.
    pub fn end_window(&mut self) {
        let window = std::mem::take(&mut self.window);
        if window.count > 0 {
            self.windows.add(window.mean());
        }
    }

    /// Losses of the reference and of the other.
    pub fn losses(&self) -> &[Loss; 2] {
        &self.losses
    }

    /// Mean divergence so far, in nats.
    pub fn mean_kl(&self) -> f64 {
        self.divergence.mean_kl()
    }

    /// Divergence of every row, in the order of the text.
    pub fn kl(&self) -> &[f64] {
        &self.kl
    }

    /// The figures.
    pub fn figures(&self) -> Figures {
        let [reference, other] = self.losses;
        let scored = |loss: Loss| Scored { perplexity: loss.perplexity(), stderr: loss.perplexity_error() };
        let mut sorted = self.kl.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        Figures {
            reference: scored(reference),
            other: scored(other),
            difference: Difference::of(self.difference, self.windows),
            kl: Spread {
                mean: self.divergence.mean_kl(),
                stderr: self.divergence.mean_kl_error(),
                median: quantile(&sorted, 0.5),
                p99: quantile(&sorted, 0.99),
                max: sorted.last().copied().unwrap_or(f64::NAN),
            },
            top1_agreement: self.divergence.top1_agreement(),
            top1_stderr: self.divergence.top1_agreement_error(),
            mean_abs_delta_log_p: self.moved.mean(),
            scored_tokens: self.divergence.rows,
        }
    }
}

/// How far two models are apart. Logarithms are natural.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Perplexity of the reference.
    pub reference: Scored,
    /// Perplexity of the other.
    pub other: Scored,
    /// By how much the second is higher.
    pub difference: Difference,
    /// Kullback-Leibler divergence of the other from the reference, of the predictions before each token.
    pub kl: Spread,
    /// Share of tokens before which both have the same most probable token, 0 to 1.
    pub top1_agreement: f64,
    /// Its standard error.
    pub top1_stderr: f64,
    /// Mean of |log q − log p| of the right token.
    pub mean_abs_delta_log_p: f64,
    /// Tokens scored.
    pub scored_tokens: usize,
}

/// A perplexity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// Exponential of the mean negative log-likelihood.
    pub perplexity: f64,
    /// Its standard error, tokens taken as independent.
    pub stderr: f64,
}

/// How two perplexities differ, from the differences of the losses of each token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Perplexity of the other over that of the reference.
    pub ratio: f64,
    /// Standard error of the ratio, to first order, from the larger of the two below.
    pub ratio_stderr: f64,
    /// Logarithm of the ratio: mean difference of the losses.
    pub nats: f64,
    /// Standard error of `nats`, tokens taken as independent.
    pub stderr_tokens: f64,
    /// Standard error of `nats`, windows taken as independent; NaN for fewer than two.
    pub stderr_windows: f64,
    /// `nats` in the larger of the standard errors; 0 where there is no difference.
    pub z: f64,
    /// How likely a difference as large as this is by chance, by the normal distribution.
    pub p: f64,
}

impl Difference {
    fn of(tokens: Mean, windows: Mean) -> Self {
        let (nats, stderr_tokens, stderr_windows) = (tokens.mean(), tokens.error(), windows.error());
        // A NaN is the smaller.
        let stderr = stderr_tokens.max(stderr_windows);
        let z = if nats == 0.0 { 0.0 } else { nats / stderr };
        Self {
            ratio: nats.exp(),
            ratio_stderr: nats.exp() * stderr,
            nats,
            stderr_tokens,
            stderr_windows,
            z,
            p: libm::erfc(z.abs() / std::f64::consts::SQRT_2),
        }
    }
}

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard error of the mean, tokens taken as independent.
    pub stderr: f64,
    /// Half of all are below.
    pub median: f64,
    /// 99 % are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// A quantile, between two numbers in proportion; NaN where there is none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let below = place.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    low + (high - low) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(reference: f64, other: f64) -> Row {
        Row { nats: [reference, other], kl: 0.5, agree: true }
    }

    #[test]
    fn a_model_against_itself_differs_by_exactly_nothing() {
        let logits: Vec<f32> = (0..300).map(|i| (i as f32 * 0.37).sin() * 9.0).collect();
        let mut pairs = Pairs::default();
        for token in 0..300 {
            pairs.add(Row::of(&logits, &logits, token).unwrap());
        }
        pairs.end_window();
        let figures = pairs.figures();
        assert_eq!((figures.kl.mean, figures.kl.max, figures.kl.stderr), (0.0, 0.0, 0.0));
        assert_eq!((figures.top1_agreement, figures.top1_stderr), (1.0, 0.0));
        assert_eq!(figures.mean_abs_delta_log_p, 0.0);
        assert_eq!(figures.reference, figures.other);
        let Difference { ratio, nats, z, p, .. } = figures.difference;
        assert_eq!((ratio, nats, z, p), (1.0, 0.0, 0.0, 1.0));
    }

    #[test]
    fn differences_are_judged_by_the_pairs_and_not_by_the_losses() {
        // Losses from 1 to 100, each of the other 0.1 or 0.3 higher.
        let mut pairs = Pairs::default();
        for token in 0..100 {
            let loss = 1.0 + f64::from(token);
            pairs.add(row(loss, loss + if token % 2 == 0 { 0.1 } else { 0.3 }));
            if token % 10 == 9 {
                pairs.end_window();
            }
        }
        let Difference { nats, stderr_tokens, stderr_windows, z, p, .. } = pairs.figures().difference;
        assert!((nats - 0.2).abs() < 1e-12);
        // Deviations of 0.1 over 99 degrees of freedom; all windows have the same mean.
        assert!((stderr_tokens - 0.1 / 99f64.sqrt()).abs() < 1e-9, "{stderr_tokens}");
        assert!(stderr_windows < 1e-7, "{stderr_windows}");
        assert!((z - nats / stderr_tokens).abs() < 1e-9 && p < 1e-20, "{z} {p}");
    }

    #[test]
    fn windows_that_differ_as_wholes_count_as_the_fewer_that_they_are() {
        let mut pairs = Pairs::default();
        for window in 0..4 {
            (0..100).for_each(|_| pairs.add(row(2.0, 2.0 + 0.1 * f64::from(window))));
            pairs.end_window();
        }
        let Difference { nats, stderr_tokens, stderr_windows, z, .. } = pairs.figures().difference;
        // Means 0, 0.1, 0.2, 0.3: variance 0.0125, over three degrees of freedom.
        assert!((stderr_windows - (0.0125f64 / 3.0).sqrt()).abs() < 1e-9);
        assert!(stderr_tokens < stderr_windows && (z - nats / stderr_windows).abs() < 1e-9);
    }

    #[test]
    fn quantiles_lie_between_numbers_in_proportion() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&[5.0], 0.99), 5.0);
        assert!((quantile(&(0..=100).map(f64::from).collect::<Vec<_>>(), 0.99) - 99.0).abs() < 1e-9);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_token_that_is_ruled_out_or_no_number_makes_no_row() {
        assert!(Row::of(&[0.0, f32::NEG_INFINITY], &[0.0, 0.0], 1).is_none());
        assert!(Row::of(&[0.0, 0.0], &[0.0, f32::NEG_INFINITY], 0).is_none());
        assert!(Row::of(&[f32::NAN, 0.0], &[0.0, 0.0], 1).is_none());
        assert!(Row::of(&[0.0, f32::NEG_INFINITY], &[0.0, 0.0], 0).is_some());
    }
}
