//! `lowbit serve` as a process: what it says, one request, and its end by a signal.

use super::Place;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

/// The JSON in the answer to a request with a body of JSON.
fn ask(address: &str, path: &str, body: &str) -> Value {
    let mut socket = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(socket, "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAuthorization: Bearer secret\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[cfg(unix)]
#[test]
fn a_server_says_where_it_is_answers_and_ends_by_a_signal() {
    let place = Place::new();
    std::fs::write(place.path("key"), "secret\n").unwrap();
    let mut command =
        place.command(&["serve", "chat.gguf", "--port", "0", "--api-key-file", "key", "-c", "64"]);
    let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("serving chat at http://127.0.0.1:") && line.contains("64 tokens"), "{line}");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"hi"}],"max_tokens":4}"#;
    let answer = ask(&address, "/v1/chat/completions", body);
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
    assert!(Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap().success());
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_server_that_would_be_open_or_has_no_room_is_refused() {
    let place = Place::new();
    let error = place.error(&["serve", "chat.gguf", "--port", "0", "--host", "0.0.0.0"]);
    assert!(error.contains("--api-key") && error.contains("--insecure-no-key"), "{error}");
    let error = place.error(&["serve", "chat.gguf", "--port", "0", "-c", "100000"]);
    assert!(error.contains("100000"), "{error}");
    let error = place.error(&["serve", "chat.gguf", "--api-key-file", "no-file"]);
    assert!(error.contains("no-file"), "{error}");
    let error = place.error(&["serve", "chat.gguf", "--api-key", "a b"]);
    assert!(error.contains("the key has characters"), "{error}");
}
