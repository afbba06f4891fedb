//! `/v1/chat/completions`: a conversation, rendered by the model's own template.

use super::{ask, messages::messages};
use crate::{
    answer::Asked,
    app::App,
    connection::Peer,
    conversation::{Conversation, Format, schema},
    error::ApiError,
    fields::Fields,
    forms::Chat,
    sampling::Common,
    served::Served,
    tools::{Tool, function, tool_choice, tools},
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
use lowbit_text::GrammarSource;
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
            let schema = schema(&path, &mut named)?;
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
