//! Several models: loaded when asked for, unloaded when idle or in another's way.

use crate::{chat, place::Place, with};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn loaded(place: &Place) -> Vec<bool> {
    let (status, list) = place.get("/v1/models");
    assert_eq!(status, 200);
    list["data"].as_array().unwrap().iter().map(|model| model["lowbit"]["loaded"] == true).collect()
}

#[test]
fn the_first_model_is_loaded_at_once_and_others_on_demand() {
    let place = Place::new();
    assert_eq!(loaded(&place), [true, false]);
    let first = place.json("/v1/chat/completions", &chat("hello"));
    let second = place.json("/v1/chat/completions", &with(chat("hello"), json!({ "model": "other" })));
    assert_eq!(second["model"], "other");
    assert_eq!(first["choices"], second["choices"]);
    assert_eq!(loaded(&place), [true, true]);
    let (status, model) = place.get("/v1/models/other");
    assert_eq!((status, &model["lowbit"]["bits_per_weight"]), (200, &json!(32.0)));
    let (status, _) = place.get("/v1/models/none");
    assert_eq!(status, 404);
}

#[test]
fn a_model_makes_room_for_another_and_is_unloaded_when_idle() {
    let place = Place::with(|options| options.residency.bytes = 1);
    place.json("/v1/chat/completions", &with(chat("hello"), json!({ "model": "other" })));
    assert_eq!(loaded(&place), [false, true]);
    place.json("/v1/chat/completions", &chat("hello"));
    assert_eq!(loaded(&place), [true, false]);

    let place = Place::with(|options| options.residency.idle = Duration::from_millis(1));
    let start = Instant::now();
    while loaded(&place) != [false, false] {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
    place.json("/v1/chat/completions", &chat("hello"));
}

#[test]
fn a_model_that_answers_is_not_unloaded_for_another() {
    let place = Place::with(|options| options.residency.bytes = 1);
    let long = with(
        chat("hello"),
        json!({ "max_tokens": 500, "stream": true, "logit_bias": { "2": -100 }, "n": 8 }),
    );
    let _open = place.open(&crate::client::request("POST", "/v1/chat/completions", "", &long.to_string()));
    place.wait_for("lowbit_requests_running 8");
    let reply = place.post("/v1/chat/completions", &with(chat("hello"), json!({ "model": "other" })));
    // Unless the first was so fast that it was done.
    if reply.status != 200 {
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.head.to_ascii_lowercase().contains("retry-after"), "{}", reply.head);
    }
}

#[test]
fn vectors_have_length_one_and_differ_by_text() {
    let place = Place::new();
    let vectors = |value: &Value| -> Vec<Vec<f64>> {
        let all = value["data"].as_array().unwrap().iter();
        all.map(|one| one["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect())
            .collect()
    };
    let value = place.json("/v1/embeddings", &json!({ "model": "tiny", "input": ["one", "two", "one"] }));
    let found = vectors(&value);
    assert_eq!(found[0], found[2]);
    assert_ne!(found[0], found[1]);
    for vector in &found {
        assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
    }
    // BOS and three bytes, three times.
    assert_eq!(value["usage"]["prompt_tokens"], 12);
    let ollama = place.json("/api/embed", &json!({ "model": "tiny", "input": "one" }));
    assert_eq!(ollama["embeddings"][0][3].as_f64(), Some(found[0][3]));
    let text = place
        .json("/v1/embeddings", &json!({ "model": "tiny", "input": "one", "encoding_format": "base64" }));
    // 32 floats.
    assert_eq!(text["data"][0]["embedding"].as_str().unwrap().len(), 172);
    for wrong in [
        json!({ "input": "" , "dimensions": 7 }),
        json!({}),
        json!({ "input": [[]] }),
        json!({ "input": [3.5] }),
    ] {
        assert_eq!(place.post("/v1/embeddings", &with(json!({ "model": "tiny" }), wrong)).status, 400);
    }
}

#[test]
fn a_client_says_how_long_a_model_stays() {
    let place = Place::new();
    let first = place.get("/v1/models").1["data"][0]["id"].clone();
    let ask = |keep: Value| {
        let options = json!({ "num_predict": 2 });
        let body =
            json!({ "model": first, "prompt": "x", "stream": false, "keep_alive": keep, "options": options });
        place.post("/api/generate", &body).status
    };
    assert_eq!(ask(json!("1h")), 200);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(loaded(&place), [true, false]);
    assert_eq!(ask(json!("soon")), 400);
    assert_eq!(ask(json!(0)), 200);
    let start = Instant::now();
    while loaded(&place)[0] {
        assert!(start.elapsed() < Duration::from_secs(30), "still loaded");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It is loaded again when it is asked for.
    assert_eq!(ask(json!(-1)), 200);
}
