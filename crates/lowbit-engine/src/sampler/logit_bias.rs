//! Bias added to the logits of single tokens, before every other stage.
//!
//! The meaning is that of OpenAI's API: −100 to 100 is added to the model's logit. There, −100 "should result in a
//! ban"; here it does, exactly: the token is no candidate.

use std::collections::BTreeMap;

use super::candidates::Candidates;
use super::error::SamplerError;
use super::params::{from_to, within};

const BAN: f32 = -100.0;

pub(super) fn check(biases: &BTreeMap<u32, f32>) -> Result<(), SamplerError> {
    biases.values().try_for_each(|&bias| within("logit_bias", bias, from_to(BAN, 100.0)))
}

/// Biases of one request.
#[derive(Debug)]
pub(super) struct LogitBias {
    added: Vec<(u32, f32)>,
    /// Ascending, so that a ban is found by binary search.
    banned: Vec<u32>,
}

impl LogitBias {
    pub(super) fn new(biases: &BTreeMap<u32, f32>, vocab_size: usize) -> Result<Self, SamplerError> {
        if let Some((&id, _)) = biases.last_key_value()
            && id as usize >= vocab_size
        {
            return Err(SamplerError::BiasOutsideVocab { id, vocab_size });
        }
        let (banned, added): (Vec<_>, Vec<_>) = biases.iter().partition(|(_, bias)| **bias == BAN);
        Ok(Self {
            added: added.into_iter().map(|(&id, &bias)| (id, bias)).collect(),
            banned: banned.into_iter().map(|(&id, _)| id).collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.banned.is_empty()
    }

    pub(super) fn apply(&self, candidates: &mut Candidates) {
        for &(id, bias) in &self.added {
            candidates.edit(id, |logit| logit + bias);
        }
        if !self.banned.is_empty() {
            candidates.retain(|c| self.banned.binary_search(&c.id).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_and_bans() {
        let bias = LogitBias::new(&BTreeMap::from([(0, 2.0), (1, -100.0), (3, -1.0)]), 4).unwrap();
        let mut candidates = Candidates::new();
        candidates.fill(&[1.0; 4], |_| true);
        bias.apply(&mut candidates);
        let left: Vec<_> = candidates.as_slice().iter().map(|c| (c.id, c.logit)).collect();
        assert_eq!(left, [(0, 3.0), (2, 1.0), (3, 0.0)]);
    }

    #[test]
    fn a_token_outside_the_vocabulary_is_refused() {
        let error = LogitBias::new(&BTreeMap::from([(4, 2.0)]), 4).unwrap_err();
        assert_eq!(error, SamplerError::BiasOutsideVocab { id: 4, vocab_size: 4 });
    }
}
