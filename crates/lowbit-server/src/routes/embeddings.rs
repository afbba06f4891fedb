//! Vectors of texts: OpenAI's `/v1/embeddings` and Ollama's `/api/embed`.
//!
//! A vector is the mean of the model's last hidden states, of length 1. Models that were trained for it do better.

use super::beside;
use crate::{
    app::{App, Required},
    body,
    error::{ApiError, json_response},
    fields::expected,
    served::Served,
};
use axum::{
    body::Body,
    extract::State,
    http::{Request, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

/// Texts of a request.
const MOST_TEXTS: usize = 256;

pub(crate) async fn openai(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    let served = app.model(&mut fields, Required::Yes).await?;
    beside(move || {
        let format = match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => Value::from,
            Some("base64") => base64,
            Some(other) => {
                return Err(expected("encoding_format", "float or base64", &other.into()));
            }
        };
        let hidden = served.model().spec().hidden;
        fields.only("dimensions", &[json!(hidden)])?;
        fields.text("user")?;
        let texts = texts(&served, fields.take("input"))?;
        fields.finish("")?;
        let tokens: usize = texts.iter().map(Vec::len).sum();
        let vectors = vectors(&app, &served, &texts)?.into_iter().enumerate();
        let data: Vec<Value> = vectors
            .map(|(index, vector)| json!({ "object": "embedding", "index": index, "embedding": format(vector) }))
            .collect();
        Ok(json_response(&json!({
            "object": "list",
            "data": data,
            "model": served.id,
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        })))
    })
    .await
}

pub(crate) async fn ollama(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    let served = app.model(&mut fields, Required::Yes).await?;
    let start = Instant::now();
    beside(move || {
        fields.only("truncate", &[json!(false)])?;
        fields.only("dimensions", &[json!(served.model().spec().hidden)])?;
        fields.only("options", &[json!({})])?;
        let stay = super::ollama::keep_alive(&mut fields)?;
        let texts = texts(&served, fields.take("input"))?;
        fields.finish("")?;
        let tokens: usize = texts.iter().map(Vec::len).sum();
        app.models.keep(&served.id, stay);
        let vectors = vectors(&app, &served, &texts)?;
        Ok(json_response(&json!({
            "model": served.id,
            "embeddings": vectors,
            "total_duration": start.elapsed().as_nanos() as u64,
            "load_duration": 0,
            "prompt_eval_count": tokens,
        })))
    })
    .await
}

fn vectors(app: &App, served: &Served, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ApiError> {
    let one = |tokens: &Vec<u32>| {
        let _turn = app.embedding.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(served.model().embed(&served.ctx, tokens)?)
    };
    texts.iter().map(one).collect()
}

/// Floats as bytes, the least first, as OpenAI's clients ask for them.
fn base64(vector: Vec<f32>) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    STANDARD.encode(bytes).into()
}

/// Tokens of a text, of tokens, or of a list of either.
fn texts(served: &Served, value: Option<Value>) -> Result<Vec<Vec<u32>>, ApiError> {
    match value {
        None => Err(ApiError::field("input", "missing")),
        Some(Value::Array(list)) if list.iter().any(|one| one.is_string() || one.is_array()) => {
            if list.len() > MOST_TEXTS {
                let message = format!("{} texts, expected at most {MOST_TEXTS}", list.len());
                return Err(ApiError::field("input", message));
            }
            let one = |(place, one): (usize, Value)| text(served, &format!("input[{place}]"), one);
            list.into_iter().enumerate().map(one).collect()
        }
        Some(one) => Ok(vec![text(served, "input", one)?]),
    }
}

fn text(served: &Served, path: &str, value: Value) -> Result<Vec<u32>, ApiError> {
    let tokens = match value {
        Value::String(text) => served.model().encode(&text).map_err(|error| ApiError::field(path, error))?,
        value => super::tokens::ids(served, path, value)?,
    };
    let context = served.context();
    match tokens.len() {
        0 => Err(ApiError::field(path, "has no token")),
        len if len > context => {
            let message = format!("has {len} tokens, and the context {context}; nothing is cut unasked");
            Err(ApiError::field(path, message).with_code("context_length_exceeded"))
        }
        _ => Ok(tokens),
    }
}
