//! Anthropic's `/v1/messages` and `/v1/messages/count_tokens`.

use super::{
    ask, beside,
    messages::{call_message, text_of},
};
use crate::{
    answer::Asked,
    app::{App, Required},
    body,
    connection::Peer,
    conversation::Conversation,
    error::{ApiError, json_response},
    fields::{Fields, each_message},
    forms::Messages,
    sampling,
    served::Served,
    tools::{Tool, ToolChoice, function, tools},
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

/// Fields that mean something this server does not do.
const UNSUPPORTED: &[&str] = &["container", "context_management", "mcp_servers", "inference_geo"];

pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    ask(app, peer, request, prepare).await
}

pub(crate) async fn count_tokens(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    let served = app.model(&mut fields, Required::Yes).await?;
    beside(move || {
        let conversation = conversation(&mut fields)?;
        fields.finish("")?;
        let tokens = conversation.prepare(&served, 0)?.prompt.len();
        Ok(json_response(&json!({ "input_tokens": tokens })))
    })
    .await
}

fn prepare(_: &App, served: &Served, mut fields: Fields, peer: String) -> Result<Asked, ApiError> {
    let most = served.context() as u64;
    let max_tokens = fields.count("max_tokens", 1..=u64::from(u32::MAX))?;
    let max_tokens = max_tokens.ok_or_else(|| ApiError::field("max_tokens", "missing"))?;
    if max_tokens > most {
        let message = format!("{max_tokens} tokens, and the context has {most}; ask for fewer");
        return Err(ApiError::field("max_tokens", message));
    }
    let mut sampling = sampling::basic(&mut fields, 1.0)?;
    sampling.top_k = fields.count("top_k", 0..=u64::from(u32::MAX))?.unwrap_or(0) as u32;
    let stop = sampling::stop(&mut fields, "stop_sequences")?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let user = match fields.take("metadata") {
        None => None,
        Some(metadata) => {
            let mut metadata = Fields::object("metadata", metadata)?;
            let user = metadata.text("user_id")?;
            metadata.finish("metadata")?;
            user
        }
    };
    fields.only("service_tier", &[json!("auto"), json!("standard_only")])?;
    let conversation = conversation(&mut fields)?;
    fields.finish("")?;

    let prepared = conversation.prepare(served, 1)?;
    let form = Messages::new(&served.id, prepared.prompt.len());
    let generate = GenerateRequest {
        prompt: prepared.prompt,
        sampling,
        max_tokens: Some(max_tokens as usize),
        stop,
        grammar: prepared.grammar,
    };
    Ok(Asked {
        form: Box::new(form),
        client: user.unwrap_or(peer),
        requests: vec![Sequence { generate, history: History::Nothing, ..Sequence::default() }],
        parts: prepared.parts,
        n: 1,
        stream,
    })
}

fn conversation(fields: &mut Fields) -> Result<Conversation, ApiError> {
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system") {
        messages.push(Message::new("system", text_of("system", system, &["text"])?));
    }
    each_message(fields.take("messages"), |path, message| one(path, message, &mut messages))?;
    let tools = tools(fields.take("tools"), tool)?;
    let (choice, single_call) = tool_choice(fields.take("tool_choice"))?;
    fields.only("thinking", &[json!({ "type": "disabled" })])?;
    fields.take("cache_control");
    UNSUPPORTED.iter().try_for_each(|name| fields.only(name, &[]))?;
    Ok(Conversation { messages, tools, choice, single_call, ..Conversation::default() })
}

/// A message; results of tools become messages of their own.
fn one(path: &str, message: Value, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let mut fields = Fields::object(path, message)?;
    let role = fields.is(path, "role", &["user", "assistant", "system"])?;
    let content = fields.take("content").unwrap_or_default();
    fields.finish(path)?;
    let path = format!("{path}.content");
    let Value::Array(blocks) = content else {
        messages.push(Message::new(role, text_of(&path, content, &["text"])?));
        return Ok(());
    };
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for (place, block) in blocks.into_iter().enumerate() {
        let path = format!("{path}[{place}]");
        let mut fields = Fields::object(&path, block)?;
        let kinds: &[&str] = match role.as_str() {
            "assistant" => &["text", "tool_use", "thinking", "redacted_thinking"],
            _ => &["text", "tool_result"],
        };
        let kind = fields.is(&path, "type", kinds)?;
        fields.take("cache_control");
        match kind.as_str() {
            "text" => {
                text.push_str(&fields.text("text")?.unwrap_or_default());
                fields.take("citations");
            }
            "thinking" => {
                thought.push_str(&fields.text("thinking")?.unwrap_or_default());
                fields.take("signature");
            }
            "redacted_thinking" => drop(fields.take("data")),
            "tool_use" => {
                let name = fields.text("name")?.unwrap_or_default();
                let input = fields.take("input").unwrap_or(json!({}));
                calls.push(call_message(fields.text("id")?, &name, input));
            }
            _ => {
                let content = fields.take("content").unwrap_or(json!(""));
                let result = text_of(&format!("{path}.content"), content, &["text"])?;
                let failed = fields.flag("is_error")?.unwrap_or(false);
                let result = if failed { format!("Error: {result}") } else { result };
                let mut message = Message::new("tool", result);
                let id = fields.text("tool_use_id")?;
                message.extra.insert("tool_call_id".into(), id.into());
                messages.push(message);
            }
        }
        fields.finish(&path)?;
    }
    if !text.is_empty() || !calls.is_empty() {
        let mut message = Message::new(role, text);
        if !thought.is_empty() {
            message.extra.insert("reasoning_content".into(), thought.into());
        }
        if !calls.is_empty() {
            message.extra.insert("tool_calls".into(), calls.into());
        }
        messages.push(message);
    }
    Ok(())
}

fn tool(path: &str, mut fields: Fields) -> Result<Tool, ApiError> {
    if let Some(kind) = fields.text("type")?
        && kind != "custom"
    {
        let message = format!("{kind:?} runs on Anthropic's side; this server has tools of the client alone");
        return Err(ApiError::field(format!("{path}.type"), message));
    }
    fields.take("cache_control");
    function(path, &mut fields, "input_schema")
}

fn tool_choice(value: Option<Value>) -> Result<(ToolChoice, bool), ApiError> {
    let Some(value) = value else { return Ok((ToolChoice::Auto, false)) };
    let path = "tool_choice";
    let mut fields = Fields::object(path, value)?;
    let kind = fields.is(path, "type", &["auto", "any", "tool", "none"])?;
    let single = fields.flag("disable_parallel_tool_use")?.unwrap_or(false);
    let choice = match kind.as_str() {
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => {
            let name = fields.text("name")?;
            ToolChoice::Named(name.ok_or_else(|| ApiError::field("tool_choice.name", "missing"))?)
        }
        _ => ToolChoice::Auto,
    };
    fields.finish(path)?;
    Ok((choice, single))
}
