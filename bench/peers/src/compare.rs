//! `peers compare`: all engines, all thread counts, all files.

use std::path::Path;

use anyhow::{Context, Result};
use peers_protocol::LoadOptions;

use crate::accuracy::{DivergenceSum, PerplexitySum, rows};
use crate::child::EngineProcess;
use crate::cli::Compare;
use crate::entry;
use crate::report::{Accuracy, AccuracyRow, EngineHead, Machine, ModelReport, Report};
use crate::speed;
use crate::windows::{WINDOW, Windows};

pub(crate) fn run(arguments: &Compare) -> Result<()> {
    if arguments.text.is_some() {
        entry::same_file(&arguments.engines)?;
    }
    let models = arguments
        .models
        .iter()
        .map(|model| compare(arguments, model).with_context(|| model.display().to_string()))
        .collect::<Result<Vec<ModelReport>>>()?;
    let report = Report {
        machine: machine(),
        rounds: arguments.rounds,
        prompt_tokens: arguments.prompt,
        generated_tokens: arguments.generate,
        models,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn compare(arguments: &Compare, model: &Path) -> Result<ModelReport> {
    let file_bytes = std::fs::metadata(model)?.len();
    let mut speed = Vec::new();
    for &threads in &arguments.threads {
        eprintln!("{}: speed with {threads} threads", model.display());
        speed.extend(speed::measure(arguments, model, threads)?);
    }
    let threads = arguments.threads.iter().copied().max().context("no number of threads was given")?;
    let accuracy = match &arguments.text {
        Some(text) => {
            eprintln!("{}: logits", model.display());
            Some(accuracy(arguments, model, text, threads)?)
        }
        None => None,
    };
    Ok(ModelReport {
        model: model.to_owned(),
        file_bytes,
        engines: heads(arguments, model, threads)?,
        speed,
        accuracy,
    })
}

/// Asks every engine who it is.
fn heads(arguments: &Compare, model: &Path, threads: usize) -> Result<Vec<EngineHead>> {
    arguments
        .engines
        .iter()
        .map(|entry| {
            let file = entry.file(model);
            let file_bytes = std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
            let options = LoadOptions { model: file.to_owned(), threads, context: WINDOW };
            let description = EngineProcess::start(entry.spec, &options)?.loaded().description.clone();
            Ok(EngineHead { name: entry.label(), file: file.to_owned(), file_bytes, description })
        })
        .collect()
}

fn accuracy(arguments: &Compare, model: &Path, text: &Path, threads: usize) -> Result<Accuracy> {
    let scratch = tempfile::tempdir()?;
    let options = LoadOptions { model: model.to_owned(), threads, context: WINDOW };
    let mut reference = EngineProcess::start(arguments.reference, &options)?;
    let windows = Windows::of_file(&mut reference, text, scratch.path())?;
    let count = windows.count(Some(arguments.chunks))?;
    let mut others = arguments
        .engines
        .iter()
        .map(|entry| entry.spec)
        .filter(|spec| *spec != arguments.reference)
        .map(|spec| Ok((EngineProcess::start(spec, &options)?, Sums::default())))
        .collect::<Result<Vec<_>>>()?;

    let mut reference_perplexity = PerplexitySum::default();
    for index in 0..count {
        let expected = rows(&mut reference, &windows, index, scratch.path())?;
        reference_perplexity.add(&expected, windows.targets(index))?;
        for (engine, sums) in &mut others {
            let found = rows(engine, &windows, index, scratch.path())?;
            sums.perplexity.add(&found, windows.targets(index))?;
            sums.divergence
                .add(&expected, &found)
                .with_context(|| format!("{} beside {}", engine.spec().name, arguments.reference.name))?;
        }
    }
    let mut table = vec![AccuracyRow {
        engine: arguments.reference.name,
        perplexity: reference_perplexity.estimate(),
        divergence: None,
    }];
    table.extend(others.iter().map(|(engine, sums)| AccuracyRow {
        engine: engine.spec().name,
        perplexity: sums.perplexity.estimate(),
        divergence: sums.divergence.summary(),
    }));
    Ok(Accuracy { text: text.to_owned(), chunks: count, reference: arguments.reference.name, rows: table })
}

#[derive(Default)]
struct Sums {
    perplexity: PerplexitySum,
    divergence: DivergenceSum,
}

fn machine() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpu = model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned());
    Machine { cpu, cores: std::thread::available_parallelism().map_or(1, usize::from) }
}
