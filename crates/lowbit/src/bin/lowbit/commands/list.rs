//! `lowbit list`: models, calibration texts, tasks, formats, architectures, samplers, machines, environment variables.

use crate::{
    env, report,
    table::{
        Align::{Left, Right},
        Table,
    },
};
use anyhow::Result;
use clap::{Args, ValueEnum};
use lowbit::{
    ARCHITECTURES, SpecSource, all_specs,
    eval::tasks::{Data, Split, TASKS},
    hub::{DataSet, Store},
    sampler, sim,
};
use serde_json::{Value, json};
use std::io::Write;

/// List what there is.
#[derive(Args)]
pub(crate) struct List {
    /// What to list
    #[arg(value_enum, default_value_t = Topic::Models)]
    topic: Topic,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topic {
    /// Models that have a short name, and which of them are here
    Models,
    /// Texts for `lowbit quantize --calib` that have a short name, and which of them are here
    Calib,
    /// Tasks for `lowbit eval`
    Tasks,
    /// Weight formats
    Formats,
    /// Model architectures
    Architectures,
    /// Stages of the sampler, in their default order
    Samplers,
    /// Machines of `lowbit roofline`
    Hardware,
    /// Environment variables
    Knobs,
}

impl List {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let (table, json) = match self.topic {
            Topic::Models => models()?,
            Topic::Calib => calib()?,
            Topic::Tasks => tasks(),
            Topic::Formats => formats(),
            Topic::Architectures => architectures(),
            Topic::Samplers => samplers(),
            Topic::Hardware => hardware(),
            Topic::Knobs => knobs(),
        };
        write(out, (table, json), self.json)
    }
}

/// Writes a list as a table or as JSON.
pub(super) fn write(out: &mut dyn Write, (table, json): (Table, Value), as_json: bool) -> Result<()> {
    if as_json { report::json(out, &json) } else { Ok(table.write(out)?) }
}

/// Machines that rooflines are drawn for.
pub(super) fn hardware() -> (Table, Value) {
    let mut table = Table::new(&[
        ("machine", Left),
        ("GB/s", Right),
        ("GiB", Right),
        ("f32", Right),
        ("f16", Right),
        ("int8", Right),
        ("int4", Right),
        ("what it is (peaks in 10^12 operations a second)", Left),
    ]);
    let all = sim::hardware::all();
    for machine in &all {
        let peak = |peak: Option<f64>| peak.map_or_else(|| "-".to_owned(), |peak| peak.to_string());
        table.row([
            machine.name.clone(),
            machine.memory_gb_per_s.to_string(),
            machine.memory_gib.to_string(),
            peak(Some(machine.f32)),
            peak(machine.f16),
            peak(machine.int8),
            peak(machine.int4),
            machine.what.clone(),
        ]);
    }
    (table, json!(all))
}

fn models() -> Result<(Table, Value)> {
    let store = Store::from_env()?;
    let mut table = Table::new(&[
        ("model", Left),
        ("here", Left),
        ("size", Right),
        ("bits/weight", Right),
        ("format", Left),
        ("licence", Left),
        ("what it is", Left),
    ]);
    let mut json = Vec::new();
    for listed in store.list() {
        let entry = listed.entry;
        let bits = entry.bits_per_weight();
        table.row([
            entry.name.clone(),
            if listed.local.is_some() { "yes" } else { "-" }.to_owned(),
            report::bytes(entry.bytes),
            format!("{bits:.2}"),
            entry.quantization.clone(),
            entry.licence.clone(),
            entry.description.clone(),
        ]);
        json.push(json!({
            "name": entry.name,
            "local": listed.local.is_some(),
            "path": listed.local.map(|local| local.path),
            "bytes": entry.bytes,
            "parameters": entry.parameters,
            "bits_per_weight": bits,
            "quantization": entry.quantization,
            "licence": entry.licence,
            "licence_url": entry.licence_url,
            "sha256": entry.sha256.to_string(),
            "description": entry.description,
        }));
    }
    Ok((table, Value::from(json)))
}

fn calib() -> Result<(Table, Value)> {
    let store = Store::from_env()?;
    let mut table = Table::new(&["text", "here", "field", "licence", "what it is"].map(|name| (name, Left)));
    let mut json = Vec::new();
    for set in DataSet::all() {
        let local = store.local_data_set(&set);
        let here = if local.is_some() { "yes" } else { "-" };
        table.row([
            set.name.clone(),
            here.to_owned(),
            set.field.clone(),
            set.licence.clone(),
            set.description.clone(),
        ]);
        json.push(json!({
            "name": set.name,
            "local": local.is_some(),
            "path": local,
            "repo": set.repo,
            "revision": set.revision,
            "file": set.file,
            "field": set.field,
            "licence": set.licence,
            "licence_url": set.licence_url,
            "description": set.description,
        }));
    }
    Ok((table, Value::from(json)))
}

fn tasks() -> (Table, Value) {
    let columns = ["task", "version", "shots", "metrics", "data", "paper", "what it asks"];
    let mut table = Table::new(&columns.map(|name| (name, Left)));
    let mut json = Vec::new();
    for task in TASKS {
        let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name).collect();
        let (source, data) = match task.data {
            Data::Split(Split { repo, config, split, files, .. }) => {
                let source = if repo.is_empty() { format!("{}.*", files[0]) } else { repo.to_owned() };
                (source, json!({ "repo": repo, "config": config, "split": split, "files": files }))
            }
            Data::Generated(_) => ("made by the seed".to_owned(), Value::Null),
        };
        table.row([
            task.name.to_owned(),
            task.version.to_owned(),
            task.shots.to_string(),
            metrics.join(", "),
            source,
            task.paper.to_owned(),
            task.summary.to_owned(),
        ]);
        json.push(json!({
            "name": task.name,
            "version": task.version,
            "shots": task.shots,
            "metrics": metrics,
            "data": data,
            "paper": task.paper,
            "summary": task.summary,
        }));
    }
    (table, Value::from(json))
}

fn formats() -> (Table, Value) {
    let mut table =
        Table::new(&[("format", Left), ("bits/weight", Right), ("from", Left), ("what it is", Left)]);
    let mut json = Vec::new();
    for info in all_specs() {
        let source = match info.source {
            SpecSource::Float => "float",
            SpecSource::Gguf => "gguf",
            SpecSource::GgufDialect => "gguf dialect",
            SpecSource::Lowbit => "lowbit",
        };
        let (label, bits) = (info.spec.label(), info.spec.bits_per_weight());
        table.row([label.clone(), format!("{bits:.4}"), source.to_owned(), info.summary.to_owned()]);
        json.push(
            json!({ "label": label, "bits_per_weight": bits, "source": source, "summary": info.summary }),
        );
    }
    (table, Value::from(json))
}

fn architectures() -> (Table, Value) {
    let mut table = Table::new(&[("architecture", Left), ("in GGUF", Left), ("what sets it apart", Left)]);
    let mut json = Vec::new();
    for architecture in ARCHITECTURES {
        let (name, summary) = (architecture.name, architecture.summary);
        table.row([name.to_owned(), architecture.gguf.join(", "), summary.to_owned()]);
        json.push(json!({
            "name": name,
            "summary": summary,
            "reference": architecture.reference,
            "gguf": architecture.gguf,
            "hugging_face": architecture.hugging_face,
        }));
    }
    (table, Value::from(json))
}

fn samplers() -> (Table, Value) {
    let mut table = Table::new(&[("stage", Left), ("also", Left), ("what it does", Left)]);
    let mut json = Vec::new();
    for stage in sampler::STAGES {
        table.row([stage.name.to_owned(), stage.aliases.join(", "), stage.summary.to_owned()]);
        json.push(json!({
            "name": stage.name,
            "aliases": stage.aliases,
            "summary": stage.summary,
            "example": serde_json::from_str::<Value>(stage.example).unwrap_or(Value::Null),
        }));
    }
    (table, Value::from(json))
}

fn knobs() -> (Table, Value) {
    let mut table = Table::new(&[("variable", Left), ("what it does", Left)]);
    let mut json = Vec::new();
    for knob in env::knobs() {
        table.row([knob.name.to_owned(), knob.description.to_owned()]);
        json.push(json!({
            "name": knob.name,
            "description": knob.description,
            "set": std::env::var_os(knob.name).is_some(),
        }));
    }
    (table, Value::from(json))
}
