//! Thousands of requests that are wrong in some way: every one gets an answer or a closed connection, none harms the
//! server, and a normal request afterwards gets the text that it got before.

use crate::{
    chat,
    client::{raw, request},
    place::Place,
    with,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

/// Any JSON, a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)),
        ".{0,12}".prop_map(Value::from),
        Just(json!(1e308)),
        Just(json!("x".repeat(20_000))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,8}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "model",
        "messages",
        "prompt",
        "n",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "max_completion_tokens",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "echo",
        "best_of",
        "frequency_penalty",
        "presence_penalty",
        "user",
        "tools",
        "response_format",
        "suffix",
        "other",
        "tokens",
    ])
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"])
}

/// A request with some fields replaced, then perhaps cut off or with a byte changed.
fn wrong() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec((field(), value()), 0..4);
    let harm = prop_oneof![
        4 => Just(None),
        1 => any::<(prop::sample::Index, u8)>().prop_map(Some),
    ];
    (path(), fields, harm, any::<bool>()).prop_map(|(path, fields, harm, cut)| {
        let mut body = match path {
            "/v1/chat/completions" => chat("hello"),
            "/v1/completions" => json!({ "model": "tiny", "prompt": "hello", "max_tokens": 2 }),
            "/tokenize" => json!({ "prompt": "hello" }),
            _ => json!({ "tokens": [100] }),
        };
        for (name, value) in fields {
            body = with(body, json!({ name: value }));
        }
        let mut bytes = request("POST", path, "", &body.to_string());
        if let Some((place, byte)) = harm {
            let place = place.index(bytes.len());
            if cut { bytes.truncate(place) } else { bytes[place] = byte }
        }
        bytes
    })
}

#[test]
fn thousands_of_wrong_requests_harm_nobody() {
    let place = Place::with(|options| {
        options.limits.header = std::time::Duration::from_millis(50);
        options.limits.body = std::time::Duration::from_millis(50);
    });
    let normal = || place.json("/v1/chat/completions", &chat("a normal request"))["choices"].clone();
    let before = normal();
    let mut runner = TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&wrong(), |bytes| {
        // Where the head is broken there may be nothing to answer to.
        if let Ok(reply) = raw(place.address, &bytes) {
            prop_assert!(matches!(reply.status, 200 | 400..=499), "{:?}", reply);
            prop_assert!(
                reply.status == 200
                    || reply.status == 400 && reply.body.is_empty()
                    || reply.body.contains("\"message\""),
                "{:?}",
                reply
            );
        }
        Ok(())
    });
    ran.unwrap();
    assert_eq!(normal(), before);
    place.wait_for("lowbit_requests_running 0");
    let page = place.send("GET", "/metrics", "", "").body;
    for none in ["failed", "panics"] {
        let known = page.lines().find(|line| line.contains(none) && !line.starts_with('#'));
        assert!(known.is_some_and(|line| line.ends_with(" 0")), "{page}");
    }
}
