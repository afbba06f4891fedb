//! Ollama's `/api/chat`, `/api/generate` and what its clients ask of models.

use super::{
    ask,
    messages::{call_message, text_of},
};
use crate::{
    answer::Asked,
    app::{App, Required, timestamp},
    body,
    connection::Peer,
    conversation::{Conversation, Format, Prepared},
    error::{ApiError, json_response},
    fields::{Fields, each, each_message, expected},
    forms::{Ollama, OllamaRoute},
    models::Stay,
    parts::Parts,
    sampling,
    served::Served,
    tools::{Tool, function, tools},
};
use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Request, Response},
};
use lowbit_engine::{
    GenerateRequest,
    sampler::{Penalties, SamplingParams},
    scheduler::{History, Request as Sequence},
};
use lowbit_text::Message;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    ask(app, peer, request, |app, served, fields, peer| prepare(app, served, fields, peer, OllamaRoute::Chat))
        .await
}

pub(crate) async fn generate(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    ask(app, peer, request, |app, served, fields, peer| {
        prepare(app, served, fields, peer, OllamaRoute::Generate)
    })
    .await
}

fn prepare(
    app: &App,
    served: &Served,
    mut fields: Fields,
    peer: String,
    route: OllamaRoute,
) -> Result<Asked, ApiError> {
    let stream = fields.flag("stream")?.unwrap_or(true);
    let Options { sampling, max_tokens, stop } = options(served, fields.take("options"))?;
    let format = match fields.take("format") {
        None => Format::Text,
        Some(Value::String(word)) if word == "json" => Format::json_object("format"),
        Some(Value::String(word)) if word.is_empty() => Format::Text,
        Some(schema @ Value::Object(_)) => Format::json_schema("format", schema),
        Some(other) => return Err(expected("format", "\"json\" or a JSON schema", &other)),
    };
    let stay = keep_alive(&mut fields)?;
    fields.only("think", &[json!(false)])?;
    fields.only("images", &[json!([])])?;
    let mut conversation = Conversation { format, ..Conversation::default() };
    let mut raw = None;
    match route {
        OllamaRoute::Chat => {
            conversation.messages = each_message(fields.take("messages"), one)?;
            conversation.tools = tools(fields.take("tools"), tool)?;
        }
        OllamaRoute::Generate => {
            let prompt = fields.text("prompt")?.unwrap_or_default();
            let system = fields.text("system")?;
            for name in ["suffix", "template"] {
                fields.only(name, &[json!("")])?;
            }
            fields.only("context", &[json!([])])?;
            if fields.flag("raw")?.unwrap_or(false) {
                raw = Some(prompt);
            } else {
                let system = system.filter(|text| !text.is_empty());
                conversation.messages.extend(system.map(|text| Message::new("system", text)));
                conversation.messages.push(Message::new("user", prompt));
            }
        }
    }
    fields.finish("")?;

    let prepared = match raw {
        // The template adds nothing to it.
        Some(text) => {
            let prompt = served.model().encode(&text).map_err(|error| ApiError::field("prompt", error))?;
            let grammar = conversation.format.grammar(served)?;
            Prepared { prompt, grammar, parts: vec![Parts::plain()] }
        }
        None => conversation.prepare(served, 1)?,
    };
    app.models.keep(&served.id, stay);
    let generate =
        GenerateRequest { prompt: prepared.prompt, sampling, max_tokens, stop, grammar: prepared.grammar };
    Ok(Asked {
        form: Box::new(Ollama::new(route, &served.id)),
        client: peer,
        requests: vec![Sequence { generate, history: History::Prompt, ..Sequence::default() }],
        parts: prepared.parts,
        n: 1,
        stream,
    })
}

struct Options {
    sampling: SamplingParams,
    max_tokens: Option<usize>,
    stop: Vec<String>,
}

/// With Ollama's own defaults. What would change how the model is loaded is refused.
fn options(served: &Served, value: Option<Value>) -> Result<Options, ApiError> {
    let mut fields = match value {
        None => Fields::of(serde_json::Map::new()),
        Some(value) => Fields::object("options", value)?,
    };
    let field = |error: ApiError| error.within("options");
    let mut read = || -> Result<Options, ApiError> {
        let context = served.context();
        let mut sampling = SamplingParams { temperature: 0.8, ..SamplingParams::unmodified() };
        if let Some(temperature) = fields.number("temperature", 0.0..=100.0)? {
            sampling.temperature = temperature;
        }
        sampling.top_k = fields.count("top_k", 0..=u64::from(u32::MAX))?.unwrap_or(40) as u32;
        sampling.top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(0.9).max(f32::MIN_POSITIVE);
        sampling.min_p = fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0);
        if let Some(typical) = fields.number("typical_p", 0.01..=1.0)? {
            sampling.typical_p = typical;
        }
        let last_n = match fields.take("repeat_last_n") {
            None => Some(64),
            Some(value) if value == -1 => None,
            Some(value) => {
                let count = value.as_u64().filter(|count| *count <= u64::from(u32::MAX));
                Some(count.ok_or_else(|| expected("repeat_last_n", "-1 or a number of tokens", &value))?
                    as u32)
            }
        };
        sampling.penalties = Penalties {
            repeat: fields.number("repeat_penalty", 0.01..=100.0)?.unwrap_or(1.1),
            frequency: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            presence: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            last_n,
        };
        sampling.seed = sampling::seed(&mut fields)?;
        // Negative: as many as the context holds.
        let max_tokens = match fields.take("num_predict") {
            None => None,
            Some(value) if value == -1 || value == -2 => None,
            Some(value) => match value.as_u64().filter(|count| (1..=context as u64).contains(count)) {
                Some(count) => Some(count as usize),
                None => {
                    return Err(expected("num_predict", &format!("-1 or 1 to {context} tokens"), &value));
                }
            },
        };
        if let Some(asked) = fields.count("num_ctx", 1..=u64::MAX)?
            && asked > context as u64
        {
            let message =
                format!("{asked} tokens, and this server has a context of {context}; --ctx-size sets it");
            return Err(ApiError::field("num_ctx", message));
        }
        let stop = sampling::stop(&mut fields, "stop")?;
        fields.nothing_left()?;
        Ok(Options { sampling, max_tokens, stop })
    };
    read().map_err(field)
}

/// How long the model stays after this request: seconds, or a duration as `5m` or `1h30m`; below zero for ever.
pub(super) fn keep_alive(fields: &mut Fields) -> Result<Option<Stay>, ApiError> {
    let Some(value) = fields.take("keep_alive") else { return Ok(None) };
    let seconds = match &value {
        Value::Number(seconds) => seconds.as_f64(),
        Value::String(text) => seconds(text),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds < 0.0 => Ok(Some(Stay::Always)),
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(time) => Ok(Some(Stay::For(time))),
            Err(_) => Err(expected("keep_alive", "seconds that can be counted", &value)),
        },
        None => Err(expected("keep_alive", "seconds, or a duration such as \"5m\"", &value)),
    }
}

/// Seconds of a duration in Go's spelling: numbers, each with its unit, together.
fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    if let Ok(plain) = rest.parse::<f64>() {
        return plain.is_finite().then_some(sign * plain);
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number * unit;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(sign * sum)
}

fn one(path: &str, message: Value) -> Result<Message, ApiError> {
    let mut fields = Fields::object(path, message)?;
    let role = fields.is(path, "role", &["system", "user", "assistant", "tool"])?;
    let content = fields.take("content").unwrap_or(json!(""));
    let mut message = Message::new(role, text_of(&format!("{path}.content"), content, &["text"])?);
    if let Some(calls) = fields.take("tool_calls") {
        let path = format!("{path}.tool_calls");
        let Value::Array(list) = calls else { return Err(expected(&path, "a list of calls", &calls)) };
        let calls = each(&path, list, |path, call| {
            let mut call = Fields::object(path, call)?;
            ["id", "type"].iter().for_each(|name| drop(call.take(name)));
            let mut function = Fields::object(path, call.take("function").unwrap_or_default())?;
            call.finish(path)?;
            let name = function.text("name")?.unwrap_or_default();
            let arguments = function.take("arguments").unwrap_or(json!({}));
            function.take("index");
            function.finish(path)?;
            Ok(call_message(None, &name, arguments))
        })?;
        message.extra.insert("tool_calls".into(), calls.into());
    }
    if let Some(thought) = fields.text("thinking")? {
        message.extra.insert("reasoning_content".into(), thought.into());
    }
    for name in ["tool_name", "tool_call_id"] {
        if let Some(text) = fields.text(name)? {
            message.extra.insert(name.into(), text.into());
        }
    }
    fields.only("images", &[json!([])])?;
    fields.finish(path)?;
    Ok(message)
}

fn tool(path: &str, mut fields: Fields) -> Result<Tool, ApiError> {
    fields.only("type", &[json!("function")])?;
    let mut inner = Fields::object(path, fields.take("function").unwrap_or_default())?;
    fields.finish(path)?;
    function(&format!("{path}.function"), &mut inner, "parameters")
}

/// A model in lists.
fn described(model: &Value) -> Value {
    let bits = model["lowbit"]["bits_per_weight"].as_f64();
    json!({
        "name": model["id"],
        "model": model["id"],
        "modified_at": timestamp(),
        "size": model["lowbit"]["bytes"],
        "digest": "",
        "details": {
            "parent_model": "",
            "format": "lowbit",
            "family": "",
            "families": [],
            "parameter_size": "",
            "quantization_level": bits.map(|bits| format!("{bits:.2} bits")).unwrap_or_default(),
        },
    })
}

pub(crate) async fn tags(State(app): State<Arc<App>>) -> Response<Body> {
    let models: Vec<Value> = app.models.describe().iter().map(described).collect();
    json_response(&json!({ "models": models }))
}

pub(crate) async fn running(State(app): State<Arc<App>>) -> Response<Body> {
    let models = app.models.describe();
    let loaded = models.iter().filter(|model| model["lowbit"]["loaded"] == true);
    json_response(&json!({ "models": loaded.map(described).collect::<Vec<Value>>() }))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut fields = body::read(&app, request).await?;
    // Old clients say `name`.
    let old = fields.text("name")?;
    if fields.peek("model").is_none()
        && let Some(name) = old
    {
        fields.put("model", name.into());
    }
    let served = app.model(&mut fields, Required::Yes).await?;
    fields.flag("verbose")?;
    fields.finish("")?;
    let models = app.models.describe();
    let model = models.iter().find(|model| model["id"] == *served.id).cloned().unwrap_or_default();
    let template = served.tokenizer()?.chat_template().unwrap_or_default();
    let capabilities =
        if served.template.is_ok() { json!(["completion", "tools"]) } else { json!(["completion"]) };
    Ok(json_response(&json!({
        "modelfile": "",
        "parameters": "",
        "template": template,
        "details": described(&model)["details"],
        "model_info": {
            "general.architecture": "lowbit",
            "general.parameter_count": null,
            "lowbit.context_length": served.context(),
            "lowbit.embedding_length": served.model().spec().hidden,
            "lowbit.block_count": served.model().spec().blocks.len(),
        },
        "capabilities": capabilities,
        "modified_at": timestamp(),
    })))
}

pub(crate) async fn version() -> Response<Body> {
    json_response(&json!({ "version": env!("CARGO_PKG_VERSION") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_ollama_s_clients_write_them() {
        let read = |value: Value| {
            let mut fields = Fields::of([("keep_alive".to_owned(), value)].into_iter().collect());
            keep_alive(&mut fields)
        };
        let after = |seconds: f64| Some(Stay::For(Duration::from_secs_f64(seconds)));
        for (value, stay) in [
            (json!(null), None),
            (json!(0), after(0.0)),
            (json!(300), after(300.0)),
            (json!("5m"), after(300.0)),
            (json!("1h30m"), after(5400.0)),
            (json!("1.5s"), after(1.5)),
            (json!("250ms"), after(0.25)),
            (json!("0"), after(0.0)),
            (json!(-1), Some(Stay::Always)),
            (json!("-1m"), Some(Stay::Always)),
        ] {
            assert_eq!(read(value.clone()).unwrap(), stay, "{value}");
        }
        for bad in [
            json!(""),
            json!("soon"),
            json!("5 m"),
            json!("5x"),
            json!("m"),
            json!(true),
            json!(1e300),
            json!("1..2s"),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
