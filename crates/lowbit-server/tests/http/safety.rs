//! Closed by default: addresses, names, keys, kinds and sizes of bodies, slow clients.

use crate::{
    chat,
    client::{raw, request},
    place::{self, Place},
};
use lowbit_server::Exposure;
use std::{
    io::Read,
    time::{Duration, Instant},
};

#[test]
fn other_machines_are_let_in_with_a_key_or_an_explicit_word_only() {
    let (_folder, path) = place::model();
    let bind = |key: Option<&str>, exposure| {
        let mut options = place::options(&path);
        options.address = ([0, 0, 0, 0], 0).into();
        (options.api_key, options.exposure) = (key.map(str::to_owned), exposure);
        place::bind(options).map(drop).map_err(|error| error.to_string())
    };
    let refused = bind(None, Exposure::Protected).unwrap_err();
    assert!(refused.contains("0.0.0.0:0") && refused.contains("--api-key"), "{refused}");
    assert_eq!(bind(Some("secret"), Exposure::Protected), Ok(()));
    assert_eq!(bind(None, Exposure::Open), Ok(()));
    assert!(bind(Some("se cret"), Exposure::Protected).unwrap_err().contains("the key"));
    assert!(bind(Some(""), Exposure::Protected).is_err());
}

#[test]
fn requests_without_the_key_or_under_another_name_are_refused() {
    let place = Place::with(|options| {
        options.api_key = Some("secret".into());
        options.hosts = vec!["box.example".into()];
    });
    let status = |path: &str, headers: &str| place.send("GET", path, headers, "").status;
    assert_eq!(status("/v1/models", ""), 401);
    assert_eq!(status("/v1/models", "Authorization: Bearer secre\r\n"), 401);
    assert_eq!(status("/v1/models", "Authorization: Bearer secret2\r\n"), 401);
    assert_eq!(status("/v1/models", "Authorization: Basic secret\r\n"), 401);
    assert_eq!(status("/metrics", ""), 401);
    assert_eq!(status("/v1/models", "Authorization: Bearer secret\r\n"), 200);
    assert_eq!(status("/health", ""), 200);
    assert_eq!(status("/health", "Host: evil.example\r\n"), 403);
    assert_eq!(status("/health", "Host: localhost\r\nHost: evil.example\r\n"), 403);
    assert_eq!(status("/health", "Host: box.example:8080\r\n"), 200);
    assert_eq!(status("/health", "Host: 127.0.0.1\r\n"), 200);
}

#[test]
fn bodies_of_another_kind_size_or_depth_are_refused_with_a_reason() {
    let place = Place::with(|options| options.limits.body_bytes = 4096);
    let post = |kind: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let reply = raw(place.address, &[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        assert!(reply.body.contains("\"message\""), "{reply:?}");
        reply.status
    };
    let body = chat("hello").to_string();
    assert_eq!(post("text/plain", &body), 415);
    assert_eq!(post("application/x-www-form-urlencoded", &body), 415);
    assert_eq!(place.send("POST", "/v1/chat/completions", "", &body).status, 200);
    assert_eq!(post("application/json", &format!("{body}{}", " ".repeat(5000))), 413);
    assert_eq!(post("application/json", &"[".repeat(4000)), 400);
    assert_eq!(post("application/json", ""), 400);
    assert_eq!(post("application/json", "[]"), 400);
    // Chunks do not say how many there will be.
    let chunks = format!("1000\r\n{}\r\n", " ".repeat(4096)).repeat(4);
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(raw(place.address, format!("{head}{chunks}0\r\n\r\n").as_bytes()).unwrap().status, 413);
    let get = |path| place.send("GET", path, "", "").status;
    assert_eq!((get("/nothing"), get("/v1/completions")), (404, 405));
    // No page of another site is told that it may read an answer.
    let asked = place.send("OPTIONS", "/v1/completions", "Origin: http://evil.example\r\n", "");
    assert!(asked.status == 405 && !asked.head.to_ascii_lowercase().contains("access-control"), "{asked:?}");
}

#[test]
fn slow_clients_are_not_waited_for() {
    let place = Place::with(|options| {
        options.limits.header = Duration::from_millis(200);
        options.limits.body = Duration::from_millis(200);
        options.limits.connections = 2;
    });
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
    let start = Instant::now();
    let mut slow_head = place.open(head.as_bytes());
    let half = format!("{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{");
    let slow_body = raw(place.address, half.as_bytes()).unwrap();
    assert_eq!(slow_body.status, 408);
    let mut rest = Vec::new();
    let _ = slow_head.read_to_end(&mut rest);
    assert!(start.elapsed() < Duration::from_secs(10));
    // Their places are free again.
    let reply = raw(place.address, &request("GET", "/health", "", "")).unwrap();
    assert_eq!(reply.status, 200);
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let place = Place::with(|options| options.limits.answer = Duration::from_millis(1));
    let body =
        crate::with(chat("hello"), serde_json::json!({ "max_tokens": 500, "logit_bias": { "2": -100 } }));
    let reply = place.post("/v1/chat/completions", &body);
    assert_eq!(reply.status, 504, "{reply:?}");
    place.wait_for("lowbit_requests_running 0");
}
