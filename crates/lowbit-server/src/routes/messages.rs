//! Messages of a conversation, in the words that the APIs share.

use crate::{
    error::ApiError,
    fields::{Fields, each, each_message, expected},
    tools::arguments,
};
use lowbit_text::Message;
use serde_json::{Value, json};

/// Those of OpenAI's chats.
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
