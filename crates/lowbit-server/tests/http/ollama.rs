//! Ollama's routes.

use crate::{place::Place, with};
use serde_json::{Value, json};

fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn chats_and_texts_come_whole_and_line_by_line() {
    let place = Place::new();
    let options = json!({ "options": { "num_predict": 12, "seed": 3, "temperature": 0 } });
    let chat = with(
        json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hello" }] }),
        options.clone(),
    );
    let generate = with(json!({ "model": "tiny:latest", "prompt": "hello" }), options);
    let text = |route: &str, value: &Value| match route {
        "/api/chat" => value["message"]["content"].as_str().unwrap().to_owned(),
        _ => value["response"].as_str().unwrap().to_owned(),
    };
    let mut texts = Vec::new();
    for (route, body) in [("/api/chat", chat), ("/api/generate", generate)] {
        let whole = place.json(route, &with(body.clone(), json!({ "stream": false })));
        assert_eq!(
            (&whole["done"], &whole["done_reason"], &whole["eval_count"]),
            (&json!(true), &json!("length"), &json!(12))
        );
        let reply = place.post(route, &body);
        assert!(reply.head.contains("application/x-ndjson"), "{}", reply.head);
        let lines = lines(&reply.body);
        assert_eq!(lines.iter().map(|line| text(route, line)).collect::<String>(), text(route, &whole));
        assert!(lines.last().unwrap()["done"] == true && lines[0]["done"] == false);
        texts.push(text(route, &whole));
    }
    // The same conversation by both.
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn models_are_listed_and_shown() {
    let place = Place::new();
    let (_, tags) = place.get("/api/tags");
    assert_eq!((&tags["models"][0]["name"], &tags["models"][1]["model"]), (&json!("tiny"), &json!("other")));
    let (_, running) = place.get("/api/ps");
    assert_eq!(running["models"].as_array().unwrap().len(), 1);
    let shown = place.json("/api/show", &json!({ "name": "tiny" }));
    assert_eq!(shown["model_info"]["lowbit.block_count"], 2);
    assert!(shown["capabilities"].as_array().unwrap().contains(&json!("completion")));
    assert!(place.get("/api/version").1["version"].is_string());
}

#[test]
fn schemas_tools_and_errors_have_ollamas_form() {
    let place = Place::new();
    let chat =
        json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hello" }], "stream": false });
    let schema = json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "required": ["a"], "additionalProperties": false });
    let value = place.json("/api/chat", &with(chat.clone(), json!({ "format": schema })));
    let answer: Value = serde_json::from_str(value["message"]["content"].as_str().unwrap()).unwrap();
    assert!(answer["a"].is_boolean());
    for (more, status, said) in [
        (json!({ "model": "none" }), 404, "none"),
        (json!({ "options": { "mirostat": 2 } }), 400, "options.mirostat"),
        (json!({ "options": { "num_ctx": 1_000_000 } }), 400, "num_ctx"),
        (json!({ "think": true }), 400, "think"),
        (json!({ "surprise": 1 }), 400, "surprise"),
    ] {
        let reply = place.post("/api/chat", &with(chat.clone(), more));
        let error: Value = serde_json::from_str(&reply.body).unwrap();
        assert!(reply.status == status && error["error"].as_str().unwrap().contains(said), "{reply:?}");
    }
}
