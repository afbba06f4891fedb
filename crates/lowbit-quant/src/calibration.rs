//! What a model reads while statistics of its layers' inputs are collected.

use crate::QuantError;
use lowbit_model::ModelSpec;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Samples of text as tokens, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    windows: Vec<Vec<u32>>,
    origin: Value,
}

impl Calibration {
    /// Samples of at least one token each. `origin` says in plain data what they were taken from and how; it is kept in
    /// the file that is made.
    ///
    /// # Errors
    /// Where there are none, or one is empty.
    pub fn new(windows: Vec<Vec<u32>>, origin: Value) -> Result<Self, QuantError> {
        if windows.is_empty() || windows.iter().any(Vec::is_empty) {
            return Err(QuantError::Calibration { why: "it has no tokens".into() });
        }
        Ok(Self { windows, origin })
    }

    /// The samples.
    pub fn windows(&self) -> &[Vec<u32>] {
        &self.windows
    }

    /// Tokens of all of them.
    pub fn tokens(&self) -> u64 {
        self.windows.iter().map(|window| window.len() as u64).sum()
    }

    /// What provenance says of it: the origin, and a hash of the tokens.
    pub(crate) fn about(&self) -> Value {
        let mut hash = Sha256::new();
        for window in &self.windows {
            hash.update((window.len() as u64).to_le_bytes());
            window.iter().for_each(|token| hash.update(token.to_le_bytes()));
        }
        let sha256: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"samples": self.windows.len(), "tokens": self.tokens(), "tokens_sha256": sha256, "origin": self.origin})
    }

    pub(crate) fn check(&self, model: &ModelSpec) -> Result<(), QuantError> {
        let wrong = |why| Err(QuantError::Calibration { why });
        if let Some(token) = self.windows.iter().flatten().find(|token| **token as usize >= model.vocab) {
            return wrong(format!("token {token} is not below {}, the model's vocabulary", model.vocab));
        }
        match self.windows.iter().map(Vec::len).find(|len| *len > model.longest()) {
            Some(len) => wrong(format!("a sample has {len} tokens, the model takes {}", model.longest())),
            None => Ok(()),
        }
    }
}
