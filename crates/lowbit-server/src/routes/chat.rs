//! `/v1/chat/completions`: a conversation, rendered by the model's own template.

use super::beside;
use crate::{
    answer::{Asked, Shape, answer},
    app::App,
    body,
    connection::Peer,
    error::ApiError,
    fields::{Fields, expected},
    sampling::Common,
};
use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Request, Response},
};
use lowbit_engine::{
    GenerateRequest,
    scheduler::{History, Request as Sequence},
};
use lowbit_text::Message;
use serde_json::{Value, json};
use std::sync::Arc;

/// Fields of OpenAI's API that mean something this server does not do; null is the same as leaving them out.
const UNSUPPORTED: &[&str] = &[
    "audio",
    "function_call",
    "functions",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "verbosity",
    "web_search_options",
];

pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let fields = body::read(&app, request).await?;
    let preparing = app.clone();
    let asked = beside(move || prepare(&preparing, fields, peer.to_string())).await?;
    answer(app, asked).await
}

fn prepare(app: &App, mut fields: Fields, peer: String) -> Result<Asked, ApiError> {
    let Common { mut sampling, stop, n, stream, include_usage, user } = Common::take(&mut fields, app)?;
    let logprobs = fields.flag("logprobs")?.unwrap_or(false);
    if let Some(top) = fields.count("top_logprobs", 0..=20)? {
        if !logprobs {
            return Err(ApiError::field("top_logprobs", "only together with logprobs = true"));
        }
        sampling.top_logprobs = top as u32;
    }
    let max_tokens = max_tokens(&mut fields, app)?;
    let messages = messages(fields.take("messages"))?;
    fields.only("tools", &[json!([])])?;
    fields.only("tool_choice", &[json!("none")])?;
    fields.only("response_format", &[json!({ "type": "text" })])?;
    fields.only("modalities", &[json!(["text"])])?;
    fields.only("metadata", &[json!({})])?;
    UNSUPPORTED.iter().try_for_each(|name| fields.only(name, &[]))?;
    fields.finish("")?;

    let template = app.template.as_ref();
    let template = template.map_err(|why| {
        ApiError::field("messages", format!("this model cannot chat ({why}); /v1/completions continues text"))
    })?;
    let prompt = app.scheduler.model().encode_chat(template, &messages);
    let prompt = prompt.map_err(|error| ApiError::field("messages", error))?;
    let requests = (0..n).map(|choice| Sequence {
        generate: GenerateRequest {
            prompt: prompt.clone(),
            sampling: sampling.choice(choice),
            max_tokens,
            stop: stop.clone(),
        },
        history: History::Nothing,
        ..Sequence::default()
    });
    Ok(Asked {
        shape: Shape::Chat,
        client: user.unwrap_or(peer),
        requests: requests.collect(),
        n: n as usize,
        stream,
        include_usage,
        logprobs,
        echo: None,
    })
}

/// Two names for one number.
fn max_tokens(fields: &mut Fields, app: &App) -> Result<Option<usize>, ApiError> {
    let most = app.scheduler.options().context as u64;
    let old = fields.count("max_tokens", 1..=most)?;
    let new = fields.count("max_completion_tokens", 1..=most)?;
    if old.is_some() && new.is_some() && old != new {
        return Err(ApiError::field("max_tokens", "differs from max_completion_tokens; give one of them"));
    }
    Ok(new.or(old).map(|tokens| tokens as usize))
}

fn messages(value: Option<Value>) -> Result<Vec<Message>, ApiError> {
    match value {
        Some(Value::Array(list)) if !list.is_empty() => {
            list.into_iter().enumerate().map(|(place, message)| one(place, message)).collect()
        }
        Some(other) => Err(expected("messages", "a list of at least one message", &other)),
        None => Err(ApiError::field("messages", "missing")),
    }
}

fn one(place: usize, message: Value) -> Result<Message, ApiError> {
    let path = format!("messages[{place}]");
    let Value::Object(map) = message else { return Err(expected(&path, "an object", &message)) };
    let mut fields = Fields::of(map);
    let role = fields.take("role").unwrap_or_default();
    let role = match role.as_str() {
        // What models were trained to read.
        Some("developer") => "system",
        Some(known @ ("system" | "user" | "assistant")) => known,
        _ => {
            let what = "system, developer, user or assistant (tool calls are not supported by this server)";
            return Err(expected(&format!("{path}.role"), what, &role));
        }
    };
    let content = content(&format!("{path}.content"), fields.take("content").unwrap_or_default())?;
    fields.finish(&path)?;
    Ok(Message::new(role, content))
}

/// Text, or parts that are all text.
fn content(path: &str, content: Value) -> Result<String, ApiError> {
    match content {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            parts.into_iter().enumerate().map(|(place, part)| text_part(path, place, part)).collect()
        }
        other => Err(expected(path, "text or a list of text parts", &other)),
    }
}

fn text_part(path: &str, place: usize, part: Value) -> Result<String, ApiError> {
    let path = format!("{path}[{place}]");
    let Value::Object(map) = part else { return Err(expected(&path, "an object", &part)) };
    let mut fields = Fields::of(map);
    let kind = fields.take("type").unwrap_or_default();
    if kind != "text" {
        return Err(expected(
            &format!("{path}.type"),
            "\"text\", the only kind that this server reads",
            &kind,
        ));
    }
    let text = fields.take("text").unwrap_or_default();
    fields.finish(&path)?;
    match text {
        Value::String(text) => Ok(text),
        other => Err(expected(&format!("{path}.text"), "a string", &other)),
    }
}
