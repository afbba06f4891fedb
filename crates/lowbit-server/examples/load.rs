//! Clients that ask a server all at once, and how fast they are answered.
//!
//! ```sh
//! lowbit serve qwen2.5-coder-0.5b --port 8080
//! cargo run --release -p lowbit-server --example load -- 127.0.0.1:8080 qwen2.5-coder-0.5b 1,4,16
//! ```
//!
//! In place of an address, the path of a model: it is then served by this program itself.
//!
//! Every client asks one question after another and reads the stream; all numbers of clients share the same questions. Further
//! arguments: questions in all (default 64) and tokens of each answer (default 64). Printed for every number of clients: tokens
//! of answers a second over all of them, the median and the 99th percentile of the time to the first token and between
//! tokens, and how many answers are those of the first number of clients: all, where none depends on what is computed beside
//! it.
#![allow(missing_docs)]

#[path = "../tests/support/client.rs"]
#[allow(dead_code)]
mod client;

use lowbit_engine::{LoadOptions, Model};
use lowbit_kernels::{Ctx, Isa, Machine};
use lowbit_server::{Exposure, Limits, ModelEntry, Residency, SchedulerOptions, Server, ServerOptions};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, clients, more @ ..] = &args[..] else {
        eprintln!("arguments: ADDRESS|PATH MODEL CLIENTS[,CLIENTS…] [QUESTIONS] [TOKENS]");
        std::process::exit(2);
    };
    let address: SocketAddr = address.parse().unwrap_or_else(|_| serve(address, model));
    let number = |place: usize, usual| more.get(place).map_or(usual, |n| n.parse().expect("a number"));
    let (questions, tokens) = (number(0, 64), number(1, 64));
    let mut texts: Vec<String> = Vec::new();
    println!("clients  tokens/s  first token p50/p99 (ms)  next token p50/p99 (ms)  same answers");
    for count in clients.split(',').map(|count| count.parse::<usize>().expect("numbers of clients")) {
        let start = Instant::now();
        let mut all: Vec<(usize, Answer)> = std::thread::scope(|scope| {
            let ask = |client: usize| {
                let asked = (client..questions).step_by(count);
                move || asked.map(|i| (i, answer(address, model, i, tokens))).collect::<Vec<_>>()
            };
            let clients: Vec<_> = (0..count).map(|client| scope.spawn(ask(client))).collect();
            clients.into_iter().flat_map(|client| client.join().expect("a client that ends")).collect()
        });
        let seconds = start.elapsed().as_secs_f64();
        all.sort_by_key(|(question, _)| *question);
        if texts.is_empty() {
            texts = all.iter().map(|(_, answer)| answer.text.clone()).collect();
        }
        let same = all.iter().zip(&texts).filter(|((_, answer), text)| answer.text == **text).count();
        let written: u64 = all.iter().map(|(_, answer)| answer.written).sum();
        let seen: Vec<Vec<f64>> = all.into_iter().map(|(_, answer)| answer.times).collect();
        let mut first: Vec<f64> = seen.iter().filter_map(|times| times.first().copied()).collect();
        let mut next: Vec<f64> =
            seen.iter().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0])).collect();
        println!(
            "{count:7}  {:8.1}  {:>11.0} / {:<10.0}  {:>10.1} / {:<9.1}  {same}/{questions}",
            written as f64 / seconds,
            percentile(&mut first, 0.5),
            percentile(&mut first, 0.99),
            percentile(&mut next, 0.5),
            percentile(&mut next, 0.99),
        );
    }
}

/// Serves the model at a path until this program ends.
fn serve(path: &str, model_id: &str) -> SocketAddr {
    let ctx = Arc::new(Ctx::new(Isa::detect(), Machine::detect().default_threads()));
    let options = ServerOptions {
        address: ([127, 0, 0, 1], 0).into(),
        exposure: Exposure::Protected,
        tls: None,
        api_key: None,
        hosts: Vec::new(),
        models: vec![ModelEntry { id: model_id.to_owned(), path: path.into() }],
        residency: Residency { bytes: 0, idle: Duration::ZERO },
        scheduler: SchedulerOptions::default(),
        speculation: None,
        limits: Limits::default(),
    };
    let loader = |ctx: &Ctx, path: &Path| {
        Model::load(ctx, path, LoadOptions::default()).map_err(|error| error.to_string())
    };
    let server = Server::bind(Box::new(loader), ctx, options).expect("a model and a free port");
    let address = server.address();
    std::thread::spawn(move || server.run().expect("a server that runs"));
    address
}

/// What a client got.
struct Answer {
    text: String,
    /// Milliseconds from the question to each piece of the text.
    times: Vec<f64>,
    /// Tokens that the server counted.
    written: u64,
}

fn answer(address: SocketAddr, model: &str, question: usize, tokens: usize) -> Answer {
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": format!("Tell me a long story about the number {question}.") }],
        "max_tokens": tokens,
        "seed": question,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let start = Instant::now();
    let mut socket = TcpStream::connect(address).expect("a server that listens");
    socket
        .write_all(&client::request("POST", "/v1/chat/completions", "", &body.to_string()))
        .expect("a server that reads");
    let (mut text, mut times, mut written) = (String::new(), Vec::new(), 0);
    for line in BufReader::new(socket).lines().map_while(Result::ok) {
        let Some(event) = line.strip_prefix("data: ") else { continue };
        let Ok(event) = serde_json::from_str::<Value>(event) else { continue };
        assert!(event.get("error").is_none(), "{event}");
        let piece = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        if !piece.is_empty() {
            text.push_str(piece);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        written = event["usage"]["completion_tokens"].as_u64().unwrap_or(written);
    }
    assert!(!times.is_empty() && written > 0, "no token for question {question}");
    Answer { text, times, written }
}

fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
