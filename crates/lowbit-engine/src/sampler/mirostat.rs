//! Mirostat 2 (Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity",
//! arXiv 2007.14966, and its released version 2).
//!
//! # Method
//! Keeps the average surprise of the text near τ bits by feedback on a limit μ, which begins at 2τ:
//!
//! ```text
//! keep x with −log2 P(x) ≤ μ (always the best one);   draw x from what is kept, renormalized;   μ ← μ − η·(S(x) − τ)
//! ```
//!
//! where S(x) is the surprise of the token under the renormalized distribution, as in llama.cpp.
//!
//! # Departures
//! Mirostat does the truncating alone, as in llama.cpp: the truncating stages do not run, and one that was set beside
//! it is refused. Penalties, DRY and temperature come before it; llama.cpp leaves the first two out without a word.

use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use super::error::SamplerError;
use super::numeric::ln;
use super::params::{above_to, within};

/// Settings of Mirostat 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirostat {
    /// Surprise to aim for, in bits a token. Above 0, to 20, default 5.
    pub tau: f32,
    /// Learning rate of the feedback. Above 0, to 1, default 0.1.
    pub eta: f32,
}

impl Default for Mirostat {
    fn default() -> Self {
        Self { tau: 5.0, eta: 0.1 }
    }
}

impl Mirostat {
    pub(super) fn check(&self) -> Result<(), SamplerError> {
        within("mirostat.tau", self.tau, above_to(0.0, 20.0))?;
        within("mirostat.eta", self.eta, above_to(0.0, 1.0))
    }
}

/// The feedback loop of one text.
#[derive(Debug)]
pub(super) struct MirostatState {
    tau: f64,
    eta: f64,
    /// Limit of the surprise in bits.
    mu: f64,
}

impl MirostatState {
    pub(super) fn new(settings: &Mirostat) -> Self {
        let tau = f64::from(settings.tau);
        Self { tau, eta: f64::from(settings.eta), mu: 2.0 * tau }
    }

    pub(super) fn truncate(&self, candidates: &mut Candidates) {
        let mass = candidates.mass();
        let most_nats = self.mu * std::f64::consts::LN_2;
        // The best token is at `mass.max`; its surprise may be above μ, and it stays.
        let lowest = (f64::from(mass.max) + mass.ln_total() - most_nats).min(f64::from(mass.max));
        let surprise_of_best = mass.ln_total();
        if surprise_of_best > most_nats {
            candidates.keep_best();
        } else {
            candidates.retain_from(lowest as f32);
        }
    }

    /// Learns how probable the token was that was drawn.
    pub(super) fn observe(&mut self, probability: f64) {
        let surprise = -ln(probability) / std::f64::consts::LN_2;
        self.mu -= self.eta * (surprise - self.tau);
    }

    pub(super) fn reset(&mut self) {
        self.mu = 2.0 * self.tau;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Words, logits_of, plain};
    use super::super::{Sampler, SamplingParams};
    use super::*;

    fn state(mu: f64) -> MirostatState {
        MirostatState { tau: 1.0, eta: 0.5, mu }
    }

    fn kept(mu: f64, probabilities: &[f64]) -> Vec<u32> {
        let mut candidates = Candidates::new();
        candidates.fill(&logits_of(probabilities), |_| true);
        state(mu).truncate(&mut candidates);
        candidates.as_slice().iter().map(|c| c.id).collect()
    }

    #[test]
    fn truncates_by_surprise_and_keeps_the_best() {
        // 1, 2, 3 and 3 bits.
        let probabilities = [0.125, 0.5, 0.25, 0.125];
        assert_eq!(kept(2.5, &probabilities), [1, 2]);
        assert_eq!(kept(3.1, &probabilities), [0, 1, 2, 3]);
        assert_eq!(kept(0.5, &probabilities), [1]);
        assert_eq!(kept(-4.0, &[0.25; 4]), [0]);
    }

    #[test]
    fn feedback_by_hand() {
        let mut state = state(2.0);
        state.observe(0.125);
        assert!((state.mu - 1.0).abs() < 1e-12, "2 − 0.5·(3 − 1)");
        state.observe(1.0);
        assert!((state.mu - 1.5).abs() < 1e-12, "1 − 0.5·(0 − 1)");
    }

    #[test]
    fn average_surprise_of_a_long_text_is_tau() {
        // Zipf's law over 2000 tokens has more than 5 bits, so that τ = 3 is within reach.
        let logits: Vec<f32> = (1..=2000).map(|rank| -(rank as f32).ln()).collect();
        let words = vec!["w"; logits.len()];
        let mirostat = Some(Mirostat { tau: 3.0, eta: 0.1 });
        let params = SamplingParams { mirostat, ..plain() };
        let mut sampler = Sampler::new(&params, &Words(&words)).unwrap();
        let steps = 5000;
        let mut bits = 0.0;
        for _ in 0..steps {
            let mu = sampler.mirostat.as_ref().unwrap().mu;
            sampler.sample(&logits).unwrap();
            bits += 3.0 + (mu - sampler.mirostat.as_ref().unwrap().mu) / 0.1f32 as f64;
        }
        // The errors sum to (μ₀ − μ_end)/η exactly, and μ stays within a few bits of its start.
        assert!((bits / f64::from(steps) - 3.0).abs() < 0.05, "{}", bits / f64::from(steps));
    }
}
