//! `lowbit results`: what `lowbit eval` measured.

use crate::{
    evaluation, report,
    table::{
        Align::{Left, Right},
        Table,
    },
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use lowbit::{
    eval::{
        results::{Paired, Results, Run, StoredDocument},
        tasks::{Aggregate, Metric, Task},
    },
    hub::Store,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::Write, path::PathBuf};

/// List, compare and export what `lowbit eval` measured.
#[derive(Args)]
pub(crate) struct ResultsCommand {
    /// File of results [default: results.sqlite beside the models]
    #[arg(long, value_name = "FILE", global = true)]
    results: Option<PathBuf>,
    /// Report as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Show all runs, the oldest first
    List,
    /// Show the settings and figures of a run
    Show {
        /// Its number
        run: i64,
        /// Figures also of each subject or category
        #[arg(long)]
        by_category: bool,
    },
    /// Compare runs of a task on the documents that both have, with the probability that the difference is chance
    Compare {
        /// The number of the run that is taken as right, or a model: then all its tasks
        first: String,
        /// The other run or model
        second: String,
    },
    /// Write runs with every document
    Export {
        /// Their numbers [default: all]
        runs: Vec<i64>,
        /// How
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
    },
    /// Take a run out of the file
    Remove {
        /// Its number
        run: i64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An object in every line, one a document
    Json,
    /// A line a document and metric
    Csv,
    /// A table of the figures
    Markdown,
}

impl ResultsCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let results = evaluation::open_results(&Store::from_env()?, self.results.as_deref())?;
        match self.action.as_ref().unwrap_or(&Action::List) {
            Action::List => self.list(out, &results),
            Action::Show { run, by_category } => self.show(out, &results, *run, *by_category),
            Action::Compare { first, second } => self.compare(out, &results, first, second),
            Action::Export { runs, format } => self.export(out, &results, runs, *format),
            Action::Remove { run } => {
                if !results.remove(*run)? {
                    bail!("no run {run}; lowbit results list shows those that are there");
                }
                eprintln!("run {run} is no longer in the file");
                Ok(())
            }
        }
    }

    fn list(&self, out: &mut dyn Write, results: &Results) -> Result<()> {
        let runs = results.runs()?;
        if self.json {
            let runs = runs.iter().map(|run| run_json(results, run)).collect::<Result<Vec<_>>>()?;
            return report::json(out, &runs);
        }
        let mut table = Table::new(&[
            ("run", Right),
            ("model", Left),
            ("task", Left),
            ("shots", Right),
            ("documents", Right),
            ("metric", Left),
            ("value", Right),
            ("± stderr", Right),
            ("settings", Left),
            ("begun", Left),
        ]);
        for run in &runs {
            let (metric, value, stderr) = match metrics(run).first() {
                Some(metric) => {
                    let summary = results.summary(run.id, metric, None)?;
                    (metric.name, format!("{:.4}", summary.value), format!("{:.4}", summary.stderr))
                }
                None => ("", String::new(), String::new()),
            };
            table.row([
                run.id.to_string(),
                run.about.model.clone(),
                run.about.task.clone(),
                run.about.shots.to_string(),
                format!("{} of {}", run.documents, run.about.rows),
                metric.to_owned(),
                value,
                stderr,
                settings(run),
                run.created.clone(),
            ]);
        }
        Ok(table.write(out)?)
    }

    fn show(&self, out: &mut dyn Write, results: &Results, id: i64, by_category: bool) -> Result<()> {
        let run = results.run(id)?;
        let documents = results.documents(id)?;
        let categories: BTreeSet<&str> =
            documents.iter().filter_map(|document| document.category.as_deref()).collect();
        let of = |category: Option<&str>, metric: &Metric| {
            let counts = |document: &&StoredDocument| {
                category.is_none_or(|category| document.category.as_deref() == Some(category))
            };
            let scores = documents.iter().filter(counts).filter_map(|one| one.scores.get(metric.name));
            metric.aggregate.of(&scores.copied().collect::<Vec<_>>())
        };
        if self.json {
            let mut json = run_json(results, &run)?;
            let categories = categories.iter().map(|category| {
                let metrics = metrics(&run).iter().map(|metric| {
                    let summary = of(Some(category), metric);
                    (
                        metric.name.to_owned(),
                        json!({ "value": summary.value, "documents": summary.documents }),
                    )
                });
                ((*category).to_owned(), Value::Object(metrics.collect()))
            });
            json["categories"] = Value::Object(categories.collect());
            return report::json(out, &json);
        }
        let about = &run.about;
        report::fields(
            out,
            &[
                ("model", format!("{}, sha256 {}", about.model, about.model_sha256)),
                ("task", format!("{} version {}, {} shots", about.task, about.task_version, about.shots)),
                ("settings", settings(&run)),
                ("data", format!("{}, {} rows, sha256 {}", about.data, about.rows, about.data_sha256)),
                (
                    "examples",
                    about.examples_sha256.clone().map_or("none".into(), |hash| format!("sha256 {hash}")),
                ),
                ("documents", run.documents.to_string()),
                ("machine", about.about.to_string()),
                ("begun", format!("{}, {:.1} s in all", run.created, run.seconds)),
            ],
        )?;
        writeln!(out)?;
        let mut table = Table::new(&[
            ("category", Left),
            ("metric", Left),
            ("value", Right),
            ("± stderr", Right),
            ("documents", Right),
        ]);
        let shown = categories.into_iter().filter(|_| by_category).map(Some);
        for category in std::iter::once(None).chain(shown) {
            for metric in metrics(&run) {
                let summary = of(category, metric);
                table.row([
                    category.unwrap_or("all").to_owned(),
                    metric.name.to_owned(),
                    format!("{:.4}", summary.value),
                    format!("{:.4}", summary.stderr),
                    summary.documents.to_string(),
                ]);
            }
        }
        Ok(table.write(out)?)
    }

    fn compare(&self, out: &mut dyn Write, results: &Results, first: &str, second: &str) -> Result<()> {
        let runs = results.runs()?;
        let pairs = pairs(&runs, first, second)?;
        let mut table = Table::new(&[
            ("task", Left),
            ("metric", Left),
            ("runs", Left),
            ("documents", Right),
            ("first", Right),
            ("second", Right),
            ("difference", Right),
            ("± stderr", Right),
            ("more/less", Right),
            ("p", Right),
        ]);
        let mut json = Vec::new();
        for (one, two) in pairs {
            let (first, second) = (results.documents(one.id)?, results.documents(two.id)?);
            for metric in metrics(one) {
                let Some(paired) = Paired::of(&first, &second, metric.name) else { continue };
                // A perplexity is of the mean: what documents have is its logarithm.
                let name = match metric.aggregate {
                    Aggregate::Mean => metric.name.to_owned(),
                    Aggregate::Perplexity | Aggregate::Bits => format!("ln p of {}", metric.name),
                };
                table.row([
                    one.about.task.clone(),
                    name,
                    format!("{}, {}", one.id, two.id),
                    paired.documents.to_string(),
                    format!("{:.4}", paired.first),
                    format!("{:.4}", paired.second),
                    format!("{:+.4}", paired.difference()),
                    format!("{:.4}", paired.stderr),
                    format!("{}/{}", paired.more, paired.less),
                    format!("{:.3}", paired.p_value),
                ]);
                json.push(json!({
                    "task": one.about.task,
                    "metric": metric.name,
                    "runs": [one.id, two.id],
                    "documents": paired.documents,
                    "asked_otherwise": paired.asked_otherwise,
                    "first": paired.first,
                    "second": paired.second,
                    "difference": paired.difference(),
                    "stderr": paired.stderr,
                    "more": paired.more,
                    "less": paired.less,
                    "p_value": paired.p_value,
                }));
            }
        }
        if json.is_empty() {
            bail!("the runs have no document in common that was asked alike, so nothing can be compared");
        }
        if self.json { report::json(out, &json) } else { Ok(table.write(out)?) }
    }

    fn export(&self, out: &mut dyn Write, results: &Results, ids: &[i64], format: Format) -> Result<()> {
        let mut runs = Vec::new();
        for id in ids {
            runs.push(results.run(*id)?);
        }
        if ids.is_empty() {
            runs = results.runs()?;
        }
        match format {
            Format::Json => {
                for run in &runs {
                    for document in results.documents(run.id)? {
                        writeln!(out, "{}", document_json(run, &document))?;
                    }
                }
            }
            Format::Csv => {
                writeln!(out, "run,model,task,shots,document,category,metric,value,weight")?;
                for run in &runs {
                    let about = &run.about;
                    for document in results.documents(run.id)? {
                        for (metric, (value, weight)) in &document.scores {
                            let place = document.place;
                            let category = document.category.as_deref().unwrap_or_default();
                            // Names of metrics have commas too: exact_match,strict-match.
                            let texts = [&about.model, &about.task, category, metric].map(cell);
                            let ([model, task, category, metric], shots) = (texts, about.shots);
                            writeln!(
                                out,
                                "{},{model},{task},{shots},{place},{category},{metric},{value},{weight}",
                                run.id
                            )?;
                        }
                    }
                }
            }
            Format::Markdown => {
                writeln!(out, "| model | task | shots | documents | metric | value | ± stderr | settings |")?;
                writeln!(out, "| --- | --- | --: | --: | --- | --: | --: | --- |")?;
                for run in &runs {
                    for metric in metrics(run) {
                        let summary = results.summary(run.id, metric, None)?;
                        writeln!(
                            out,
                            "| {} | {} | {} | {} | {} | {:.4} | {:.4} | {} |",
                            run.about.model.replace('|', "\\|"),
                            run.about.task,
                            run.about.shots,
                            summary.documents,
                            metric.name,
                            summary.value,
                            summary.stderr,
                            settings(run),
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The metrics of a run's task; none of a task that this program does not know.
fn metrics(run: &Run) -> &'static [Metric] {
    Task::named(&run.about.task).map_or(&[], |task| task.metrics)
}

/// `name value` of everything that decides the answers.
fn settings(run: &Run) -> String {
    let Some(settings) = run.about.settings.as_object() else { return String::new() };
    let all = settings.iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if name == "program" { value } else { format!("{name} {value}") }
    });
    all.collect::<Vec<_>>().join(", ")
}

fn run_json(results: &Results, run: &Run) -> Result<Value> {
    let mut figures = serde_json::Map::new();
    for metric in metrics(run) {
        let summary = results.summary(run.id, metric, None)?;
        let json =
            json!({ "value": summary.value, "stderr": summary.stderr, "documents": summary.documents });
        figures.insert(metric.name.to_owned(), json);
    }
    let about = &run.about;
    Ok(json!({
        "run": run.id,
        "created": run.created,
        "model": about.model,
        "model_sha256": about.model_sha256,
        "task": about.task,
        "task_version": about.task_version,
        "shots": about.shots,
        "settings": about.settings,
        "data": about.data,
        "data_sha256": about.data_sha256,
        "examples_sha256": about.examples_sha256,
        "rows": about.rows,
        "documents": run.documents,
        "seconds": run.seconds,
        "about": about.about,
        "metrics": figures,
    }))
}

/// A document in the form that the agreement with lm-evaluation-harness is measured in.
fn document_json(run: &Run, document: &StoredDocument) -> Value {
    let requests = document.replies.as_array().map_or(&[][..], Vec::as_slice);
    let requests = requests.iter().enumerate().map(|(i, reply)| {
        let mut request = reply.clone();
        let asked = document.asked.as_ref().and_then(|asked| asked.get(i));
        if let (Some(request), Some(asked)) = (request.as_object_mut(), asked) {
            request.insert("context".to_owned(), asked[0].clone());
            request.insert("continuation".to_owned(), asked[1].clone());
        }
        request
    });
    let scores = document.scores.iter().map(|(name, (value, _))| (name.clone(), Value::from(*value)));
    json!({
        "run": run.id,
        "model": run.about.model,
        "task": run.about.task,
        "shots": run.about.shots,
        "index": document.place,
        "category": document.category,
        "asked_sha256": document.asked_sha256,
        "requests": Value::from_iter(requests),
        "scores": Value::Object(scores.collect()),
    })
}

/// Runs that are compared: two, or all of two models that were measured alike.
fn pairs<'a>(runs: &'a [Run], first: &str, second: &str) -> Result<Vec<(&'a Run, &'a Run)>> {
    let of = |wanted: &str| -> Result<Vec<&'a Run>> {
        let found: Vec<&Run> = match wanted.parse::<i64>() {
            Ok(id) => runs.iter().filter(|run| run.id == id).collect(),
            Err(_) => runs.iter().filter(|run| run.about.model == wanted).collect(),
        };
        if found.is_empty() {
            bail!("no run or model {wanted:?}; lowbit results list shows those that are there");
        }
        Ok(found)
    };
    let (first, second) = (of(first)?, of(second)?);
    let alike = |one: &Run, two: &Run| {
        let (one, two) = (&one.about, &two.about);
        (&one.task, &one.task_version, one.shots, &one.data_sha256)
            == (&two.task, &two.task_version, two.shots, &two.data_sha256)
    };
    let all = first.iter().flat_map(|one| second.iter().map(move |two| (*one, *two)));
    let all: Vec<_> = all.filter(|(one, two)| alike(one, two)).collect();
    (!all.is_empty())
        .then_some(all)
        .context("the runs are of other tasks, numbers of examples or data, so nothing can be compared")
}

/// A cell of CSV.
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_and_quotes_stay_one_cell() {
        assert_eq!(cell("acc"), "acc");
        assert_eq!(cell("exact_match,strict-match"), "\"exact_match,strict-match\"");
        assert_eq!(cell("a \"b\"\n"), "\"a \"\"b\"\"\n\"");
    }
}
