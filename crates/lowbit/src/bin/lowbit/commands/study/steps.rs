//! The steps of one model: quantize, compare, eval, bench, each a command of its own process, whose JSON is kept. A step that
//! is there is not run again.

use anyhow::{Context, Result, bail};
use lowbit::{
    eval::{
        study::{Cell, Made, Measured, Recipe, TaskFigure},
        tasks::{Aggregate, Better, Task},
    },
    quant::{Claim, method, stats::Needs},
    write_file,
};
use serde_json::{Map, Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Tokens read and written where speed is measured.
const SPEED: [&str; 4] = ["-p", "128", "-n", "32"];

/// What the figures are measured on.
pub(super) struct Inputs {
    /// Folder with the tasks' data.
    pub(super) data: Option<PathBuf>,
    /// Text for divergence.
    pub(super) text: Option<PathBuf>,
    /// Whether programs of models are run.
    pub(super) allow_code_execution: bool,
}

impl Inputs {
    /// What a report says of the setting.
    pub(super) fn setting(&self, recipe: &Recipe) -> Vec<String> {
        let mut lines = vec![format!("program lowbit {}", env!("CARGO_PKG_VERSION"))];
        // Names are enough: the commands below have the paths.
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of = |path: &Option<PathBuf>| path.as_deref().map_or("none".to_owned(), name);
        let chunks = recipe.chunks;
        lines.push(format!(
            "divergence and perplexity: {chunks} windows of 512 tokens, the second half scored, of {}",
            of(&self.text)
        ));
        let limit = recipe.limit.map_or("all".to_owned(), |limit| format!("the first {limit}"));
        lines.push(format!("tasks: {limit} documents of each, data {}", of(&self.data)));
        let calib = recipe.calib.as_deref().map_or("none".to_owned(), |calib| name(Path::new(calib)));
        let number = |number: Option<usize>| number.map_or("the default".to_owned(), |n| n.to_string());
        lines.push(format!(
            "calibration: {calib}, samples {}, tokens each {}",
            number(recipe.samples),
            number(recipe.length)
        ));
        lines.push(format!("activations {}", recipe.activations.as_deref().unwrap_or("int16")));
        lines.push(
            "± is one standard error; recovery is the mean over tasks of a task's share by the source's"
                .to_owned(),
        );
        lines
    }
}

/// Runs what a recipe asks for.
pub(super) struct Steps<'a> {
    recipe: &'a Recipe,
    inputs: &'a Inputs,
    folder: &'a Path,
    program: PathBuf,
}

/// One command of a model.
struct Step {
    name: &'static str,
    args: Vec<String>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(recipe: &'a Recipe, inputs: &'a Inputs, folder: &'a Path) -> Result<Self> {
        for one in &recipe.methods {
            let needs = needs(one.method(), &one.settings())?;
            if needs != Needs::NONE && recipe.calib.is_none() && one.calib().is_none() {
                bail!("{} looks at data; name a text with --calib", one.label());
            }
        }
        let mut tasks = recipe.tasks.iter().filter_map(|name| Task::named(name));
        if let Some(task) = tasks.find(|task| task.runs_programs())
            && !inputs.allow_code_execution
        {
            bail!("{} runs programs that models write; allow it with --allow-code-execution", task.name);
        }
        let program = std::env::current_exe().context("cannot find this program")?;
        Ok(Self { recipe, inputs, folder, program })
    }

    /// What was measured of a cell, from what is kept; `None` where something of it is missing.
    pub(super) fn known(&self, cell: &Cell) -> Result<Option<Measured>> {
        let mut results = Map::new();
        let steps = self.steps(cell)?;
        for step in &steps {
            match self.kept(cell, step)? {
                Some(result) => results.insert(step.name.to_owned(), result),
                None => return Ok(None),
            };
        }
        Ok(Some(self.figures(cell, &steps, &results)))
    }

    /// Runs what is missing of a cell.
    pub(super) fn measure(&self, cell: &Cell, keep: bool, say: &dyn Fn(&str)) -> Result<Measured> {
        if let Some(known) = self.known(cell)? {
            return Ok(known);
        }
        let mut results = Map::new();
        let steps = self.steps(cell)?;
        let made = self.model(cell);
        for step in &steps {
            // A model that was removed after it was measured is made again only where a step needs it.
            let gone = step.name == "quantize" && !Path::new(&made).exists();
            let result = match self.kept(cell, step)?.filter(|_| !gone) {
                Some(result) => result,
                None => {
                    say(&format!("lowbit {}", step.args.join(" ")));
                    let result = self.run(cell, step)?;
                    self.keep(cell, step, &result)?;
                    result
                }
            };
            results.insert(step.name.to_owned(), result);
        }
        if cell.made.is_some() && !keep {
            std::fs::remove_file(&made).with_context(|| format!("cannot remove {made}"))?;
        }
        Ok(self.figures(cell, &steps, &results))
    }

    /// The path or name of what is measured.
    fn model(&self, cell: &Cell) -> String {
        match cell.made {
            None => cell.model.clone(),
            Some(_) => {
                self.folder.join("models").join(format!("{}.lowbit", cell.name())).display().to_string()
            }
        }
    }

    fn steps(&self, cell: &Cell) -> Result<Vec<Step>> {
        let Self { recipe, inputs, .. } = self;
        let model = self.model(cell);
        let mut steps = Vec::new();
        let mut add = |name, args: Vec<String>| steps.push(Step { name, args });
        let texts = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        let activations = |mut args: Vec<String>| {
            if let Some(numbers) = &recipe.activations {
                args.extend(texts(&["--activations", numbers]));
            }
            args
        };
        if let Some(Made { method: one, format }) = &cell.made {
            let mut args = texts(&["quantize", &cell.model, "--method", one.method(), "--format", format]);
            args.extend(texts(&["-o", &model, "--verify", "none", "--json"]));
            let settings = one.settings();
            settings.iter().for_each(|setting| args.extend(texts(&["--set", setting])));
            if needs(one.method(), &settings)? != Needs::NONE {
                let calib = one.calib().or(recipe.calib.as_deref()).unwrap_or_default();
                args.extend(texts(&["--calib", calib]));
                for (option, number) in [("--samples", recipe.samples), ("--length", recipe.length)] {
                    if let Some(number) = number {
                        args.extend(texts(&[option, &number.to_string()]));
                    }
                }
            }
            add("quantize", args);
        }
        if let Some(text) = &inputs.text {
            let (text, chunks) = (text.display().to_string(), recipe.chunks.to_string());
            let args = match cell.made {
                Some(_) => texts(&["compare", &cell.model, &model]),
                None => texts(&["perplexity", &model]),
            };
            let end = texts(&["--text", &text, "--chunks", &chunks, "--json"]);
            let numbers = recipe.activations.as_deref().unwrap_or("int16");
            let step = if cell.made.is_some() { "compare" } else { "perplexity" };
            add(step, [args, end, texts(&["--activations", numbers])].concat());
        }
        if !recipe.tasks.is_empty() {
            let results = self.folder.join("results.sqlite").display().to_string();
            let mut args =
                texts(&["eval", &model, "--tasks", &recipe.tasks.join(","), "--results", &results, "--json"]);
            if let Some(data) = &inputs.data {
                args.extend(texts(&["--data", &data.display().to_string()]));
            }
            for (option, number) in [("--limit", recipe.limit), ("--num-fewshot", recipe.num_fewshot)] {
                if let Some(number) = number {
                    args.extend(texts(&[option, &number.to_string()]));
                }
            }
            if inputs.allow_code_execution {
                args.extend(texts(&["--allow-code-execution"]));
            }
            add("eval", activations(args));
        }
        if recipe.speed {
            add("bench", activations([texts(&["bench", &model, "--json"]), texts(&SPEED)].concat()));
        }
        add("inspect", texts(&["inspect", &model, "--json"]));
        Ok(steps)
    }

    fn path(&self, cell: &Cell, step: &Step) -> PathBuf {
        self.folder.join("steps").join(format!("{}.{}.json", cell.name(), step.name))
    }

    /// The result of a step that was run with these very arguments.
    fn kept(&self, cell: &Cell, step: &Step) -> Result<Option<Value>> {
        let path = self.path(cell, step);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let mut kept: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON; remove it", path.display()))?;
        Ok((kept["args"] == json!(step.args)).then(|| kept["result"].take()))
    }

    fn keep(&self, cell: &Cell, step: &Step, result: &Value) -> Result<()> {
        let kept = json!({ "args": step.args, "result": result });
        Ok(write_file(&self.path(cell, step), &serde_json::to_vec_pretty(&kept)?)?)
    }

    fn run(&self, cell: &Cell, step: &Step) -> Result<Value> {
        let mut command = Command::new(&self.program);
        // It ends with this process: at the latest when the other end of its input is gone.
        command.args(&step.args).env(crate::env::LOWBIT_END_WITH_INPUT.name, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if step.name == "quantize" && Path::new(&format!("{}.partial", self.model(cell))).exists() {
            command.arg("--resume");
        }
        // What a step says while it works is for a terminal; here only why it failed.
        let start = std::time::Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start lowbit {}", step.name))?;
        let _input = child.stdin.take();
        let output =
            child.wait_with_output().with_context(|| format!("cannot wait for lowbit {}", step.name))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said");
            bail!("lowbit {} ended with {}: {said}", step.name, output.status);
        }
        let mut result: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("lowbit {} did not write JSON", step.name))?;
        if let Some(fields) = result.as_object_mut() {
            fields.insert("step_seconds".to_owned(), start.elapsed().as_secs_f64().into());
        }
        Ok(result)
    }

    fn figures(&self, cell: &Cell, steps: &[Step], results: &Map<String, Value>) -> Measured {
        let get = |step: &str, path: &str| results.get(step).and_then(|result| result.pointer(path));
        let number = |step: &str, path: &str| get(step, path).and_then(Value::as_f64);
        let pair = |step: &str, value: &str, error: &str| Some((number(step, value)?, number(step, error)?));
        let perplexity = match cell.made {
            Some(_) => pair("compare", "/other/perplexity", "/other/stderr"),
            None => pair("perplexity", "/perplexity", "/stderr"),
        };
        let speed = |kind: &str| {
            let tests = get("bench", "/tests")?.as_array()?;
            tests.iter().find(|test| test["test"].as_str().is_some_and(|test| test.starts_with(kind)))?["tokens_per_s"]
                .as_f64()
        };
        let tasks = get("eval", "/tasks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Measured {
            model: cell.model.clone(),
            method: cell.made.as_ref().map(|made| made.method.label().to_owned()),
            format: cell.made.as_ref().map(|made| made.format.clone()),
            block_bits: number("quantize", "/quantized_bits_per_weight"),
            bits_per_weight: number("inspect", "/bits_per_weight"),
            bytes: get("inspect", "/file_bytes").and_then(Value::as_u64),
            kl: pair("compare", "/kl/mean", "/kl/stderr"),
            perplexity,
            tasks: tasks.iter().filter_map(task_figure).collect(),
            decode_tokens_per_s: speed("tg"),
            prompt_tokens_per_s: speed("pp"),
            quantize_s: number("quantize", "/step_seconds"),
            peak_bytes: get("quantize", "/peak_rss_bytes").and_then(Value::as_u64),
            against: cell.made.as_ref().map_or_else(Vec::new, |made| made.method.against().to_vec()),
            published: cell.made.as_ref().map_or_else(Vec::new, |made| published(made.method.method())),
            commands: steps.iter().map(|step| format!("lowbit {}", step.args.join(" "))).collect(),
        }
    }
}

fn task_figure(measured: &Value) -> Option<TaskFigure> {
    let task = Task::named(measured["task"].as_str()?)?;
    let metric = task.metrics.first()?;
    let figure = &measured["metrics"][metric.name];
    Some(TaskFigure {
        task: task.name.to_owned(),
        metric: metric.name.to_owned(),
        value: figure["value"].as_f64()?,
        stderr: figure["stderr"].as_f64(),
        documents: measured["documents"].as_u64()? as usize,
        is_share: metric.aggregate == Aggregate::Mean && metric.better == Better::Higher,
    })
}

/// What the paper of a method says of it, in words.
fn published(name: &str) -> Vec<String> {
    let claims = method(name).map_or(&[][..], |entry| entry.card.claims);
    let said = |claim: &Claim| {
        let (other, theirs) = claim.baseline;
        let Claim { setting, metric, published, source, .. } = claim;
        format!("{metric} {published}, {other} {theirs} ({setting}; {source})")
    };
    claims.iter().map(said).collect()
}

/// What a method looks at.
fn needs(name: &str, settings: &[String]) -> Result<Needs> {
    let method = method(name)?;
    Ok((method.recipe)(&crate::commands::quantize::settings(settings)?)?.needs())
}
