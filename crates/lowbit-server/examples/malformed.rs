//! Thousands of requests that are wrong in some way, to a server that runs, and what becomes of its memory.
//!
//! ```sh
//! lowbit serve smollm2 --port 8080 &
//! cargo run --release -p lowbit-server --example malformed -- 127.0.0.1:8080 smollm2 10000 $!
//! ```
//!
//! Sixteen clients send the requests of the property test `thousands_of_wrong_requests_harm_nobody`: wrong fields, huge, deep, cut off,
//! with a byte changed; one in five hundred stays open in the middle, as from a client that is slow. Printed: how many answers had
//! which status, which of them gave no reason, the memory of the process of that id along the way, and whether a normal
//! request gets the text that it got before.
#![allow(missing_docs)]

#[path = "../tests/support/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../tests/support/wrong.rs"]
mod wrong;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Write,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use wrong::Wrong;

const CLIENTS: usize = 16;
/// One in so many requests is never finished.
const SLOW: usize = 500;
/// Times that memory is looked at.
const LOOKS: usize = 10;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, more @ ..] = &args[..] else {
        eprintln!("arguments: ADDRESS MODEL [REQUESTS] [PROCESS]");
        std::process::exit(2);
    };
    let address: SocketAddr = address.parse().expect("an address and port");
    let model: &'static str = model.clone().leak();
    let requests: usize = more.first().map_or(10_000, |n| n.parse().expect("a number of requests"));
    let before = normal(address, model);
    let statuses = Mutex::new(BTreeMap::<String, usize>::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (statuses, next) = (&statuses, &next);
            scope.spawn(move || {
                let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[client as u8; 32]);
                let mut runner = TestRunner::new_with_rng(Config::default(), rng);
                let strategy = wrong::wrong(model);
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= requests {
                        return;
                    }
                    let request = strategy.new_tree(&mut runner).expect("a request").current();
                    let status = send(address, &request, i % SLOW == 0);
                    *statuses.lock().expect("no client panics").entry(status).or_default() += 1;
                    if (i + 1).is_multiple_of((requests / LOOKS).max(1)) {
                        let memory = more.get(1).and_then(|process| resident(process));
                        let memory =
                            memory.map_or("unknown".into(), |kib| format!("{:.1} MB", kib as f64 / 1e3));
                        println!("{} requests, resident {memory}", i + 1);
                    }
                }
            });
        }
    });
    for (status, count) in statuses.into_inner().expect("no client panics") {
        println!("{count:7}  {status}");
    }
    let same = normal(address, model) == before;
    println!("a normal request gets {} as before", if same { "the same text" } else { "ANOTHER TEXT" });
    std::process::exit(i32::from(!same));
}

/// The choices that an ordinary request gets.
fn normal(address: SocketAddr, model: &str) -> Value {
    let messages = json!([{ "role": "user", "content": "Count to five." }]);
    let body = json!({ "model": model, "messages": messages, "max_tokens": 24, "seed": 7 });
    let request = client::request("POST", "/v1/chat/completions", "", &body.to_string());
    let reply = client::raw(address, &request).expect("a server that answers");
    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
    body["choices"].clone()
}

/// Sends a request and says what came back; one that is slow stops half way and keeps its connection.
fn send(address: SocketAddr, request: &Wrong, slow: bool) -> String {
    let Ok(mut socket) = TcpStream::connect(address) else { return "no connection".into() };
    // The limits of the server for a head and a body are 15 and 30 seconds.
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time above zero");
    let bytes = if slow { &request.bytes[..request.bytes.len() / 2] } else { &request.bytes };
    // A server that has heard enough answers and closes before everything was sent.
    let _ = socket.write_all(bytes);
    if request.cut && !slow {
        let _ = socket.shutdown(Shutdown::Write);
    }
    let Ok(reply) = client::read(&mut socket) else { return "closed".into() };
    let reason =
        reply.status == 200 || reply.body.contains("\"message\"") || reply.body.contains("\"error\"");
    format!("{}{}", reply.status, if reason { "" } else { " without a reason" })
}

/// KiB of memory that a process has.
fn resident(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
