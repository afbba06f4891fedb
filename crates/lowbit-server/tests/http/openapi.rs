//! The description of the routes against the routes, and against requests that schemathesis makes of it.

use crate::{clients::pip, place::Place};
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command};

/// Routes as the router has them, pages apart: its own source says them.
fn routes() -> BTreeSet<(String, String)> {
    let source = include_str!("../../src/routes/mod.rs");
    let routes = source.split("route(\"").skip(1).map(|rest| {
        let (path, rest) = rest.split_once('"').unwrap();
        let method = rest.trim_start_matches([',', ' ']).split('(').next().unwrap();
        (method.to_owned(), path.replace("{*id}", "{id}"))
    });
    routes.collect()
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let place = Place::new();
    let (status, description) = place.get("/openapi.json");
    assert_eq!(status, 200);
    let paths = description["paths"].as_object().unwrap().iter();
    let described = paths.flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone()))
    });
    assert_eq!(described.collect::<BTreeSet<_>>(), routes());
}

/// Every field that the description has is one that the route knows, and it knows no other: it says so itself.
#[test]
fn the_description_has_every_field_and_no_other() {
    let place = Place::new();
    let (_, description) = place.get("/openapi.json");
    for (path, schema) in [
        ("/v1/chat/completions", "ChatRequest"),
        ("/v1/completions", "CompletionRequest"),
        ("/v1/responses", "ResponsesRequest"),
        ("/v1/embeddings", "EmbeddingsRequest"),
        ("/v1/messages", "MessagesRequest"),
        ("/v1/messages/count_tokens", "CountRequest"),
        ("/api/chat", "OllamaChatRequest"),
        ("/api/generate", "OllamaGenerateRequest"),
    ] {
        let schema = &description["components"]["schemas"][schema];
        assert_eq!(schema["additionalProperties"], false, "{path}");
        for name in schema["properties"].as_object().unwrap().keys().filter(|name| *name != "keep_alive") {
            // No field can be this.
            let mut body = json!({ "model": "tiny" });
            body[name] = json!([[[0.5]]]);
            let reply = place.post(path, &body);
            assert!((400..500).contains(&reply.status), "{path} {name}: {reply:?}");
            assert!(!reply.body.contains("not known to this server"), "{path} {name}: {reply:?}");
        }
    }
}

#[test]
fn thousands_of_requests_made_of_the_description_get_the_answers_that_it_promises() {
    let Some(folder) = pip("python-schemathesis", &["schemathesis"]) else { return };
    let place = Place::new();
    let normal = json!({ "model": "tiny", "prompt": "hello", "temperature": 0 });
    let text = || place.json("/v1/completions", &normal)["choices"][0]["text"].clone();
    let before = text();
    let url = format!("http://{}/openapi.json", place.address);
    let checks =
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    // One worker: Python 3.11 loses count of its parser's depth where two threads parse at once, which ends a run.
    let output = Command::new("python3")
        .args(["-m", "schemathesis.cli", "run", &url, "--checks", checks])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "40", "--seed", "1", "--workers", "1"])
        .args(["--exclude-path", "/metrics", "--no-color"])
        .env("PYTHONPATH", folder)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text(), before);
    let known: Value = place.json("/tokenize", &json!({ "prompt": "still here" }));
    assert!(known["count"].as_u64().is_some());
}
