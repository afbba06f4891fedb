//! `/tokenize` and `/detokenize`: text to tokens and back.

use super::beside;
use crate::{
    app::{App, Required},
    body,
    conversation::Conversation,
    error::{ApiError, json_response},
    fields::{Fields, expected},
    served::Served,
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
    let served = app.model(&mut fields, Required::No).await?;
    beside(move || {
        let tokens = match fields.take("messages") {
            Some(messages) => rendered(&served, messages, &mut fields)?,
            None => plain(&served, &mut fields)?,
        };
        let context = served.context();
        Ok(json_response(&json!({ "count": tokens.len(), "max_model_len": context, "tokens": tokens })))
    })
    .await
}

/// Tokens of a conversation, as a chat has them before the answer.
fn rendered(served: &Served, messages: Value, fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    fields.only("add_generation_prompt", &[json!(true)])?;
    fields.only("add_special_tokens", &[json!(false)])?;
    fields.nothing_left()?;
    let messages = super::messages::messages(Some(messages))?;
    let conversation = Conversation { messages, ..Conversation::default() };
    Ok(conversation.prepare(served, 0)?.prompt)
}

fn plain(served: &Served, fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    let text = fields.text("prompt")?.ok_or_else(|| ApiError::field("prompt", "missing"))?;
    let affixes = match fields.flag("add_special_tokens")? {
        Some(false) => Affixes::None,
        _ => Affixes::Model,
    };
    fields.nothing_left()?;
    let tokens = served.tokenizer()?.encode(&text, SpecialTokens::AsText, affixes);
    tokens.map_err(|error| ApiError::field("prompt", error))
}

pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    let served = app.model(&mut fields, Required::No).await?;
    beside(move || {
        let tokens = fields.take("tokens").ok_or_else(|| ApiError::field("tokens", "missing"))?;
        let tokens = ids(&served, "tokens", tokens)?;
        fields.finish("")?;
        Ok(json_response(&json!({ "prompt": served.decode(&tokens)? })))
    })
    .await
}

/// A list of token ids.
pub(super) fn ids(served: &Served, path: &str, value: Value) -> Result<Vec<u32>, ApiError> {
    let vocab = served.tokenizer()?.vocab_len();
    let Value::Array(list) = value else { return Err(expected(path, "a list of token ids", &value)) };
    let id = |(place, value): (usize, &Value)| {
        let id = value.as_u64().filter(|id| *id < vocab as u64);
        id.map(|id| id as u32)
            .ok_or_else(|| expected(&format!("{path}[{place}]"), &format!("a token id below {vocab}"), value))
    };
    list.iter().enumerate().map(id).collect()
}
