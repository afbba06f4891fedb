//! Whether a model that was just quantized still says what its source says: a smoke check in seconds.
//!
//! It finds a model that was broken, and tells a good format from a bad one. It is no benchmark: the text is short, so
//! the perplexities mean little by themselves; how far they are apart, and the divergence, say more.

use crate::{
    EvalError,
    compare::{Cut, ModelPair, compare_windows, same_vocabulary},
};
use lowbit_kernels::Ctx;
use lowbit_model::KvElement;
use serde::Serialize;
use std::ops::ControlFlow;

/// A text of 10 kB in several styles and languages of programs, written for this.
pub const SMOKE_TEXT: &str = include_str!("smoke.txt");

/// Tokens of a window.
const WINDOW: usize = 256;

/// First token of a window that is scored: the ones before have too little to go by.
const FIRST_SCORED: usize = 32;

/// Most windows.
const WINDOWS: usize = 8;

/// What a smoke check found. Logarithms are natural.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// Perplexity of the source on the text.
    pub source_perplexity: f64,
    /// Perplexity of the quantized model.
    pub perplexity: f64,
    /// Mean Kullback-Leibler divergence of its predictions from the source's.
    pub mean_kl: f64,
    /// Standard error of that.
    pub mean_kl_stderr: f64,
    /// Share of tokens before which both have the same most probable token, 0 to 1.
    pub top1_agreement: f64,
    /// Tokens scored.
    pub scored_tokens: usize,
}

impl Verification {
    /// What is plainly wrong, where something is: a sentence.
    pub fn verdict(&self) -> Option<&'static str> {
        if !self.mean_kl.is_finite() || self.mean_kl > BROKEN {
            Some(
                "the model was broken: it predicts something else than its source; take more bits or another method",
            )
        } else if self.mean_kl > WORSE {
            Some(
                "the model is much worse than its source; more bits, or a method with calibration data, may help",
            )
        } else {
            None
        }
    }
}

/// Nats of divergence from which a model was broken: of next tokens that are right half of the time little is left.
const BROKEN: f64 = 2.0;

/// Nats of divergence from which anybody notices.
const WORSE: f64 = 0.5;

/// Compares a quantized model (`other`) with its source (`reference`) on up to 2,048 tokens of `text`, eight windows
/// spread over it.
///
/// # Errors
/// Where the vocabularies differ, the text has fewer than 64 tokens, or logits are no numbers.
pub fn verify(models: ModelPair<'_>, ctx: &Ctx, text: &str) -> Result<Verification, EvalError> {
    same_vocabulary(models)?;
    let tokens = models.reference.encode(text)?;
    let context = [models.reference, models.other].map(|model| model.spec().longest());
    let window = WINDOW.min(context[0]).min(context[1]);
    let windows = windows(&tokens, window)?;
    let cut = Cut { of_chunks: windows.len(), first_scored: FIRST_SCORED, cache: KvElement::F16 };
    let found = compare_windows(models, ctx, windows.into_iter(), cut, |_| ControlFlow::Continue(()))?;
    let figures = found.figures;
    Ok(Verification {
        source_perplexity: figures.reference.perplexity,
        perplexity: figures.other.perplexity,
        mean_kl: figures.kl.mean,
        mean_kl_stderr: figures.kl.stderr,
        top1_agreement: figures.top1_agreement,
        scored_tokens: figures.scored_tokens,
    })
}

/// Up to [`WINDOWS`] windows that do not overlap, at equal distances; a text that is shorter than one is one.
fn windows(tokens: &[u32], window: usize) -> Result<Vec<Vec<u32>>, EvalError> {
    if tokens.len().min(window) < 2 * FIRST_SCORED {
        return Err(EvalError::TextTooShort { tokens: tokens.len(), window: 2 * FIRST_SCORED });
    }
    let count = (tokens.len() / window).clamp(1, WINDOWS);
    let distance = tokens.len() / count;
    Ok((0..count).map(|i| tokens[i * distance..].iter().take(window).copied().collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_spread_over_the_text_and_do_not_overlap() {
        for (tokens, count, length) in
            [(64, 1, 64), (256, 1, 256), (600, 2, 256), (5000, 8, 256), (2048, 8, 256)]
        {
            let all: Vec<u32> = (0..tokens).collect();
            let windows = windows(&all, 256).unwrap();
            assert_eq!(windows.len(), count, "{tokens}");
            assert!(windows.iter().all(|window| window.len() == length), "{tokens}");
            assert!(windows.windows(2).all(|pair| pair[0].last() < pair[1].first()), "{tokens}");
        }
        assert!(windows(&[0; 63], 256).unwrap_err().to_string().contains("63 tokens"));
        assert!(windows(&[0; 500], 63).is_err());
    }

    #[test]
    fn a_divergence_that_anybody_notices_is_said_and_a_small_one_is_not() {
        let of = |mean_kl| Verification {
            source_perplexity: 10.0,
            perplexity: 11.0,
            mean_kl,
            mean_kl_stderr: 0.01,
            top1_agreement: 0.8,
            scored_tokens: 1000,
        };
        assert_eq!(of(0.1).verdict(), None);
        assert!(of(0.7).verdict().unwrap().contains("much worse"));
        assert!(of(5.0).verdict().unwrap().contains("broken"));
        assert!(of(f64::NAN).verdict().unwrap().contains("broken"));
    }
}
