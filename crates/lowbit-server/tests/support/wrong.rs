//! Requests that are wrong in some way: of wrong fields, huge, deep, cut off, with a byte changed.

use crate::client::request;
use lowbit_server::Limits;
use proptest::prelude::*;
use serde_json::{Value, json};

/// How deep a body may be.
const DEPTH: usize = 128;

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

/// A body that is larger or deeper than a server takes.
fn outgrown() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(json!({ "prompt": "x".repeat(Limits::default().body_bytes) }).to_string()),
        Just(format!("{{\"prompt\": {}1{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH))),
        Just("[".repeat(100_000)),
    ]
}

/// Bytes to send.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) bytes: Vec<u8>,
    /// Whether the end is missing.
    #[allow(dead_code)]
    pub(crate) cut: bool,
}

/// A request to a model with some fields replaced, then perhaps cut off or with a byte changed; few are too large or too deep.
pub(crate) fn wrong(model: &'static str) -> impl Strategy<Value = Wrong> {
    let outgrown = (path(), outgrown()).prop_map(|(path, body)| {
        let bytes = request("POST", path, "", &body);
        Wrong { bytes, cut: false }
    });
    prop_oneof![99 => damaged(model), 1 => outgrown]
}

fn damaged(model: &'static str) -> impl Strategy<Value = Wrong> {
    let fields = prop::collection::vec((field(), value()), 0..4);
    let harm = prop_oneof![
        4 => Just(None),
        1 => any::<(prop::sample::Index, u8)>().prop_map(Some),
    ];
    (path(), fields, harm, any::<bool>()).prop_map(move |(path, fields, harm, cut)| {
        let mut body = match path {
            "/v1/chat/completions" => {
                json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 12 })
            }
            "/v1/completions" => json!({ "model": model, "prompt": "hello", "max_tokens": 2 }),
            "/tokenize" => json!({ "prompt": "hello" }),
            _ => json!({ "tokens": [100] }),
        };
        for (name, value) in fields {
            body[name] = value;
        }
        let mut bytes = request("POST", path, "", &body.to_string());
        if let Some((place, byte)) = harm {
            let place = place.index(bytes.len());
            if cut { bytes.truncate(place) } else { bytes[place] = byte }
        }
        Wrong { bytes, cut: cut && harm.is_some() }
    })
}
