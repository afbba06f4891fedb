//! What the tests of several stages share.

use std::borrow::Cow;

use super::{Sampler, SamplingParams, Vocab};

/// A vocabulary of words; encoding takes the longest word at each place.
pub(super) struct Words<'a>(pub(super) &'a [&'a str]);

impl Vocab for Words<'_> {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, id: u32) -> Cow<'_, [u8]> {
        self.0[id as usize].as_bytes().into()
    }

    fn encode(&self, mut text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        while !text.is_empty() {
            let longest = (0..self.0.len()).filter(|&id| text.starts_with(self.0[id]));
            let id = longest.max_by_key(|&id| self.0[id].len()).expect("the test's words cover its text");
            ids.push(id as u32);
            text = &text[self.0[id].len()..];
        }
        ids
    }
}

/// Parameters with every stage off.
pub(super) fn plain() -> SamplingParams {
    SamplingParams::unmodified()
}

/// Logits of which the softmax gives these probabilities.
pub(super) fn logits_of(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32).collect()
}

pub(super) fn sampler_after(params: &SamplingParams, vocab_size: usize, history: &[u32]) -> Sampler {
    let words = vec!["w"; vocab_size];
    let mut sampler = Sampler::new(params, &Words(&words)).unwrap();
    history.iter().for_each(|&token| sampler.accept(token));
    sampler
}

/// Tokens and logits that the stages leave.
pub(super) fn logits_after(params: &SamplingParams, logits: &[f32], history: &[u32]) -> Vec<(u32, f32)> {
    let mut sampler = sampler_after(params, logits.len(), history);
    sampler.run_stages(logits, |_| true).unwrap();
    sampler.candidates.as_slice().iter().map(|c| (c.id, c.logit)).collect()
}

/// Tokens that the stages leave.
pub(super) fn ids_after(params: &SamplingParams, logits: &[f32]) -> Vec<u32> {
    logits_after(params, logits, &[]).into_iter().map(|(id, _)| id).collect()
}
