//! Negative log-likelihood of tokens, summed up with its spread.

use crate::{EvalError, mean::Mean, step::in_step};
use lowbit_engine::Session;

/// Sum over scored tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss(Mean);

impl Loss {
    /// Adds a token's negative log-likelihood, in nats.
    pub fn add(&mut self, nats: f64) {
        self.0.add(nats);
    }

    /// Tokens scored.
    pub fn tokens(&self) -> usize {
        self.0.count
    }

    /// Mean over the tokens, in nats; NaN where there are none.
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// Standard error of the mean, tokens taken as independent; NaN for fewer than two.
    pub fn mean_error(&self) -> f64 {
        self.0.error()
    }

    /// The exponential of the mean.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    /// Standard error of [`Self::perplexity`], to first order.
    pub fn perplexity_error(&self) -> f64 {
        self.perplexity() * self.mean_error()
    }
}

/// Runs `tokens` as a text of their own through the session, forgetting what it held, and adds the loss of every token
/// from `first_scored` on. `window` is named in errors.
///
/// # Errors
/// Where the tokens do not fit the session, or logits are no numbers.
///
/// # Panics
/// Where `first_scored` is 0: nothing predicts the first token.
pub fn score(
    session: &mut Session<'_>,
    tokens: &[u32],
    first_scored: usize,
    window: usize,
    loss: &mut Loss,
) -> Result<(), EvalError> {
    in_step(&mut [session], tokens, first_scored, |[session], position, targets| {
        let rows = session.logits().chunks_exact(session.model().spec().vocab);
        for (i, (row, token)) in rows.zip(targets).enumerate() {
            let nats = negative_log_likelihood(row, *token);
            let wrong = || EvalError::not_finite(session.model(), window, position + i);
            loss.add(nats.ok_or_else(wrong)?);
        }
        Ok(())
    })
}

/// `log Σ exp(logits) − logits[token]`, in double precision; `None` where that is no number.
fn negative_log_likelihood(logits: &[f32], token: u32) -> Option<f64> {
    let nats = log_sum_exp(logits) - f64::from(*logits.get(token as usize)?);
    nats.is_finite().then_some(nats)
}

/// Logarithm of the sum of exponentials, in double precision.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_cost_the_logarithm_of_their_number_and_have_no_spread() {
        let mut loss = Loss::default();
        for token in 0..8 {
            loss.add(negative_log_likelihood(&[3.0; 8], token).unwrap());
        }
        assert!((loss.perplexity() - 8.0).abs() < 1e-12);
        assert!(loss.perplexity_error() < 1e-6);
    }

    #[test]
    fn mean_and_error_by_hand() {
        let mut loss = Loss::default();
        [1.0, 3.0].into_iter().for_each(|nats| loss.add(nats));
        // Variance 1 over two tokens, divided by one degree of freedom.
        assert_eq!((loss.mean(), loss.mean_error()), (2.0, 1.0));
        assert_eq!(loss.perplexity_error(), 2f64.exp());
        let mut one = Loss::default();
        one.add(1.0);
        assert!(one.mean_error().is_nan() && one.tokens() == 1);
    }

    #[test]
    fn large_logits_do_not_overflow_and_no_numbers_are_found_out() {
        let nats = negative_log_likelihood(&[1e30, 0.0], 0).unwrap();
        assert_eq!(nats, 0.0);
        assert!(negative_log_likelihood(&[f32::NAN, 0.0], 0).is_none());
        assert!(negative_log_likelihood(&[f32::NEG_INFINITY, 0.0], 0).is_none());
        assert!(negative_log_likelihood(&[0.0], 5).is_none());
    }
}
