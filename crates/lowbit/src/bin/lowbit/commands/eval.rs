//! `lowbit eval`: tasks, with the prompts and metrics of lm-evaluation-harness.

use crate::{
    Outcome,
    evaluation::{self, Job, Measured, Subject},
    interrupt::Interrupt,
    open,
    options::{CacheType, Compute},
    programs::{self, Permission},
    report,
    table::{
        Align::{Left, Right},
        Table,
    },
    task_data,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    eval::{
        harness::{Execute, Settings, Style},
        results::Texts,
        tasks::{Program, TASKS, Task},
    },
    hub::Store,
    suggest,
};
use serde_json::{Value, json};
use std::{io::Write, path::PathBuf};

/// Measure a model on tasks, as lm-evaluation-harness does. What was measured is kept (`lowbit results`): the same command
/// goes on where it was ended, and measures nothing twice.
#[derive(Args)]
pub(crate) struct Eval {
    /// The model
    model: String,
    /// Tasks, separated by commas; `lowbit list tasks` shows them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true, value_parser = task)]
    tasks: Vec<&'static Task>,
    /// Folder with the tasks' data; what is not there is fetched from the hub
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Documents of each task, from the first on [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    limit: Option<usize>,
    /// Examples before each question [default: the task's]
    #[arg(long, value_name = "N")]
    num_fewshot: Option<usize>,
    /// Put questions by the model's chat template, examples as turns
    #[arg(long)]
    apply_chat_template: bool,
    /// Decides which examples are drawn, and what is written where --temperature is given
    #[arg(long, value_name = "N", default_value_t = 1234)]
    seed: u64,
    /// Texts that are written for every question that asks for one: pass@k needs k
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    samples: usize,
    /// Draw tokens, of the likeliest that make up 95 % [default: 0, always the likeliest]
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f32,
    /// Run the programs that the model writes for tasks like humaneval, in a sandbox (Linux)
    #[arg(long)]
    allow_code_execution: bool,
    /// File of results [default: results.sqlite beside the models]
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Keep also what the model was asked, word by word
    #[arg(long)]
    keep_prompts: bool,
    /// Floats in which keys and values are kept
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CacheType::F16)]
    cache_type: CacheType,
    /// Memory for keys and values, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    kv_memory: u32,
    #[command(flatten)]
    compute: Compute,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Outcome> {
        if self.samples > 1 && self.temperature == 0.0 {
            bail!("--samples {} of the likeliest text are all the same; give --temperature", self.samples);
        }
        let store = Store::from_env()?;
        // Whatever is missing is told before a model is loaded.
        let mut data = Vec::with_capacity(self.tasks.len());
        for task in &self.tasks {
            data.push(task_data::read(&store, self.data.as_deref(), task, &self.settings(task))?);
        }
        let permission = if self.allow_code_execution { Permission::Given } else { Permission::NotGiven };
        let tasks: Vec<_> = self.tasks.iter().copied().zip(&data).collect();
        let runner = programs::runner(&tasks, permission)?;
        let execute = runner.as_ref().map(|runner| move |program: &Program| Ok(runner.run(program)?));
        let execute = execute.as_ref().map(|execute| execute as &Execute<'_>);
        let mut results = evaluation::open_results(&store, self.results.as_deref())?;
        let ctx = self.compute.ctx()?;
        let model = open::load_untuned(&ctx, &self.model, &self.compute)?;
        let activations = self.compute.numbers();
        let kv_bytes = (self.kv_memory as usize).saturating_mul(1 << 20);
        let subject = Subject::new(&self.model, model, ctx, (&activations, self.cache_type), kv_bytes)?;
        let interrupt = Interrupt::install()?;
        let over = interrupt.answering();
        let mut measured = Vec::new();
        for (task, data) in self.tasks.iter().zip(&data) {
            let texts = if self.keep_prompts { Texts::Kept } else { Texts::Hashed };
            let job = Job { task, data, settings: self.settings(task), texts, execute };
            let one = evaluation::measure(&subject, &job, &mut results, &|| over.is_over())
                .with_context(|| format!("task {}", task.name))?;
            measured.push((*task, one));
            if over.is_over() {
                break;
            }
        }
        if self.json {
            self.write_json(out, &measured)?
        } else {
            self.write_text(out, &measured)?
        }
        if over.is_over() {
            eprintln!("interrupted; the same command goes on from there");
            return Ok(Outcome::Interrupted);
        }
        Ok(Outcome::Done)
    }

    fn settings(&self, task: &Task) -> Settings {
        Settings {
            shots: self.num_fewshot.unwrap_or(task.shots),
            limit: self.limit,
            seed: self.seed,
            style: if self.apply_chat_template { Style::Chat } else { Style::Plain },
            samples: self.samples,
            temperature: self.temperature,
        }
    }

    fn write_text(&self, out: &mut dyn Write, measured: &[(&Task, Measured)]) -> Result<()> {
        let mut table = Table::new(&[
            ("task", Left),
            ("version", Right),
            ("shots", Right),
            ("documents", Right),
            ("metric", Left),
            ("value", Right),
            ("± stderr", Right),
            ("run", Right),
        ]);
        for (task, one) in measured {
            for (i, (metric, summary)) in one.summaries.iter().enumerate() {
                let once = |text: String| if i == 0 { text } else { String::new() };
                table.row([
                    once(task.name.to_owned()),
                    once(task.version.to_owned()),
                    once(self.settings(task).shots.to_string()),
                    once(documents(one)),
                    (*metric).to_owned(),
                    format!("{:.4}", summary.value),
                    format!("{:.4}", summary.stderr),
                    once(one.run.to_string()),
                ]);
            }
        }
        table.write(out)?;
        let (seconds, new) = measured
            .iter()
            .fold((0.0, 0), |(s, n), (_, one)| (s + one.seconds, n + one.documents - one.known));
        let style = if self.apply_chat_template { "chat template" } else { "plain text" };
        let activations = self.compute.numbers();
        writeln!(
            out,
            "{}: {style}, seed {}, activations {activations}; {} in {seconds:.1} s",
            self.model,
            self.seed,
            report::count(new, "new document"),
        )?;
        for (task, one) in measured.iter().filter(|(_, one)| one.cut > 0) {
            writeln!(
                out,
                "{}: {} had prompts longer than the context, whose beginnings were cut off",
                task.name,
                report::count(one.cut, "document")
            )?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write, measured: &[(&Task, Measured)]) -> Result<()> {
        let tasks = measured.iter().map(|(task, one)| {
            let metrics = one.summaries.iter().map(|(name, summary)| {
                let Some(metric) = task.metric(name) else { return (name.to_string(), Value::Null) };
                let json = json!({
                    "value": summary.value,
                    "stderr": summary.stderr,
                    "documents": summary.documents,
                    "better": format!("{:?}", metric.better).to_lowercase(),
                });
                (name.to_string(), json)
            });
            json!({
                "task": task.name,
                "version": task.version,
                "shots": self.settings(task).shots,
                "documents": one.documents,
                "of": one.of,
                "known_before": one.known,
                "cut_prompts": one.cut,
                "seconds": one.seconds,
                "run": one.run,
                "metrics": Value::Object(metrics.collect()),
            })
        });
        report::json(
            out,
            &json!({
                "model": self.model,
                "tasks": Value::from_iter(tasks),
                "limit": self.limit,
                "seed": self.seed,
                "apply_chat_template": self.apply_chat_template,
                "samples": self.samples,
                "temperature": self.temperature,
                "activations": self.compute.numbers(),
                "cache_type": self.cache_type,
            }),
        )
    }
}

fn documents(one: &Measured) -> String {
    if one.documents == one.of { one.of.to_string() } else { format!("{} of {}", one.documents, one.of) }
}

/// The task of a name.
pub(crate) fn task(name: &str) -> Result<&'static Task, String> {
    Task::named(name).ok_or_else(|| {
        let near = suggest::nearest(name, TASKS.iter().map(|task| task.name));
        let near = near.map_or_else(String::new, |near| format!(" {near} is close;"));
        format!("no task of this name;{near} lowbit list tasks shows them")
    })
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number from 1 on".to_owned())
}

fn temperature(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number: &f32| (0.0..=10.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 10".to_owned())
}
