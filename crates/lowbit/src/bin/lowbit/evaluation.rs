//! A task put to a model, into the file of results: what `eval` and `study` share.

use crate::{options::CacheType, progress};
use anyhow::{Context, Result};
use lowbit::{
    Ctx, Model,
    eval::{
        harness::{Bench, Execute, Lm, LmOptions, Settings, Style, TaskData, documents, evaluate},
        results::{Results, RunAbout, Texts},
        tasks::{Summary, Task},
    },
};
use serde_json::{Value, json};
use std::{ops::ControlFlow, path::Path, sync::Arc, time::Instant};

/// Seconds of documents that are graded before they are all in the file: what a kill may lose.
const SLOW: f64 = 0.5;

/// A model that tasks are put to, with what results say of it.
pub(crate) struct Subject {
    pub(crate) lm: Lm,
    /// What the user called it.
    name: String,
    sha256: String,
    /// What decides the answers beside the task's settings.
    computing: Value,
    /// What decides nothing.
    about: Value,
}

impl Subject {
    pub(crate) fn new(
        name: &str,
        model: Model,
        ctx: Ctx,
        (activations, cache): (&str, CacheType),
        kv_bytes: usize,
    ) -> Result<Self> {
        let path = model.path().to_owned();
        let sha256 = lowbit::sha256(&path).with_context(|| format!("cannot read {name}"))?;
        let about = json!({
            "program": concat!("lowbit ", env!("CARGO_PKG_VERSION")),
            "isa": ctx.isa().level().name(),
            "threads": ctx.threads(),
            "model_path": path,
        });
        let computing = json!({ "activations": activations, "cache_type": cache });
        let options = LmOptions { cache: cache.element(), kv_bytes, ..LmOptions::default() };
        let lm = Lm::start(Arc::new(model), Arc::new(ctx), options)?;
        Ok(Self { lm, name: name.to_owned(), sha256, computing, about })
    }
}

/// What is done with one task.
pub(crate) struct Job<'a> {
    pub(crate) task: &'static Task,
    pub(crate) data: &'a TaskData,
    pub(crate) settings: Settings,
    pub(crate) texts: Texts,
    /// Runs programs, where that is allowed.
    pub(crate) execute: Option<&'a Execute<'a>>,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) run: i64,
    /// Documents that are graded, and that were asked for.
    pub(crate) documents: usize,
    pub(crate) of: usize,
    /// Documents that were there before.
    pub(crate) known: usize,
    pub(crate) seconds: f64,
    /// Documents whose prompts were cut.
    pub(crate) cut: usize,
    pub(crate) summaries: Vec<(&'static str, Summary)>,
}

/// Measures what is not in the file yet. `over` ends it early; what was measured stays.
pub(crate) fn measure(
    subject: &Subject,
    job: &Job<'_>,
    results: &mut Results,
    over: &dyn Fn() -> bool,
) -> Result<Measured> {
    let Job { task, data, settings, .. } = job;
    let about = run_about(subject, job);
    let run = results.begin(&about)?;
    let done = results.done(run)?;
    let of = documents(data, settings);
    let known = done.iter().filter(|place| **place < of).count();
    let template = format!("{} {{pos}}/{{len}} {{wide_bar}} {{msg}}, {{eta}} left", task.name);
    let bar = progress::bar(of as u64, &template);
    bar.set_position(known as u64);
    bar.reset_eta();
    let bench = Bench { lm: &subject.lm, execute: job.execute };
    let (start, mut saved) = (Instant::now(), Instant::now());
    let (mut right, mut graded, mut cut, mut waiting) = (0.0, 0usize, 0, Vec::new());
    let evaluated = evaluate(&bench, task, data, settings, &|place| done.contains(&place), &mut |answer| {
        right += answer.scores.first().map_or(0.0, |score| score.value);
        graded += 1;
        cut += usize::from(answer.cut_tokens > 0);
        bar.inc(1);
        bar.set_message(format!("{} {:.3}", task.metrics[0].name, right / graded as f64));
        waiting.push(answer);
        if saved.elapsed().as_secs_f64() > SLOW {
            results.add(run, &waiting, job.texts)?;
            waiting.clear();
            saved = Instant::now();
        }
        Ok(if over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    bar.finish_and_clear();
    results.add(run, &waiting, job.texts)?;
    let seconds = start.elapsed().as_secs_f64();
    results.add_seconds(run, seconds)?;
    evaluated?;
    let summaries =
        task.metrics.iter().map(|metric| Ok((metric.name, results.summary(run, metric, settings.limit)?)));
    // Those that too few samples were written for have no document.
    let counts = |(_, summary): &(&str, Summary)| summary.documents > 0 || task.metrics.len() == 1;
    let summaries = summaries.filter(|one| one.as_ref().map_or(true, counts)).collect::<Result<Vec<_>>>()?;
    Ok(Measured { run, documents: known + graded, of, known, seconds, cut, summaries })
}

fn run_about(subject: &Subject, job: &Job<'_>) -> RunAbout {
    let Job { task, data, settings, .. } = job;
    let style = match settings.style {
        Style::Plain => "plain",
        Style::Chat => "chat",
    };
    let mut decides = json!({
        "program": concat!("lowbit ", env!("CARGO_PKG_VERSION")),
        "style": style,
        "seed": settings.seed,
        "samples": settings.samples,
        "temperature": settings.temperature,
    });
    if let (Some(all), Value::Object(computing)) = (decides.as_object_mut(), &subject.computing) {
        all.extend(computing.clone());
    }
    RunAbout {
        model: subject.name.clone(),
        model_sha256: subject.sha256.clone(),
        task: task.name.to_owned(),
        task_version: task.version.to_owned(),
        shots: settings.shots,
        settings: decides,
        data: data.path.display().to_string(),
        data_sha256: data.rows.sha256.clone(),
        examples_sha256: data.examples_sha256.clone(),
        rows: data.rows.rows.len(),
        about: subject.about.clone(),
    }
}

/// The file of results: as named, else beside the models.
pub(crate) fn open_results(store: &lowbit::hub::Store, file: Option<&Path>) -> Result<Results> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => {
            let home = &store.settings().home;
            std::fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
            home.join("results.sqlite")
        }
    };
    Ok(Results::open(&path)?)
}
