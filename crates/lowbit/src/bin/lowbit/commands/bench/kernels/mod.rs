//! `lowbit bench --kernels`: products alone, one weight matrix after the other.
//!
//! All products of a shape are measured in turn, round after round, so that what disturbs the machine disturbs all of them
//! alike. Read bandwidth and the rate of dot products, which bound them, are measured in the same run.

mod case;
mod definitions;
mod record;
mod report;

use super::median;
use crate::{
    commands::doctor::{BANDWIDTH_BYTES, BANDWIDTH_PASSES},
    energy::Meter,
    env,
    options::Activations,
    report as write,
};
use anyhow::{Result, ensure};
use case::{Case, Weights};
use clap::Args;
use definitions::Definitions;
use indicatif::ProgressBar;
use lowbit::{Ctx, Isa, Machine, ReadBandwidth, WeightSpec, read_bandwidth};
use lowbit_format::NK;
use lowbit_kernels::{DotPeak, dot_peak};
use report::{Report, Row};
use std::{io::Write, path::PathBuf};

/// Passes in which the rate of dot products is measured.
const PEAK_PASSES: usize = 21;

/// What of the definitions is measured, and how. Clap waives what an argument requires where that conflicts with another, so
/// they all conflict with a model.
#[derive(Args)]
#[command(next_help_heading = "Kernels")]
pub(super) struct Options {
    /// Measure products alone, of no model
    #[arg(long, conflicts_with_all = ["model", "n_prompt", "n_gen", "depth", "cache_type", "profile"])]
    pub(super) kernels: bool,
    /// Shapes, formats and numbers of tokens to measure, instead of those of bench/definitions/kernels.toml
    #[arg(long, value_name = "FILE", requires = "kernels", conflicts_with = "model")]
    definitions: Option<PathBuf>,
    /// Formats instead of those of the definitions, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "kernels", conflicts_with = "model")]
    format: Vec<WeightSpec>,
    /// Sets of shapes or sizes such as 4096x4096, separated by commas [default: the first set of the definitions]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "kernels", conflicts_with = "model")]
    shape: Vec<String>,
    /// Numbers of tokens instead of those of the definitions, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "kernels", conflicts_with = "model",
          value_parser = clap::value_parser!(u16).range(1..))]
    tokens: Vec<u16>,
    /// Read weights from memory: take turns with copies of more than twice the last cache
    #[arg(long, requires = "kernels", conflicts_with = "model")]
    cold: bool,
    /// Keep the rows in DIR/<processor>/<date>.csv, after those that are there
    #[arg(long, value_name = "DIR", requires = "kernels", conflicts_with = "model")]
    record: Option<PathBuf>,
}

/// What `lowbit bench` was told beside.
pub(super) struct Run<'a> {
    pub(super) threads: &'a [usize],
    pub(super) rounds: u32,
    pub(super) activations: Option<Activations>,
    pub(super) energy: bool,
    pub(super) json: bool,
}

/// What bounds products with a number of workers.
#[derive(Clone, Copy)]
struct Bounds {
    bandwidth: ReadBandwidth,
    peak: DotPeak,
}

impl Options {
    pub(super) fn run(&self, run: &Run<'_>, out: &mut dyn Write) -> Result<()> {
        let isa = env::isa()?;
        let mut definitions = Definitions::read(self.definitions.as_deref())?;
        let shapes = definitions.shapes(&self.shape)?;
        if !self.format.is_empty() {
            definitions.formats = self.format.clone();
        }
        if !self.tokens.is_empty() {
            definitions.tokens = self.tokens.iter().map(|tokens| usize::from(*tokens)).collect();
        }
        if let Some(activations) = run.activations {
            definitions.activations = vec![activations];
        }
        let floats = definitions.activations.contains(&Activations::Float);
        ensure!(!floats, "--kernels measures quantized activations: int8, int16 or gguf");
        let meter = run.energy.then(Meter::open);
        let spinner = ProgressBar::new_spinner();
        let mut session = Session {
            options: self,
            run,
            definitions,
            isa,
            spinner,
            meter: meter.as_ref().and_then(|m| m.as_ref().ok()),
            rows: Vec::new(),
            left_out: Vec::new(),
            bounds: Vec::new(),
        };
        for threads in run.threads {
            let ctx = Ctx::new(isa, *threads);
            let bandwidth = read_bandwidth(&ctx, BANDWIDTH_BYTES, BANDWIDTH_PASSES);
            session.bounds.push(Bounds { bandwidth, peak: dot_peak(&ctx, PEAK_PASSES) });
        }
        for shape in &shapes {
            session.shape(*shape)?;
        }
        session.spinner.finish_and_clear();
        let Session { rows, left_out, bounds, .. } = session;
        ensure!(!rows.is_empty(), "nothing was measured: {}", left_out.join("; "));
        let report = Report {
            machine: Machine::detect(),
            isa,
            rows,
            left_out,
            bounds,
            no_energy: meter.and_then(Result::err),
        };
        if let Some(folder) = &self.record {
            let path = record::write(folder, &report)?;
            eprintln!("{} written to {}", write::count(report.rows.len(), "row"), path.display());
        }
        if run.json { write::json(out, &report.json()) } else { report.write(out) }
    }
}

/// A run as it goes.
struct Session<'a> {
    options: &'a Options,
    run: &'a Run<'a>,
    definitions: Definitions,
    isa: Isa,
    spinner: ProgressBar,
    meter: Option<&'a Meter>,
    rows: Vec<Row>,
    left_out: Vec<String>,
    bounds: Vec<Bounds>,
}

impl Session<'_> {
    /// Measures all formats of a shape.
    fn shape(&mut self, shape: NK) -> Result<()> {
        let most = Ctx::new(self.isa, self.run.threads.iter().copied().max().unwrap_or(1));
        let cold = if self.options.cold { 2 * last_cache()? } else { 0 };
        let mut weights = Vec::new();
        for spec in &self.definitions.formats {
            self.spinner.set_message(format!("{}: {spec}", size(shape)));
            self.spinner.tick();
            for activations in &self.definitions.activations {
                match Weights::new(&most, (spec, shape), *activations, cold) {
                    Ok(made) => weights.push(made),
                    Err(reason) => {
                        self.left_out.push(format!("{spec} at {}: {reason}", size(shape)));
                        break;
                    }
                }
            }
        }
        drop(most);
        for bounds in self.bounds.clone() {
            let ctx = Ctx::new(self.isa, bounds.peak.threads);
            let mut cases = Vec::new();
            for weights in &weights {
                cases.extend(self.definitions.tokens.iter().map(|tokens| Case::new(weights, *tokens)));
            }
            for round in 0..self.run.rounds {
                self.spinner.set_message(format!(
                    "{} with {}: round {}",
                    size(shape),
                    write::count(ctx.threads(), "thread"),
                    round + 1
                ));
                for case in &mut cases {
                    self.spinner.tick();
                    case.round(&ctx, self.meter);
                }
            }
            self.rows.extend(cases.iter_mut().map(|case| row(case, &ctx, bounds, self.options.cold)));
        }
        Ok(())
    }
}

/// What a case came to.
fn row(case: &mut Case<'_>, ctx: &Ctx, bounds: Bounds, cold: bool) -> Row {
    let nmse = case.nmse(ctx);
    case.times.sort_by(f64::total_cmp);
    let (weights, us) = (case.weights, median(&case.times));
    let macs = weights.shape.weights() as f64 * case.tokens as f64;
    Row {
        shape: weights.shape,
        format: weights.spec.label(),
        bits_per_weight: 8.0 * weights.bytes() as f64 / weights.shape.weights() as f64,
        activations: weights.activations,
        tokens: case.tokens,
        threads: ctx.threads(),
        cold,
        kernel: weights.kernel(case.tokens).to_owned(),
        min_us: case.times[0],
        median_us: us,
        gb_per_s: weights.bytes() as f64 / us / 1e3,
        bandwidth_gb_per_s: bounds.bandwidth.median_gb_per_s,
        g_mac_per_s: macs / us / 1e3,
        peak_g_mac_per_s: bounds.peak.median_g_mac_per_s,
        nmse,
        joules: case.joules_per_product(),
    }
}

/// A shape as it is given on the command line.
fn size(shape: NK) -> String {
    format!("{}x{}", shape.n, shape.k)
}

/// Bytes of the cache before memory.
fn last_cache() -> Result<u64> {
    let machine = Machine::detect();
    let last = machine.caches.last().map(|cache| cache.bytes);
    last.ok_or_else(|| anyhow::anyhow!("--cold: this system does not tell how large its caches are"))
}
