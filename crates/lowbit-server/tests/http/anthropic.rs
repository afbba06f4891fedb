//! Anthropic's messages.

use crate::{place::Place, with};
use serde_json::{Value, json};

fn message() -> Value {
    json!({ "model": "tiny", "max_tokens": 12, "messages": [{ "role": "user", "content": "hello" }] })
}

/// Objects of a stream with their names.
pub(crate) fn named_events(body: &str) -> Vec<(String, Value)> {
    let events = body.split("\n\n").filter(|event| !event.is_empty());
    let one = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (name.strip_prefix("event: ").unwrap().to_owned(), data)
    };
    events.map(one).collect()
}

#[test]
fn a_message_has_the_promised_fields_and_streams_the_same() {
    let place = Place::new();
    let body =
        with(message(), json!({ "temperature": 0, "system": [{ "type": "text", "text": "Be brief." }] }));
    let whole = place.json("/v1/messages", &body);
    assert_eq!(
        (&whole["type"], &whole["role"], &whole["stop_reason"]),
        (&json!("message"), &json!("assistant"), &json!("max_tokens"))
    );
    let text = whole["content"][0]["text"].as_str().unwrap();
    let tokens = place.json("/v1/messages/count_tokens", &{
        let mut body = body.clone();
        body.as_object_mut()
            .unwrap()
            .retain(|name, _| !["max_tokens", "temperature"].contains(&name.as_str()));
        body
    });
    let usage = &whole["usage"];
    let read = usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!((tokens["input_tokens"].as_u64(), usage["output_tokens"].as_u64()), (Some(read), Some(12)));

    let reply = place.post("/v1/messages", &with(body, json!({ "stream": true })));
    let events = named_events(&reply.body);
    assert!(events.iter().all(|(name, data)| data["type"] == **name));
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let deltas: String = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(deltas, text);
}

#[test]
fn tools_are_used_and_stops_named() {
    let place = Place::new();
    let tools = json!({
        "tools": [{ "name": "add", "input_schema": { "type": "object", "properties": { "n": { "enum": [1, 2] } },
            "required": ["n"], "additionalProperties": false } }],
        "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
        "max_tokens": 100
    });
    let whole = place.json("/v1/messages", &with(message(), tools.clone()));
    let block = &whole["content"][0];
    assert_eq!(
        (&block["type"], &block["name"], &whole["stop_reason"]),
        (&json!("tool_use"), &json!("add"), &json!("tool_use"))
    );
    assert!([1, 2].contains(&block["input"]["n"].as_u64().unwrap()));
    let events = named_events(
        &place.post("/v1/messages", &with(with(message(), tools), json!({ "stream": true }))).body,
    );
    let json: String = events.iter().filter_map(|(_, data)| data["delta"]["partial_json"].as_str()).collect();
    assert!([1, 2].contains(&serde_json::from_str::<Value>(&json).unwrap()["n"].as_u64().unwrap()), "{json}");

    let again = json!({ "messages": [
        { "role": "user", "content": "hello" },
        { "role": "assistant", "content": [{ "type": "text", "text": "see" }, { "type": "tool_use", "id": "t", "name": "add", "input": { "n": 1 } }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": "2" }] }] }
    ] });
    place.json("/v1/messages", &with(message(), again));
    // A greedy answer of the same prompt, cut at what it has.
    let text = place.json("/v1/messages", &with(message(), json!({ "temperature": 0 })));
    let text = text["content"][0]["text"].as_str().unwrap().to_owned();
    let stop: String = text.chars().skip(2).take(2).collect();
    let cut = place.json(
        "/v1/messages",
        &with(message(), json!({ "temperature": 0, "stop_sequences": ["nothing", stop] })),
    );
    assert_eq!(
        (&cut["stop_reason"], &cut["stop_sequence"]),
        (&json!("stop_sequence"), &json!(stop)),
        "{cut}"
    );
}

#[test]
fn errors_are_in_anthropics_form() {
    let place = Place::with(|options| options.api_key = Some("secret".into()));
    let send = |headers: &str, body: &Value| place.send("POST", "/v1/messages", headers, &body.to_string());
    let reply = send("", &message());
    let error: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(
        (reply.status, &error["type"], &error["error"]["type"]),
        (401, &json!("error"), &json!("authentication_error"))
    );
    let key = "x-api-key: secret\r\n";
    assert_eq!(send(key, &message()).status, 200);
    for (more, status, said) in [
        (json!({ "model": "none" }), 404, "none"),
        (json!({ "max_tokens": null }), 400, "max_tokens"),
        (json!({ "max_tokens": 100_000 }), 400, "context"),
        (json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }), 400, "thinking"),
        (json!({ "surprise": 1 }), 400, "surprise"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image" }] }] }),
            400,
            "messages[0].content[0].type",
        ),
        (json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search" }] }), 400, "tools[0].type"),
    ] {
        let reply = send(key, &with(message(), more));
        let error: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, &error["type"]), (status, &json!("error")), "{reply:?}");
        assert!(error["error"]["message"].as_str().unwrap().contains(said), "{error}");
    }
}
