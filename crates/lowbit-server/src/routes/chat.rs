//! `/v1/chat/completions`: a conversation, rendered by the model's own template.

use super::ask;
use crate::{
    answer::Asked,
    app::App,
    connection::Peer,
    conversation::{Conversation, Format},
    error::ApiError,
    fields::{Fields, each, each_message, expected},
    forms::Chat,
    sampling::Common,
    served::Served,
    tools::{Tool, ToolChoice, arguments, tools},
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
use lowbit_text::{GrammarSource, Message};
use serde_json::{Value, json};
use std::sync::Arc;

/// Fields of OpenAI's API that mean something this server does not do; null is the same as leaving them out.
const UNSUPPORTED: &[&str] = &[
    "audio",
    "function_call",
    "functions",
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
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    ask(app, peer, request, prepare).await
}

fn prepare(app: &App, served: &Served, mut fields: Fields, peer: String) -> Result<Asked, ApiError> {
    let Common { mut sampling, stop, n, stream, include_usage, user } =
        Common::take(&mut fields, app, served)?;
    let logprobs = fields.flag("logprobs")?.unwrap_or(false);
    if let Some(top) = fields.count("top_logprobs", 0..=20)? {
        if !logprobs {
            return Err(ApiError::field("top_logprobs", "only together with logprobs = true"));
        }
        sampling.top_logprobs = top as u32;
    }
    let max_tokens = max_tokens(&mut fields, served)?;
    let conversation = Conversation {
        messages: messages(fields.take("messages"))?,
        tools: tools(fields.take("tools"), tool)?,
        choice: tool_choice(fields.take("tool_choice"))?,
        single_call: !fields.flag("parallel_tool_calls")?.unwrap_or(true),
        format: response_format(fields.take("response_format"))?,
    };
    fields.only("modalities", &[json!(["text"])])?;
    fields.only("metadata", &[json!({})])?;
    UNSUPPORTED.iter().try_for_each(|name| fields.only(name, &[]))?;
    fields.finish("")?;

    let prepared = conversation.prepare(served, n as usize)?;
    let requests = (0..n).map(|choice| Sequence {
        generate: GenerateRequest {
            prompt: prepared.prompt.clone(),
            sampling: sampling.choice(choice),
            max_tokens,
            stop: stop.clone(),
            grammar: prepared.grammar.clone(),
        },
        history: History::Nothing,
        ..Sequence::default()
    });
    Ok(Asked {
        form: Box::new(Chat::new(&served.id, n as usize, logprobs, include_usage)),
        client: user.unwrap_or(peer),
        requests: requests.collect(),
        parts: prepared.parts,
        n: n as usize,
        stream,
    })
}

/// `{"type": "function", "function": {"name", "description", "parameters", "strict"}}`.
fn tool(path: &str, mut fields: Fields) -> Result<Tool, ApiError> {
    fields.is(path, "type", &["function"])?;
    let path = format!("{path}.function");
    let mut inner = Fields::object(&path, fields.take("function").unwrap_or_default())?;
    fields.finish(&path)?;
    function(&path, &mut inner, "parameters")
}

/// A function; arguments always follow the schema, so `strict` changes nothing.
pub(super) fn function(path: &str, fields: &mut Fields, schema: &str) -> Result<Tool, ApiError> {
    fields.flag("strict")?;
    let (name, description) = (fields.text("name")?, fields.text("description")?);
    let tool = Tool::new(path, name, description, fields.take(schema))?;
    fields.nothing_left()?;
    Ok(tool)
}

pub(super) fn tool_choice(value: Option<Value>) -> Result<ToolChoice, ApiError> {
    match value {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) if word == "none" => Ok(ToolChoice::None),
        Some(Value::String(word)) if word == "auto" => Ok(ToolChoice::Auto),
        Some(Value::String(word)) if word == "required" => Ok(ToolChoice::Required),
        Some(Value::Object(map)) => {
            // Chats name it inside of `function`, responses beside `type`.
            let name =
                map.get("function").and_then(|function| function.get("name")).or_else(|| map.get("name"));
            match name.and_then(Value::as_str) {
                Some(name) if map["type"] == "function" && map.len() == 2 => {
                    Ok(ToolChoice::Named(name.to_owned()))
                }
                _ => Err(expected("tool_choice", "a function's name", &Value::Object(map))),
            }
        }
        Some(other) => Err(expected("tool_choice", "none, auto, required or a function", &other)),
    }
}

/// `text`, `json_object`, `json_schema`; and `regex` and `grammar`, which are this server's own.
fn response_format(value: Option<Value>) -> Result<Format, ApiError> {
    let path = "response_format";
    let Some(value) = value else { return Ok(Format::Text) };
    let mut fields = Fields::object(path, value)?;
    let kind = fields.is(path, "type", &["text", "json_object", "json_schema", "regex", "grammar"])?;
    let format = match kind.as_str() {
        "json_object" => Format::json_object(path),
        "json_schema" => {
            let path = format!("{path}.json_schema");
            let mut named = Fields::object(&path, fields.take("json_schema").unwrap_or_default())?;
            let schema = self::schema(&path, &mut named)?;
            named.finish(&path)?;
            schema
        }
        "regex" => grammar(path, &mut fields, "regex", GrammarSource::Regex)?,
        "grammar" => grammar(path, &mut fields, "grammar", GrammarSource::Lark)?,
        _ => Format::Text,
    };
    fields.finish(path)?;
    Ok(format)
}

/// `name`, `description`, `strict` and `schema`. Answers always follow the schema.
pub(super) fn schema(path: &str, fields: &mut Fields) -> Result<Format, ApiError> {
    fields.text("name")?;
    fields.text("description")?;
    fields.flag("strict")?;
    let field = format!("{path}.schema");
    match fields.take("schema") {
        Some(schema @ Value::Object(_)) => Ok(Format::json_schema(&field, schema)),
        None => Err(ApiError::field(field, "missing")),
        Some(other) => Err(expected(&field, "a JSON schema", &other)),
    }
}

fn grammar(
    path: &str,
    fields: &mut Fields,
    name: &str,
    source: fn(String) -> GrammarSource,
) -> Result<Format, ApiError> {
    let field = format!("{path}.{name}");
    let text = fields.text(name)?.ok_or_else(|| ApiError::field(&field, "missing"))?;
    Ok(Format::Grammar(field, source(text)))
}

/// Two names for one number.
fn max_tokens(fields: &mut Fields, served: &Served) -> Result<Option<usize>, ApiError> {
    let most = served.context() as u64;
    let old = fields.count("max_tokens", 1..=most)?;
    let new = fields.count("max_completion_tokens", 1..=most)?;
    if old.is_some() && new.is_some() && old != new {
        return Err(ApiError::field("max_tokens", "differs from max_completion_tokens; give one of them"));
    }
    Ok(new.or(old).map(|tokens| tokens as usize))
}

pub(super) fn messages(value: Option<Value>) -> Result<Vec<Message>, ApiError> {
    each_message(value, one)
}

fn one(path: &str, message: Value) -> Result<Message, ApiError> {
    let mut fields = Fields::object(path, message)?;
    let role = fields.is(path, "role", &["system", "developer", "user", "assistant", "tool"])?;
    // What models were trained to read.
    let role = if role == "developer" { "system" } else { &role };
    let calls = if role == "assistant" { fields.take("tool_calls") } else { None };
    let said = fields.take("content");
    let text = match said {
        None if calls.is_some() => String::new(),
        said => text_of(&format!("{path}.content"), said.unwrap_or_default(), &["text"])?,
    };
    let mut message = Message::new(role, text);
    if let Some(calls) = calls {
        message.extra.insert("tool_calls".into(), self::calls(&format!("{path}.tool_calls"), calls)?);
    }
    if role == "assistant" {
        fields.only("refusal", &[])?;
        if let Some(thought) = fields.text("reasoning_content")? {
            message.extra.insert("reasoning_content".into(), thought.into());
        }
    }
    if role == "tool" {
        let id = fields.text("tool_call_id")?;
        let id = id.ok_or_else(|| ApiError::field(format!("{path}.tool_call_id"), "missing"))?;
        message.extra.insert("tool_call_id".into(), id.into());
    }
    if let Some(name) = fields.text("name")? {
        message.extra.insert("name".into(), name.into());
    }
    fields.finish(path)?;
    Ok(message)
}

/// Calls as templates expect them: with arguments that are JSON and not a text of it.
fn calls(path: &str, calls: Value) -> Result<Value, ApiError> {
    let Value::Array(list) = calls else { return Err(expected(path, "a list of calls", &calls)) };
    let calls = each(path, list, |path, call| {
        let mut fields = Fields::object(path, call)?;
        fields.is(path, "type", &["function"])?;
        let id = fields.text("id")?;
        let within = format!("{path}.function");
        let mut function = Fields::object(&within, fields.take("function").unwrap_or_default())?;
        fields.finish(path)?;
        let (name, text) = (function.text("name")?, function.text("arguments")?);
        function.finish(&within)?;
        let name = name.ok_or_else(|| ApiError::field(format!("{within}.name"), "missing"))?;
        Ok(call_message(id, &name, arguments(text.unwrap_or_default())))
    });
    calls.map(Value::from)
}

/// A call in a message.
pub(super) fn call_message(id: Option<String>, name: &str, arguments: Value) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

/// Text, or parts of these kinds.
pub(super) fn text_of(path: &str, content: Value, kinds: &[&str]) -> Result<String, ApiError> {
    match content {
        Value::String(text) => Ok(text),
        Value::Array(parts) => Ok(each(path, parts, |path, part| text_part(path, part, kinds))?.concat()),
        other => Err(expected(path, "text or a list of text parts", &other)),
    }
}

fn text_part(path: &str, part: Value, kinds: &[&str]) -> Result<String, ApiError> {
    let mut fields = Fields::object(path, part)?;
    fields.is(path, "type", kinds)?;
    // Prompts are always cached; annotations are of answers that come back.
    ["cache_control", "annotations", "logprobs", "citations"].iter().for_each(|name| drop(fields.take(name)));
    let text = fields.take("text").unwrap_or_default();
    fields.finish(path)?;
    match text {
        Value::String(text) => Ok(text),
        other => Err(expected(&format!("{path}.text"), "a string", &other)),
    }
}
