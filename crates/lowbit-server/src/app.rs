//! What all routes share.

use crate::{error::ApiError, server::Limits};
use lowbit_engine::scheduler::Scheduler;
use lowbit_text::{ChatTemplate, SpecialText, Tokenizer};
use std::time::{SystemTime, UNIX_EPOCH};

/// The model, its scheduler, and the rules.
pub(crate) struct App {
    pub(crate) scheduler: Scheduler,
    /// What clients call the model.
    pub(crate) model_id: String,
    /// Why there is none, where the model brings none that works.
    pub(crate) template: Result<ChatTemplate, String>,
    pub(crate) api_key: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) limits: Limits,
    /// Seconds since 1970 when the server was started.
    pub(crate) started: u64,
}

impl App {
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer, ApiError> {
        Ok(self.scheduler.model().tokenizer()?)
    }

    /// A token as clients see it, and its bytes. One that is no UTF-8 by itself is spelt `bytes:\xe6\xbc`.
    pub(crate) fn spell(&self, id: u32) -> (String, Vec<u8>) {
        let Ok(tokenizer) = self.tokenizer() else { return (String::new(), Vec::new()) };
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| format!("{text}\\x{byte:02x}")),
        };
        (text, bytes.to_vec())
    }

    /// The text of tokens, control tokens left out.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, ApiError> {
        let decoded = self.tokenizer()?.decode(ids, SpecialText::Hide);
        decoded.map_err(|error| ApiError::new(axum::http::StatusCode::BAD_REQUEST, error.to_string()))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
