//! One test of a model's speed: so many tokens, at once or one by one, after so many others.

use anyhow::Result;
use lowbit::{Logits, Model, Session};
use std::time::Instant;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) kind: Kind,
    pub(crate) tokens: usize,
    /// Tokens in the context before.
    pub(crate) depth: usize,
}

/// How tokens go through the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As a prompt, at once.
    Prompt,
    /// As they are written, one by one.
    Generate,
}

/// Tokens to run. Any do, but not always the same: experts are chosen by them.
pub(crate) fn tokens(model: &Model, length: usize) -> Vec<u32> {
    let vocab = model.spec().vocab as u32;
    (0..length as u32).map(|i| i.wrapping_mul(2_654_435_761) % vocab).collect()
}

/// One run of a test, in seconds; `tokens` begins with those that are in the context before.
pub(crate) fn time(session: &mut Session<'_>, test: Test, tokens: &[u32]) -> Result<f64> {
    session.truncate(test.depth);
    let start = Instant::now();
    match test.kind {
        Kind::Prompt => {
            session.prefill(tokens, |_| true)?;
        }
        Kind::Generate => {
            for token in &tokens[test.depth..] {
                session.feed(std::slice::from_ref(token), Logits::Last)?;
            }
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

impl Test {
    pub(crate) fn name(self) -> String {
        let kind = match self.kind {
            Kind::Prompt => "pp",
            Kind::Generate => "tg",
        };
        match self.depth {
            0 => format!("{kind}{}", self.tokens),
            depth => format!("{kind}{} @ d{depth}", self.tokens),
        }
    }
}

/// The median of ascending numbers.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_as_llama_bench_names_them() {
        let name = |kind, depth| Test { kind, tokens: 64, depth }.name();
        assert_eq!(name(Kind::Prompt, 0), "pp64");
        assert_eq!(name(Kind::Generate, 4096), "tg64 @ d4096");
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
