//! `lowbit tune`: which kernels are the fastest for a model's weights, measured and kept for this machine.

use crate::{
    Outcome, env,
    interrupt::Interrupt,
    open::{self, DEFAULT_MODEL},
    options::{self, Activations, parse_threads},
    progress, record, report,
    table::{
        Align::{Left, Right},
        Table,
    },
};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    Ctx, Layer, LoadOptions, Model, PlanKey, Planner, Record, Subject, TokenBucket, hub::Store, tuning,
};
use serde_json::{Value, json};
use std::io::Write;

/// Measure which kernels are fastest for a model on this machine.
///
/// Every kernel that can multiply a weight of the model is timed, for each format, shape and number of tokens. The times
/// are kept beside the models, and whatever loads a model afterwards goes by them; perplexity does not.
#[derive(Args)]
pub(crate) struct Tune {
    /// The model
    #[arg(default_value = DEFAULT_MODEL)]
    model: String,
    /// Worker threads; several separated by commas [default: as doctor says]
    #[arg(short = 't', long, value_name = "N", value_delimiter = ',', value_parser = parse_threads)]
    threads: Vec<usize>,
    /// Numbers in which activations meet quantized weights
    #[arg(long, value_enum, value_name = "NUMBERS", default_value_t = Activations::Int16)]
    activations: Activations,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Tune {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Outcome> {
        let interrupt = Interrupt::install()?;
        let isa = env::isa()?;
        let threads =
            if self.threads.is_empty() { vec![options::threads(None)?] } else { self.threads.clone() };
        let store = Store::from_env()?;
        let local = open::locate(&store, &self.model)?;
        // What cannot be read or kept is said before anything is measured.
        let (path, mut kept) = (record::path(&store), record::read(&store)?);
        let options = LoadOptions { precision: self.activations.precision(), ..LoadOptions::default() };
        let layers =
            Model::layers(&local.path, options).with_context(|| format!("cannot read {}", self.model))?;
        if layers.is_empty() {
            bail!("{} has no quantized weights; there is nothing to choose from", self.model);
        }
        let contexts: Vec<Ctx> = threads.iter().map(|threads| Ctx::new(isa, *threads)).collect();
        let products = layers.len() * contexts.len() * TokenBucket::ALL.len();
        let bar = progress::bar(products as u64, "{msg} {wide_bar} {pos}/{len} products, {eta} left");
        let mut keys = Vec::new();
        let over = interrupt.answering();
        for layer in &layers {
            if over.is_over() {
                break;
            }
            let spec = layer.weight.spec();
            bar.set_message(format!("{} {}", layer.weight.shape(), spec.label()));
            bar.tick();
            // More workers arrange faster; the bytes are the same.
            let widest = contexts.iter().max_by_key(|ctx| ctx.threads()).context("no number of threads")?;
            let subject = Subject::new(widest, &layer.weight, layer.rounding);
            for (ctx, tokens) in contexts.iter().flat_map(|ctx| TokenBucket::ALL.map(|tokens| (ctx, tokens)))
            {
                let Some(times) = subject.measure(ctx, tokens, &|| over.is_over()) else { break };
                let key = PlanKey::from(&subject.query(&spec, ctx, tokens));
                kept.insert(key.clone(), times);
                keys.push((key, layer));
                bar.inc(1);
            }
        }
        let interrupted = over.is_over();
        drop(over);
        bar.finish_and_clear();
        tuning::write(&path, &record::cpu(), &kept)?;
        let chosen: Vec<Chosen<'_>> =
            keys.iter().filter_map(|(key, layer)| Chosen::new(&kept, key, layer)).collect();
        if self.json {
            let products: Vec<Value> = chosen.iter().map(Chosen::json).collect();
            report::json(
                out,
                &json!({ "model": self.model, "cpu": record::cpu(), "path": path, "complete": !interrupted,
                         "products": products }),
            )?;
        } else {
            table(&chosen).write(out)?;
            eprintln!("kept in {}", path.display());
        }
        Ok(if interrupted { Outcome::Interrupted } else { Outcome::Done })
    }
}

/// What a measurement makes of a product.
struct Chosen<'a> {
    key: &'a PlanKey,
    /// Layers of the model that it is for.
    layers: usize,
    /// The kernel that its plan has, and seconds it takes.
    kernel: (&'static str, f64),
    /// The fastest kernel of all layouts.
    best: (&'static str, f64),
    times: Vec<(&'static str, f64)>,
}

impl<'a> Chosen<'a> {
    fn new(kept: &Record, key: &'a PlanKey, layer: &Layer) -> Option<Self> {
        let spec = layer.weight.spec();
        let query = lowbit::Query {
            spec: &spec,
            shape: layer.weight.shape(),
            tokens: key.tokens,
            rounding: layer.rounding,
            isa: key.isa,
            threads: key.threads,
        };
        let plan = Planner::with_record(kept).plans(&query).into_iter().next()?;
        let mut times: Vec<_> = kept.get(key).iter().map(|time| (time.card.name, time.seconds)).collect();
        times.sort_by(|a, b| a.1.total_cmp(&b.1));
        let name = plan.kernel(key.tokens.typical()).name;
        let kernel = *times.iter().find(|(other, _)| *other == name)?;
        Some(Self { key, layers: layer.count, kernel, best: *times.first()?, times })
    }

    fn json(&self) -> Value {
        let times: Vec<Value> = self
            .times
            .iter()
            .map(|(kernel, seconds)| json!({ "kernel": kernel, "seconds": seconds }))
            .collect();
        json!({
            "format": self.key.format, "n": self.key.n, "k": self.key.k, "layers": self.layers,
            "tokens": self.key.tokens.name(), "threads": self.key.threads, "isa": self.key.isa.name(),
            "activations": self.key.activations, "choice": self.kernel.0, "seconds": self.kernel.1, "times": times,
        })
    }
}

fn table(chosen: &[Chosen<'_>]) -> Table {
    let mut table = Table::new(&[
        ("weights", Left),
        ("format", Left),
        ("layers", Right),
        ("threads", Right),
        ("tokens", Right),
        ("kernel", Left),
        ("µs", Right),
        ("fastest of all layouts", Left),
    ]);
    for Chosen { key, layers, kernel, best, .. } in chosen {
        let fastest = if best.0 == kernel.0 {
            "the same".to_owned()
        } else {
            format!("{} ({:.2} times as fast)", best.0, kernel.1 / best.1)
        };
        table.row([
            format!("{}x{}", key.n, key.k),
            key.format.clone(),
            layers.to_string(),
            key.threads.to_string(),
            key.tokens.name().to_owned(),
            kernel.0.to_owned(),
            format!("{:.1}", kernel.1 * 1e6),
            fastest,
        ]);
    }
    table
}
