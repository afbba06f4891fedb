//! The server as clients meet it, over real connections, with a tiny model of random weights.

mod anthropic;
#[path = "../support/client.rs"]
mod client;
mod clients;
mod grammars;
mod malformed;
mod models;
mod ollama;
mod openapi;
mod page;
mod place;
mod responses;
mod safety;
mod tls;
#[path = "../support/wrong.rs"]
mod wrong;

use client::Reply;
use place::Place;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn chat(text: &str) -> Value {
    json!({ "model": "tiny", "messages": [{ "role": "user", "content": text }], "seed": 7, "max_tokens": 12 })
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Objects of a stream, which has to end with `[DONE]`.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.head.contains("text/event-stream"), "{}", reply.head);
    let mut events: Vec<&str> =
        reply.body.split("\n\n").filter(|event| !event.is_empty()).map(|event| &event[6..]).collect();
    assert_eq!(events.pop(), Some("[DONE]"), "{}", reply.body);
    events.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[test]
fn a_chat_has_the_promised_fields_and_the_same_text_streamed() {
    let place = Place::new();
    let whole = place.json("/v1/chat/completions", &chat("hello"));
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("tiny")));
    let choice = &whole["choices"][0];
    assert_eq!((&choice["index"], &choice["message"]["role"]), (&json!(0), &json!("assistant")));
    assert_eq!(choice["finish_reason"], "length");
    let text = choice["message"]["content"].as_str().unwrap();
    // "[user] hello\n[assistant]" and BOS, a token each byte.
    assert_eq!(
        (&whole["usage"]["prompt_tokens"], &whole["usage"]["completion_tokens"]),
        (&json!(25), &json!(12))
    );
    let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let events = events(&place.post("/v1/chat/completions", &with(chat("hello"), options)));
    assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let deltas = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), text);
    let [.., last, usage] = &events[..] else { panic!("{events:?}") };
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(37)));
    assert!(
        events
            .iter()
            .all(|event| event["object"] == "chat.completion.chunk" && event["id"] == events[0]["id"])
    );
}

#[test]
fn choices_differ_and_repeat_with_their_seed() {
    let place = Place::new();
    let body = with(chat("go on"), json!({ "n": 3, "temperature": 2, "max_tokens": 30 }));
    let texts = |value: Value| -> Vec<Value> {
        value["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| choice["message"]["content"].clone())
            .collect()
    };
    let first = texts(place.json("/v1/chat/completions", &body));
    assert_eq!(first.len(), 3);
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    assert_eq!(texts(place.json("/v1/chat/completions", &body)), first);
    let second = with(body, json!({ "n": 1, "seed": 8 }));
    assert_eq!(texts(place.json("/v1/chat/completions", &second)), first[1..2]);
}

#[test]
fn logprobs_bias_and_stop_do_what_they_say() {
    let place = Place::new();
    let body = with(chat("hello"), json!({ "logprobs": true, "top_logprobs": 3, "temperature": 0 }));
    let value = place.json("/v1/chat/completions", &body);
    let content = value["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 12);
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        // The greedy token is the most probable one.
        assert_eq!((top.len(), &top[0]["token"]), (3, &token["token"]), "{token}");
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert_eq!(token["bytes"].as_array().unwrap().len(), 1);
    }
    // 'x' by bias alone, until the stop string that lies across tokens.
    let x = (u32::from(b'x') + 3).to_string();
    let forced = with(chat("hello"), json!({ "logit_bias": { x: 100 }, "temperature": 0 }));
    let text = |value: &Value| value["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let value = place.json("/v1/chat/completions", &forced);
    assert_eq!(text(&value), "x".repeat(12));
    let stopped = place.json("/v1/chat/completions", &with(forced, json!({ "stop": ["nothing", "xxx"] })));
    assert_eq!((text(&stopped).as_str(), &stopped["choices"][0]["finish_reason"]), ("", &json!("stop")));
}

#[test]
fn completions_echo_their_prompt_with_exact_scores() {
    let place = Place::new();
    let body = json!({ "model": "tiny", "prompt": "né!", "echo": true, "logprobs": 2, "max_tokens": 2, "temperature": 0 });
    let value = place.json("/v1/completions", &body);
    let choice = &value["choices"][0];
    assert!(choice["text"].as_str().unwrap().starts_with("né!"), "{value}");
    let lists = &choice["logprobs"];
    // BOS, four bytes, two tokens.
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(lists[list].as_array().unwrap().len(), 7, "{list}: {lists}");
    }
    assert_eq!((&lists["token_logprobs"][0], &lists["top_logprobs"][0]), (&Value::Null, &Value::Null));
    assert_eq!(lists["tokens"][2], "bytes:\\xc3");
    let offsets: Vec<u64> =
        lists["text_offset"].as_array().unwrap().iter().map(|o| o.as_u64().unwrap()).collect();
    assert_eq!(offsets[..6], [0, 0, 1, 1, 2, 3]);
    for (token, top) in
        lists["tokens"].as_array().unwrap()[1..].iter().zip(&lists["top_logprobs"].as_array().unwrap()[1..])
    {
        assert!(top[token.as_str().unwrap()].is_number(), "{token} {top}");
    }
    // Scores of a text do not depend on where the prompt ends, nor on whether it comes as tokens.
    let ids = place.json("/tokenize", &json!({ "prompt": "né!" }))["tokens"].clone();
    assert_eq!(ids.as_array().unwrap().len(), 5);
    let more =
        json!({ "model": "tiny", "prompt": [ids, "né"], "echo": true, "logprobs": 2, "max_tokens": 0 });
    let scored = place.json("/v1/completions", &more);
    for (choice, count) in scored["choices"].as_array().unwrap().iter().zip([5, 4]) {
        let scores = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        assert_eq!(scores[..], lists["token_logprobs"].as_array().unwrap()[..count], "{choice}");
    }
    assert_eq!(scored["choices"][0]["text"], "né!");
    let plain = json!({ "model": "tiny", "prompt": "né!", "temperature": 0 });
    assert_eq!(place.json("/v1/completions", &plain)["usage"]["completion_tokens"], 16);
    let streamed = events(&place.post("/v1/completions", &with(body, json!({ "stream": true }))));
    let text: String = streamed.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, choice["text"].as_str().unwrap());
}

#[test]
fn scores_of_a_completion_have_the_token_that_ended_it_too() {
    let place = Place::new();
    // What lm-evaluation-harness asks: one token after the prompt, whose score it takes off.
    let body = json!({
        "model": "tiny", "prompt": "né!", "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0,
        "logit_bias": { "2": 100 },
    });
    let value = place.json("/v1/completions", &body);
    let choice = &value["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("né!"), &json!("stop")));
    let lists = &choice["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(lists[list].as_array().unwrap().len(), 6, "{list}: {lists}");
    }
    assert_eq!((&lists["tokens"][5], &lists["text_offset"][5]), (&json!("</s>"), &json!(3)));
    let streamed = events(&place.post("/v1/completions", &with(body, json!({ "stream": true }))));
    let tokens = streamed.iter().filter_map(|event| event["choices"][0]["logprobs"]["tokens"].as_array());
    assert_eq!(tokens.flatten().count(), 6);
}

#[test]
fn models_tokens_health_and_metrics_answer() {
    let place = Place::new();
    assert_eq!(place.get("/v1/models").1["data"][0]["id"], "tiny");
    assert_eq!(place.get("/v1/models/tiny").1["object"], "model");
    assert_eq!(place.get("/v1/models/huge").0, 404);
    assert_eq!(place.get("/health"), (200, json!({ "status": "ok" })));
    let tokens = place.json("/tokenize", &json!({ "prompt": "ab", "add_special_tokens": false }));
    assert_eq!(
        (&tokens["tokens"], &tokens["count"], &tokens["max_model_len"]),
        (&json!([100, 101]), &json!(2), &json!(600))
    );
    assert_eq!(place.json("/detokenize", &json!({ "tokens": [1, 100, 101] })), json!({ "prompt": "ab" }));
    place.json("/v1/chat/completions", &chat("count me"));
    for line in [
        "lowbit_requests_completed_total 1",
        "lowbit_generated_tokens_total 12",
        "lowbit_first_token_seconds_count 1",
    ] {
        place.wait_for(line);
    }
}

#[test]
fn many_clients_at_once_get_what_they_get_alone() {
    let place = Place::new();
    let body = |i: usize| {
        with(chat(&format!("question {i}")), json!({ "seed": i, "max_tokens": 20, "temperature": 1.5 }))
    };
    let text = |reply: Value| reply["choices"][0]["message"]["content"].clone();
    let alone: Vec<Value> = (0..16).map(|i| text(place.json("/v1/chat/completions", &body(i)))).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let place = &place;
        let body = &body;
        let clients: Vec<_> =
            (0..16).map(|i| scope.spawn(move || place.json("/v1/chat/completions", &body(i)))).collect();
        clients.into_iter().map(|client| text(client.join().unwrap())).collect()
    });
    assert_eq!(alone, together);
    place.wait_for("lowbit_panics_total 0");
}

#[test]
fn every_field_that_is_not_honoured_is_refused_by_name() {
    let place = Place::new();
    for (path, more, param) in [
        ("chat", json!({ "tools": [{ "type": "function" }] }), "tools[0].function"),
        ("chat", json!({ "tools": [{ "type": "search" }] }), "tools[0].type"),
        ("chat", json!({ "tool_choice": "always" }), "tool_choice"),
        ("chat", json!({ "response_format": { "type": "xml" } }), "response_format.type"),
        ("chat", json!({ "frobnicate": 1 }), "frobnicate"),
        ("chat", json!({ "reasoning_effort": "low" }), "reasoning_effort"),
        ("chat", json!({ "temperature": -0.1 }), "temperature"),
        ("chat", json!({ "temperature": "hot" }), "temperature"),
        ("chat", json!({ "top_p": 1.5 }), "top_p"),
        ("chat", json!({ "n": 0 }), "n"),
        ("chat", json!({ "n": -1 }), "n"),
        ("chat", json!({ "n": 1_000_000 }), "n"),
        ("chat", json!({ "seed": 1.5 }), "seed"),
        ("chat", json!({ "max_tokens": 601 }), "max_tokens"),
        ("chat", json!({ "max_completion_tokens": 3 }), "max_tokens"),
        ("chat", json!({ "top_logprobs": 3 }), "top_logprobs"),
        ("chat", json!({ "logit_bias": { "259": 1 } }), "logit_bias"),
        ("chat", json!({ "logit_bias": { "1": 101 } }), "logit_bias"),
        ("chat", json!({ "stop": [""] }), "stop"),
        ("chat", json!({ "stream_options": {} }), "stream_options"),
        ("chat", json!({ "stream": true, "stream_options": { "x": 1 } }), "stream_options.x"),
        ("chat", json!({ "frequency_penalty": 3 }), "frequency_penalty"),
        ("chat", json!({ "messages": [] }), "messages"),
        ("chat", json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages[0].tool_call_id"),
        (
            "chat",
            json!({ "messages": [{ "role": "user", "content": "x", "surprise": "y" }] }),
            "messages[0].surprise",
        ),
        (
            "chat",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            "messages[0].content[0].type",
        ),
        ("plain", json!({ "suffix": "x" }), "suffix"),
        ("plain", json!({ "best_of": 2 }), "best_of"),
        ("plain", json!({ "max_tokens": 0 }), "max_tokens"),
        ("plain", json!({ "prompt": [1, -1] }), "prompt[1]"),
        ("plain", json!({ "prompt": [[1], ["x"]] }), "prompt[1][0]"),
        ("plain", json!({ "prompt": null }), "prompt"),
        ("plain", json!({ "tools": [] }), "tools"),
    ] {
        let (path, body) = match path {
            "chat" => ("/v1/chat/completions", chat("hello")),
            _ => ("/v1/completions", json!({ "model": "tiny", "prompt": "hello" })),
        };
        let reply = place.post(path, &with(body, more.clone()));
        let error: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, &error["error"]["param"]), (400, &json!(param)), "{more}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().starts_with(param), "{error}");
    }
    let long = with(chat(&"long ".repeat(200)), json!({}));
    let reply = place.post("/v1/chat/completions", &long);
    assert!(reply.status == 400 && reply.body.contains("context_length_exceeded"), "{reply:?}");
    let reply = place.post("/v1/chat/completions", &with(chat("x"), json!({ "model": "none" })));
    assert!(reply.status == 404 && reply.body.contains("model_not_found"), "{reply:?}");
    // Neutral values mean nothing and are no reason to refuse.
    let neutral = json!({
        "tools": [], "tool_choice": "none", "response_format": { "type": "text" }, "audio": null, "store": false,
        "service_tier": "auto", "user": "somebody", "metadata": {}, "modalities": ["text"], "frobnicate": null,
    });
    place.json("/v1/chat/completions", &with(chat("hello"), neutral));
}

#[test]
fn a_client_that_goes_away_frees_its_place_and_a_full_queue_says_when_to_come_back() {
    let place = Place::with(|options| {
        options.scheduler.parallel = 1;
        options.scheduler.queue = 1;
    });
    let ban = json!({ "logit_bias": { "2": -100 }, "max_tokens": 560, "stream": true });
    let endless = with(chat("on and on"), ban).to_string();
    let open = || place.open(&client::request("POST", "/v1/chat/completions", "", &endless));
    // One that runs, one that waits, and one for whom there is no room.
    let running = open();
    place.wait_for("lowbit_requests_running 1");
    let waiting = open();
    place.wait_for("lowbit_requests_waiting 1");
    let refused = place.post("/v1/chat/completions", &chat("me too"));
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.head.to_ascii_lowercase().contains("retry-after: "), "{}", refused.head);
    drop((running, waiting));
    let start = Instant::now();
    place.wait_for("lowbit_requests_running 0");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    place.json("/v1/chat/completions", &chat("me too"));
}

#[test]
fn a_server_that_stops_finishes_what_it_began() {
    let mut place = Place::new();
    let long = with(chat("a long answer"), json!({ "max_tokens": 300, "logit_bias": { "2": -100 } }));
    let reply = std::thread::scope(|scope| {
        let answering = scope.spawn(|| place.post("/v1/chat/completions", &long));
        place.wait_for("lowbit_requests_running 1");
        place.stop.stop();
        answering.join().unwrap()
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    let value: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(value["usage"]["completion_tokens"], 300);
    place.join();
    assert!(client::raw(place.address, &client::request("GET", "/health", "", "")).is_err());
}
