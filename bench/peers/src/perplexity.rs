//! `peers perplexity`: llama-perplexity's number, for any engine.

use std::io::Write;

use anyhow::Result;
use peers_protocol::LoadOptions;
use serde_json::json;

use crate::accuracy::{PerplexitySum, rows};
use crate::child::EngineProcess;
use crate::cli::Perplexity;
use crate::engines::REFERENCE;
use crate::windows::{WINDOW, Windows};

pub(crate) fn run(arguments: &Perplexity) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let options = LoadOptions { model: arguments.model.clone(), threads: arguments.threads, context: WINDOW };
    let mut engine = EngineProcess::start(arguments.engine, &options)?;
    let windows = if arguments.engine == REFERENCE {
        Windows::of_file(&mut engine, &arguments.text, scratch.path())?
    } else {
        let mut tokenizer = EngineProcess::start(REFERENCE, &options)?;
        Windows::of_file(&mut tokenizer, &arguments.text, scratch.path())?
    };
    let count = windows.count(arguments.chunks)?;
    let mut sum = PerplexitySum::default();
    let mut running = Vec::with_capacity(count);
    for index in 0..count {
        sum.add(&rows(&mut engine, &windows, index, scratch.path())?, windows.targets(index))?;
        let estimate = sum.estimate().perplexity;
        running.push(estimate);
        eprint!("[{}]{estimate:.4},", index + 1);
        std::io::stderr().flush()?;
    }
    eprintln!();
    let estimate = sum.estimate();
    if arguments.json {
        let report = json!({
            "model": arguments.model,
            "engine": engine.loaded().description,
            "text": arguments.text,
            "chunks": count,
            "window": WINDOW,
            "tokens": estimate.tokens,
            "perplexity": estimate.perplexity,
            "standard_error": estimate.standard_error,
            "running": running,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "perplexity {:.4} ± {:.5} over {count} windows of {WINDOW} ({} scored tokens), {}",
            estimate.perplexity,
            estimate.standard_error,
            estimate.tokens,
            engine.loaded().description.engine
        );
    }
    Ok(())
}
