//! Answers of a given shape, and calls of tools, from a model that knows of neither.

use crate::{chat, events, place::Place, with};
use serde_json::{Value, json};

/// Two tools, in few words: the model reads a token a byte, and has 600.
fn tools() -> Value {
    let days = json!({ "type": "object", "properties": { "days": { "enum": [1, 2, 3] } }, "required": ["days"],
        "additionalProperties": false });
    json!([
        { "type": "function", "function": { "name": "rain", "parameters": days } },
        { "type": "function", "function": { "name": "stop", "parameters": { "type": "object", "maxProperties": 0 } } }
    ])
}

fn format(kind: &str, more: Value) -> Value {
    json!({ "response_format": with(json!({ "type": kind }), more), "max_tokens": 200 })
}

#[test]
fn an_answer_follows_its_schema_regex_or_grammar() {
    let place = Place::new();
    let text = |format: Value| {
        let value = place.json("/v1/chat/completions", &with(chat("hello"), format));
        assert_eq!(value["choices"][0]["finish_reason"], "stop", "{value}");
        value["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let schema = json!({
        "type": "object",
        "properties": { "kind": { "enum": ["good", "bad"] }, "count": { "type": "integer", "minimum": 0, "maximum": 9 } },
        "required": ["kind", "count"],
        "additionalProperties": false
    });
    let answer: Value = serde_json::from_str(&text(format(
        "json_schema",
        json!({ "json_schema": { "name": "x", "schema": schema } }),
    )))
    .unwrap();
    assert!(
        ["good", "bad"].contains(&answer["kind"].as_str().unwrap()) && answer["count"].as_u64().unwrap() < 10
    );
    let digits = text(format("regex", json!({ "regex": "[0-9]{4}" })));
    assert!(digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
    assert_eq!(text(format("grammar", json!({ "grammar": "start: \"yes\"" }))), "yes");
}

#[test]
fn a_schema_that_is_not_understood_is_refused_and_never_ignored() {
    let place = Place::new();
    for (schema, param) in [
        (json!({ "type": "strange" }), "response_format.json_schema.schema"),
        (json!({ "$ref": "http://example.com/schema" }), "response_format.json_schema.schema"),
    ] {
        let body = with(chat("hello"), format("json_schema", json!({ "json_schema": { "schema": schema } })));
        let reply = place.post("/v1/chat/completions", &body);
        assert!(reply.status == 400 && reply.body.contains(param), "{reply:?}");
    }
    let mut tools = tools();
    tools[1]["function"]["parameters"] = json!({ "type": "strange" });
    let reply = place.post("/v1/chat/completions", &with(chat("hello"), json!({ "tools": tools })));
    assert!(reply.status == 400 && reply.body.contains("tools[1].function"), "{reply:?}");
    for (choice, said) in [
        (json!("required"), "no tools"),
        (json!({ "type": "function", "function": { "name": "x" } }), "\"x\""),
    ] {
        let reply =
            place.post("/v1/chat/completions", &with(chat("hello"), json!({ "tool_choice": choice })));
        assert!(reply.status == 400 && reply.body.replace('\\', "").contains(said), "{reply:?}");
    }
}

/// Checks a call of `rain` or `stop`.
fn check(call: &Value) {
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    match call["function"]["name"].as_str() {
        Some("rain") => assert!((1..=3).contains(&arguments["days"].as_u64().unwrap()), "{call}"),
        Some("stop") => assert!(arguments.is_object()),
        _ => panic!("{call}"),
    }
}

#[test]
fn tools_are_called_with_arguments_of_their_schema_also_in_a_stream() {
    let place = Place::new();
    let body = with(
        chat("hello"),
        json!({ "tools": tools(), "tool_choice": "required", "parallel_tool_calls": false, "max_tokens": 80 }),
    );
    let value = place.json("/v1/chat/completions", &body);
    let message = &value["choices"][0]["message"];
    assert_eq!(
        (&value["choices"][0]["finish_reason"], &message["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let calls = message["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    check(&calls[0]);

    let events = events(&place.post("/v1/chat/completions", &with(body.clone(), json!({ "stream": true }))));
    let deltas = events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].as_array());
    let deltas: Vec<&Value> = deltas.flatten().collect();
    assert_eq!(deltas[0]["function"]["name"], calls[0]["function"]["name"]);
    let arguments: String = deltas.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, calls[0]["function"]["arguments"].as_str().unwrap());
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");

    let named = json!({ "tool_choice": { "type": "function", "function": { "name": "stop" } } });
    let value = place.json("/v1/chat/completions", &with(body, named));
    assert_eq!(value["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "stop");
}

#[test]
fn a_model_may_call_or_answer_and_many_calls_may_come() {
    let place = Place::new();
    // Bytes of a random model hardly spell a call by chance, so this is text.
    let offered = with(chat("hello"), json!({ "tools": tools(), "n": 8 }));
    let value = place.json("/v1/chat/completions", &offered);
    let choices = value["choices"].as_array().unwrap();
    assert!(choices.iter().all(|choice| choice["message"].get("tool_calls").is_none()), "{value}");
    assert!(choices.iter().any(|choice| choice["message"]["content"] != ""), "{value}");
    let body =
        json!({ "tools": tools(), "tool_choice": "required", "max_tokens": 80, "n": 8, "temperature": 1.5 });
    let value = place.json("/v1/chat/completions", &with(chat("hello"), body));
    for choice in value["choices"].as_array().unwrap() {
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        let complete = calls.len() - usize::from(choice["finish_reason"] == "length");
        calls[..complete].iter().for_each(check);
    }
}

#[test]
fn control_tokens_in_a_message_are_text() {
    let place = Place::new();
    let rendered = |text: &str| {
        let messages = json!([{ "role": "user", "content": text }]);
        let tokens = place.json("/tokenize", &json!({ "messages": messages }))["tokens"].clone();
        tokens.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect::<Vec<u64>>()
    };
    let tokens = rendered("a</s>b<s>");
    // BOS alone is one.
    assert_eq!(tokens.iter().filter(|id| **id < 3).count(), 1, "{tokens:?}");
    let text = place.json("/detokenize", &json!({ "tokens": tokens }))["prompt"].clone();
    assert!(text.as_str().unwrap().contains("a</s>b<s>"), "{text}");
    assert_eq!(rendered("plain\u{fdd0}"), rendered("plain"));
}

#[test]
fn a_conversation_with_calls_and_their_results_goes_on() {
    let place = Place::new();
    let messages = json!([
        { "role": "user", "content": "weather?" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "call_1", "type": "function", "function": { "name": "rain", "arguments": "{\"days\": 2}" } }
        ] },
        { "role": "tool", "tool_call_id": "call_1", "content": "rain" }
    ]);
    let body = json!({ "model": "tiny", "messages": messages, "max_tokens": 4 });
    let tokens = place.json("/tokenize", &json!({ "messages": messages }))["tokens"].clone();
    let text = place.json("/detokenize", &json!({ "tokens": tokens }))["prompt"].clone();
    let text = text.as_str().unwrap();
    assert!(text.contains("<tool_call>\n{\"name\": \"rain\", \"arguments\": {\"days\":2}}"), "{text}");
    assert!(
        text.contains("<tool_response>\nrain\n</tool_response>") && text.ends_with("[assistant]"),
        "{text}"
    );
    assert_eq!(place.json("/v1/chat/completions", &body)["usage"]["completion_tokens"], 4);
}
