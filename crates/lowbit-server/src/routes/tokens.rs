//! `/tokenize` and `/detokenize`: text to tokens and back.

use super::beside;
use crate::{
    app::App,
    body,
    error::{ApiError, json_response},
    fields::expected,
    sampling::{Required, check_model},
};
use axum::{
    body::Body,
    extract::State,
    http::{Request, Response},
};
use lowbit_text::{Affixes, SpecialTokens};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    beside(move || {
        check_model(&mut fields, &app, Required::No)?;
        let text = fields.text("prompt")?.ok_or_else(|| ApiError::field("prompt", "missing"))?;
        let affixes = match fields.flag("add_special_tokens")? {
            Some(false) => Affixes::None,
            _ => Affixes::Model,
        };
        fields.finish("")?;
        let tokens = app.tokenizer()?.encode(&text, SpecialTokens::AsText, affixes);
        let tokens = tokens.map_err(|error| ApiError::field("prompt", error))?;
        let context = app.scheduler.options().context;
        Ok(json_response(&json!({ "count": tokens.len(), "max_model_len": context, "tokens": tokens })))
    })
    .await
}

pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    beside(move || {
        check_model(&mut fields, &app, Required::No)?;
        let tokens = fields.take("tokens").ok_or_else(|| ApiError::field("tokens", "missing"))?;
        let tokens = ids(&app, "tokens", tokens)?;
        fields.finish("")?;
        Ok(json_response(&json!({ "prompt": app.decode(&tokens)? })))
    })
    .await
}

/// A list of token ids.
pub(super) fn ids(app: &App, path: &str, value: Value) -> Result<Vec<u32>, ApiError> {
    let vocab = app.tokenizer()?.vocab_len();
    let Value::Array(list) = value else { return Err(expected(path, "a list of token ids", &value)) };
    let id = |(place, value): (usize, &Value)| {
        let id = value.as_u64().filter(|id| *id < vocab as u64);
        id.map(|id| id as u32)
            .ok_or_else(|| expected(&format!("{path}[{place}]"), &format!("a token id below {vocab}"), value))
    };
    list.iter().enumerate().map(id).collect()
}
