//! OpenAI's `/v1/responses`. Nothing is stored: a conversation is sent whole each time.

use super::{
    ask,
    messages::{call_message, text_of},
};
use crate::{
    answer::Asked,
    app::App,
    connection::Peer,
    conversation::{Conversation, Format, schema},
    error::ApiError,
    fields::{Fields, each, expected},
    forms::Responses,
    sampling,
    served::Served,
    tools::{Tool, arguments, function, tool_choice, tools},
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
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Fields that mean something this server does not do.
const UNSUPPORTED: &[&str] = &[
    "context_management",
    "conversation",
    "max_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "stream_options",
];

/// What a response repeats of its request.
const REPEATED: &[&str] = &[
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
];

pub(crate) async fn responses(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    ask(app, peer, request, prepare).await
}

fn prepare(_: &App, served: &Served, mut fields: Fields, peer: String) -> Result<Asked, ApiError> {
    let mut head: Map<String, Value> = [
        ("model", json!(served.id)),
        ("background", json!(false)),
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("store", json!(false)),
        ("temperature", json!(1.0)),
        ("text", json!({ "format": { "type": "text" } })),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    for name in REPEATED {
        if let Some(value) = fields.peek(name) {
            head.insert((*name).to_owned(), value.clone());
        }
    }
    let most = served.context() as u64;
    let max_tokens = fields.count("max_output_tokens", 1..=most)?.map(|tokens| tokens as usize);
    let mut sampling = sampling::basic(&mut fields, 2.0)?;
    let included = include(fields.take("include"))?;
    let top = fields.count("top_logprobs", 0..=20)?;
    let logprobs = included || top.is_some_and(|top| top > 0);
    sampling.top_logprobs = top.unwrap_or(0) as u32;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let user = fields.text("user")?;
    fields.only("store", &[json!(false)])?;
    if let Some(metadata) = fields.take("metadata") {
        Fields::object("metadata", metadata)?;
    }
    fields.only("background", &[json!(false)])?;
    fields.only("truncation", &[json!("disabled")])?;
    fields.only("service_tier", &[json!("auto"), json!("default")])?;
    fields.only(
        "reasoning",
        &[json!({}), json!({ "effort": null }), json!({ "effort": null, "summary": null })],
    )?;
    UNSUPPORTED.iter().try_for_each(|name| fields.only(name, &[]))?;
    let mut messages = Vec::new();
    if let Some(instructions) = fields.text("instructions")? {
        messages.push(Message::new("system", instructions));
    }
    input(fields.take("input"), &mut messages)?;
    let conversation = Conversation {
        messages,
        tools: tools(fields.take("tools"), tool)?,
        choice: tool_choice(fields.take("tool_choice"))?,
        single_call: !fields.flag("parallel_tool_calls")?.unwrap_or(true),
        format: format(fields.take("text"))?,
    };
    fields.finish("")?;

    let prepared = conversation.prepare(served, 1)?;
    let generate = GenerateRequest {
        prompt: prepared.prompt,
        sampling,
        max_tokens,
        stop: Vec::new(),
        grammar: prepared.grammar,
    };
    Ok(Asked {
        form: Box::new(Responses::new(head.into(), logprobs)),
        client: user.unwrap_or(peer),
        requests: vec![Sequence { generate, history: History::Nothing, ..Sequence::default() }],
        parts: prepared.parts,
        n: 1,
        stream,
    })
}

/// Whether log-probabilities are asked for; other things that could be included do not exist here.
fn include(value: Option<Value>) -> Result<bool, ApiError> {
    let list = match value {
        None => return Ok(false),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(expected("include", "a list", &other)),
    };
    let known = ["message.output_text.logprobs", "reasoning.encrypted_content"];
    if let Some(other) = list.iter().find(|item| !known.iter().any(|known| *item == known)) {
        return Err(expected("include", known[0], other));
    }
    Ok(list.iter().any(|item| item == known[0]))
}

fn format(text: Option<Value>) -> Result<Format, ApiError> {
    let Some(text) = text else { return Ok(Format::Text) };
    let mut fields = Fields::object("text", text)?;
    fields.only("verbosity", &[json!("medium")])?;
    let format = fields.take("format");
    fields.finish("text")?;
    let Some(format) = format else { return Ok(Format::Text) };
    let path = "text.format";
    let mut fields = Fields::object(path, format)?;
    let kind = fields.is(path, "type", &["text", "json_object", "json_schema"])?;
    let format = match kind.as_str() {
        "json_object" => Format::json_object(path),
        "json_schema" => schema(path, &mut fields)?,
        _ => Format::Text,
    };
    fields.finish(path)?;
    Ok(format)
}

/// `{"type": "function", "name", "description", "parameters", "strict"}`.
fn tool(path: &str, mut fields: Fields) -> Result<Tool, ApiError> {
    fields.is(path, "type", &["function"])?;
    function(path, &mut fields, "parameters")
}

/// A text, or messages, calls and what came of them.
fn input(value: Option<Value>, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    match value {
        None => Err(ApiError::field("input", "missing")),
        Some(Value::String(text)) => {
            messages.push(Message::new("user", text));
            Ok(())
        }
        Some(Value::Array(list)) if !list.is_empty() => {
            each("input", list, |path, item| one(path, item, messages)).map(drop)
        }
        Some(other) => Err(expected("input", "a string or a list of at least one item", &other)),
    }
}

fn one(path: &str, item: Value, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let mut fields = Fields::object(path, item)?;
    let kind = fields.text("type")?.unwrap_or_else(|| "message".into());
    // Of items that come back as they were sent.
    ["id", "status"].iter().for_each(|name| drop(fields.take(name)));
    match kind.as_str() {
        "message" => {
            let role = fields.is(path, "role", &["system", "developer", "user", "assistant"])?;
            let role = if role == "developer" { "system" } else { &role };
            let content = fields.take("content").unwrap_or_default();
            let text = text_of(&format!("{path}.content"), content, &["input_text", "output_text", "text"])?;
            messages.push(Message::new(role, text));
        }
        "function_call" => {
            let name = fields.text("name")?.unwrap_or_default();
            let arguments = arguments(fields.text("arguments")?.unwrap_or_default());
            let call = call_message(fields.text("call_id")?, &name, arguments);
            match messages.last_mut() {
                // Calls of one answer are one message.
                Some(last) if last.role == "assistant" => {
                    let calls = last.extra.entry("tool_calls").or_insert_with(|| json!([]));
                    calls.as_array_mut().into_iter().for_each(|calls| calls.push(call.clone()));
                }
                _ => {
                    let mut message = Message::new("assistant", "");
                    message.extra.insert("tool_calls".into(), json!([call]));
                    messages.push(message);
                }
            }
        }
        "function_call_output" => {
            let output = fields.take("output").unwrap_or_default();
            let text = text_of(&format!("{path}.output"), output, &["input_text", "output_text", "text"])?;
            let mut message = Message::new("tool", text);
            message.extra.insert("tool_call_id".into(), fields.text("call_id")?.into());
            messages.push(message);
        }
        // The model's own template decides whether thoughts of earlier turns are read: they are not.
        "reasoning" => {
            ["summary", "content", "encrypted_content"].iter().for_each(|name| drop(fields.take(name)))
        }
        _ => {
            let what = "message, function_call, function_call_output or reasoning";
            return Err(expected(&format!("{path}.type"), what, &kind.into()));
        }
    }
    fields.finish(path)
}
