//! A model that is loaded and answers.

use crate::{error::ApiError, tools::Dialect};
use axum::http::StatusCode;
use lowbit_engine::{
    Model, Speculation,
    scheduler::{Scheduler, SchedulerOptions},
};
use lowbit_kernels::Ctx;
use lowbit_text::{ChatTemplate, SpecialText, Tokenizer};
use std::sync::Arc;

/// A model with its scheduler.
pub(crate) struct Served {
    /// What clients call it.
    pub(crate) id: String,
    pub(crate) scheduler: Scheduler,
    /// For what is computed beside the scheduler.
    pub(crate) ctx: Arc<Ctx>,
    /// Why there is none, where the model brings none that works.
    pub(crate) template: Result<ChatTemplate, String>,
    /// Bits stored for each weight, over all tensors.
    pub(crate) bits_per_weight: f64,
    /// How it is told of tools.
    pub(crate) dialect: Dialect,
}

impl Served {
    pub(crate) fn start(
        id: &str,
        model: Arc<Model>,
        ctx: Arc<Ctx>,
        (options, speculation): (SchedulerOptions, Option<Speculation>),
    ) -> Result<Self, lowbit_engine::EngineError> {
        let template = model.chat_template().map_err(|error| error.to_string());
        let dialect = Dialect::of(model.tokenizer()?.chat_template());
        let bits_per_weight = model.load_stats().bits_per_weight;
        let scheduler = Scheduler::speculating(model, ctx.clone(), options, speculation)?;
        Ok(Self { id: id.to_owned(), scheduler, ctx, template, bits_per_weight, dialect })
    }

    pub(crate) fn model(&self) -> &Model {
        self.scheduler.model()
    }

    pub(crate) fn context(&self) -> usize {
        self.scheduler.options().context
    }

    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer, ApiError> {
        Ok(self.model().tokenizer()?)
    }

    /// The template, for a field that needs it.
    pub(crate) fn template(&self, field: &str) -> Result<&ChatTemplate, ApiError> {
        self.template.as_ref().map_err(|why| {
            ApiError::field(field, format!("this model cannot chat ({why}); /v1/completions continues text"))
        })
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
        decoded.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.to_string()))
    }
}
