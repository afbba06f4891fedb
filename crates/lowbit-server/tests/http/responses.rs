//! OpenAI's responses.

use crate::{anthropic::named_events, place::Place, with};
use serde_json::{Value, json};

fn body() -> Value {
    json!({ "model": "tiny", "input": "hello", "temperature": 0, "max_output_tokens": 12 })
}

#[test]
fn a_response_has_the_promised_fields_and_streams_the_same() {
    let place = Place::new();
    let whole = place.json("/v1/responses", &with(body(), json!({ "instructions": "Be brief." })));
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")));
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    let part = &whole["output"][0]["content"][0];
    assert_eq!(
        (&part["type"], &whole["store"], &whole["instructions"]),
        (&json!("output_text"), &json!(false), &json!("Be brief."))
    );
    let reply =
        place.post("/v1/responses", &with(body(), json!({ "stream": true, "instructions": "Be brief." })));
    let events = named_events(&reply.body);
    for (place, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], data["sequence_number"].as_u64()), (&json!(name), Some(place as u64)));
    }
    let deltas: String = events.iter().filter_map(|(_, data)| data["delta"].as_str()).collect();
    assert_eq!(deltas, part["text"].as_str().unwrap());
    assert_eq!(events[0].0, "response.created");
    let (last, end) = events.last().unwrap();
    assert_eq!(
        (last.as_str(), &end["response"]["output"][0]["content"][0]["text"]),
        ("response.incomplete", &part["text"])
    );
}

#[test]
fn functions_are_called_schemas_followed_and_results_read() {
    let place = Place::new();
    let tools = json!({
        "tools": [{ "type": "function", "name": "add", "parameters": { "type": "object",
            "properties": { "n": { "enum": [1, 2] } }, "required": ["n"], "additionalProperties": false } }],
        "tool_choice": "required", "parallel_tool_calls": false, "max_output_tokens": 100
    });
    let whole = place.json("/v1/responses", &with(body(), tools.clone()));
    let call = &whole["output"][0];
    assert_eq!(
        (&whole["status"], &call["type"], &call["name"]),
        (&json!("completed"), &json!("function_call"), &json!("add"))
    );
    let events = named_events(
        &place.post("/v1/responses", &with(with(body(), tools), json!({ "stream": true }))).body,
    );
    let done = events.iter().find(|(name, _)| name == "response.function_call_arguments.done").unwrap();
    assert_eq!(done.1["arguments"], call["arguments"]);
    let again = json!({ "input": [
        { "role": "user", "content": [{ "type": "input_text", "text": "add" }] },
        call,
        { "type": "function_call_output", "call_id": call["call_id"], "output": "3" }
    ] });
    place.json("/v1/responses", &with(body(), again));
    let schema = json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "required": ["a"], "additionalProperties": false });
    let format = json!({ "text": { "format": { "type": "json_schema", "name": "x", "schema": schema } }, "max_output_tokens": 100 });
    let whole = place.json("/v1/responses", &with(body(), format));
    let answer: Value =
        serde_json::from_str(whole["output"][0]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert!(answer["a"].is_boolean());
    for (more, said) in [
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (json!({ "input": [{ "type": "item_reference", "id": "x" }] }), "input[0].type"),
        (json!({ "background": true }), "background"),
    ] {
        let reply = place.post("/v1/responses", &with(body(), more));
        assert!(reply.status == 400 && reply.body.contains(said), "{reply:?}");
    }
}
