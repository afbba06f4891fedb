//! `lowbit bench`: speed, as llama-bench measures it.
//!
//! `pp N` reads a prompt of N tokens at once, `tg N` writes N tokens one by one from an empty context; tokens are
//! arbitrary, as no sampling is measured. `@ d N` says that N tokens were there before. Read bandwidth is measured in the same run with the same workers, so that
//! the share of it that decoding reaches is of this machine at this time. `--kernels` measures products alone.

mod kernels;
mod parts;
pub(super) mod test;

use crate::{
    commands::doctor::{BANDWIDTH_BYTES, BANDWIDTH_PASSES, bandwidth_json},
    energy::Meter,
    env,
    memory::peak_rss_bytes,
    open,
    options::{self, Activations, CacheType, load_options, parse_threads},
    record, report,
    table::{
        Align::{Left, Right},
        Table,
    },
};
use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use lowbit::{
    Ctx, ForkJoin, Model, Planner, Profile, ReadBandwidth, Session, fork_join, hub::Store, read_bandwidth,
};
use parts::Parts;
use serde_json::{Value, json};
use std::io::Write;
use test::{Kind, Test, median, time, tokens};

/// Rounds in which the cost of a parallel call is measured.
const FORK_JOIN_ROUNDS: usize = 101;

/// Measure speed, as llama-bench does.
#[derive(Args)]
pub(crate) struct Bench {
    /// The model
    #[arg(required_unless_present = "kernels")]
    model: Option<String>,
    /// Tokens of the prompt; several separated by commas; 0: none
    #[arg(short = 'p', long, value_name = "TOKENS", value_delimiter = ',', default_value = "512")]
    n_prompt: Vec<usize>,
    /// Tokens to write; several separated by commas; 0: none
    #[arg(short = 'n', long, value_name = "TOKENS", value_delimiter = ',', default_value = "128")]
    n_gen: Vec<usize>,
    /// Tokens already in the context; several separated by commas
    #[arg(short = 'd', long, value_name = "TOKENS", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Worker threads; several separated by commas [default: as doctor says]
    #[arg(short = 't', long, value_name = "N", value_delimiter = ',', value_parser = parse_threads)]
    threads: Vec<usize>,
    /// Repetitions; the median is reported, with the slowest and the fastest
    #[arg(short = 'r', long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repetitions: u32,
    /// Numbers in which activations meet quantized weights [default: int16; with --kernels those of the definitions]
    #[arg(long, value_enum, value_name = "NUMBERS")]
    activations: Option<Activations>,
    /// Floats in which keys and values are kept
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CacheType::F16)]
    cache_type: CacheType,
    /// Tell also where the time goes, from as many further repetitions
    #[arg(long)]
    profile: bool,
    /// Count energy, where the machine does
    #[arg(long)]
    energy: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kernels: kernels::Options,
}

/// Speeds of one test with one number of threads.
struct Row {
    test: Test,
    threads: usize,
    /// Tokens a second of each repetition, ascending.
    rates: Vec<f64>,
    /// Energy of the whole machine, if it was counted.
    joules_per_token: Option<f64>,
    profile: Option<Profile>,
}

impl Bench {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let threads =
            if self.threads.is_empty() { vec![options::threads(None)?] } else { self.threads.clone() };
        let Some(name) = &self.model else {
            let Self { repetitions, activations, energy, json, .. } = *self;
            let run = kernels::Run { threads: &threads, rounds: repetitions, activations, energy, json };
            return self.kernels.run(&run, out);
        };
        let isa = env::isa()?;
        let activations = self.activations.unwrap_or(Activations::Int16);
        let meter = self.energy.then(Meter::open);
        let tests = self.tests()?;
        let store = Store::from_env()?;
        let local = open::locate(&store, name)?;
        let record = record::read(&store)?;
        let planner = Planner::with_record(&record);
        let most = threads.iter().copied().max().unwrap_or(1);
        let model = Model::load(&Ctx::new(isa, most), &local.path, load_options(activations, planner))
            .with_context(|| format!("cannot load {name}"))?;
        // The peak of loading and running; taken before the buffer that measures bandwidth would hide it.
        let mut peak = None;
        let mut rows = Vec::new();
        let spinner = ProgressBar::new_spinner();
        for &threads in &threads {
            let ctx = Ctx::new(isa, threads);
            for &test in &tests {
                spinner.set_message(format!("{} with {}", test.name(), report::count(threads, "thread")));
                spinner.tick();
                rows.push(self.measure(&model, &ctx, test, meter.as_ref().and_then(|m| m.as_ref().ok()))?);
            }
            peak = peak_rss_bytes();
        }
        let mut bandwidth = Vec::new();
        let mut forks = Vec::new();
        for &threads in &threads {
            let ctx = Ctx::new(isa, threads);
            bandwidth.push(read_bandwidth(&ctx, BANDWIDTH_BYTES, BANDWIDTH_PASSES));
            forks.push(fork_join(&ctx, FORK_JOIN_ROUNDS));
        }
        spinner.finish_and_clear();
        let report = Report {
            bench: self,
            name,
            activations,
            model: &model,
            isa: isa.level().name(),
            rows,
            bandwidth,
            forks,
            peak,
            no_energy: meter.and_then(Result::err),
        };
        if self.json { report::json(out, &report.json()) } else { report.write(out) }
    }

    fn tests(&self) -> Result<Vec<Test>> {
        let kinds = [(Kind::Prompt, &self.n_prompt), (Kind::Generate, &self.n_gen)];
        let mut tests = Vec::new();
        for &depth in &self.depth {
            for (kind, counts) in kinds {
                let counts = counts.iter().filter(|tokens| **tokens > 0);
                tests.extend(counts.map(|&tokens| Test { kind, tokens, depth }));
            }
        }
        if tests.is_empty() {
            bail!("nothing to measure: -p and -n are both 0");
        }
        Ok(tests)
    }

    fn measure(&self, model: &Model, ctx: &Ctx, test: Test, meter: Option<&Meter>) -> Result<Row> {
        let length = test.depth + test.tokens;
        let mut session = Session::new(model, ctx, length, self.cache_type.element())?;
        let tokens = tokens(model, length);
        if test.depth > 0 {
            session.prefill(&tokens[..test.depth], |_| true)?;
        }
        // The first run faults weights in and grows buffers.
        time(&mut session, test, &tokens)?;
        let rate = |seconds: f64| test.tokens as f64 / seconds;
        let mut rates = Vec::new();
        let before = meter.map(|meter| (meter, meter.read()));
        for _ in 0..self.repetitions {
            rates.push(rate(time(&mut session, test, &tokens)?));
        }
        let made = (test.tokens * rates.len()) as f64;
        let joules_per_token = before.map(|(meter, before)| meter.joules_since(&before) / made);
        rates.sort_by(f64::total_cmp);
        if self.profile {
            session.start_profile();
            for _ in 0..self.repetitions {
                time(&mut session, test, &tokens)?;
            }
        }
        Ok(Row { test, threads: ctx.threads(), rates, joules_per_token, profile: session.take_profile() })
    }
}

impl Row {
    fn median(&self) -> f64 {
        median(&self.rates)
    }

    fn slowest(&self) -> f64 {
        self.rates[0]
    }

    fn fastest(&self) -> f64 {
        self.rates[self.rates.len() - 1]
    }
}

struct Report<'a> {
    bench: &'a Bench,
    name: &'a str,
    activations: Activations,
    model: &'a Model,
    isa: &'static str,
    rows: Vec<Row>,
    bandwidth: Vec<ReadBandwidth>,
    forks: Vec<ForkJoin>,
    peak: Option<u64>,
    /// Why energy was not counted, where it was asked for.
    no_energy: Option<String>,
}

impl Report<'_> {
    /// Share of the measured read bandwidth that the weights' bytes alone take; only decoding reads them once a token.
    fn share(&self, row: &Row) -> Option<f64> {
        if row.test.kind != Kind::Generate {
            return None;
        }
        let measured = self.bandwidth.iter().find(|measured| measured.threads == row.threads)?;
        Some(row.median() * self.model.bytes_per_token() as f64 / (measured.median_gb_per_s * 1e9))
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let stats = self.model.load_stats();
        report::fields(
            out,
            &[
                ("model", self.name.to_owned()),
                ("file", report::bytes(stats.file_bytes)),
                ("loaded in", format!("{:.3} s", stats.total_s)),
                ("read/token", report::bytes(self.model.bytes_per_token() as u64)),
                ("peak memory", self.peak.map_or_else(|| "unknown".to_owned(), report::bytes)),
                ("instructions", self.isa.to_owned()),
            ],
        )?;
        for measured in &self.bandwidth {
            let workers = report::count(measured.threads, "thread");
            writeln!(out, "read bandwidth with {workers}: {:.1} GB/s", measured.median_gb_per_s)?;
        }
        if let Some(reason) = &self.no_energy {
            writeln!(out, "energy was not counted: {reason}")?;
        }
        writeln!(out)?;
        let mut table = Table::new(&[
            ("test", Left),
            ("threads", Right),
            ("tokens/s", Right),
            ("slowest..fastest", Right),
            ("GB/s", Right),
            ("of bandwidth", Right),
            ("mJ/token", Right),
        ]);
        for row in &self.rows {
            let read = row.median() * self.model.bytes_per_token() as f64 / 1e9;
            let share = self.share(row);
            table.row([
                row.test.name(),
                row.threads.to_string(),
                format!("{:.2}", row.median()),
                format!("{:.2}..{:.2}", row.slowest(), row.fastest()),
                share.map_or_else(|| "-".to_owned(), |_| format!("{read:.2}")),
                share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
                row.joules_per_token.map_or_else(|| "-".to_owned(), |joules| format!("{:.1}", 1e3 * joules)),
            ]);
        }
        table.write(out)?;
        for row in &self.rows {
            if let Some(parts) = self.parts(row) {
                let threads = report::count(row.threads, "thread");
                writeln!(out, "\n{} with {threads}", row.test.name())?;
                parts.write(out)?;
            }
        }
        Ok(())
    }

    /// Where the time of a row went, if that was asked for.
    fn parts<'a>(&self, row: &'a Row) -> Option<Parts<'a>> {
        let fork_join = *self.forks.iter().find(|measured| measured.threads == row.threads)?;
        row.profile.as_ref().map(|profile| Parts { profile, fork_join })
    }

    fn json(&self) -> Value {
        let stats = self.model.load_stats();
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row_json(row)).collect();
        json!({
            "model": self.name,
            "model_path": self.model.path(),
            "architecture": self.model.spec().architecture,
            "isa": self.isa,
            "activations": self.activations,
            "cache_type": self.bench.cache_type,
            "repetitions": self.bench.repetitions,
            "file_bytes": stats.file_bytes,
            "load_s": stats.total_s,
            "load": stats,
            "peak_rss_bytes": self.peak,
            "bytes_per_token": self.model.bytes_per_token(),
            "no_energy": self.no_energy,
            "read_bandwidth": self.bandwidth.iter().map(bandwidth_json).collect::<Vec<_>>(),
            "tests": rows,
        })
    }

    fn row_json(&self, row: &Row) -> Value {
        let kind = match row.test.kind {
            Kind::Prompt => "prompt",
            Kind::Generate => "generate",
        };
        let mut json = json!({
            "test": row.test.name(),
            "kind": kind,
            "tokens": row.test.tokens,
            "depth": row.test.depth,
            "threads": row.threads,
            "tokens_per_s": row.median(),
            "slowest_tokens_per_s": row.slowest(),
            "fastest_tokens_per_s": row.fastest(),
            "all_tokens_per_s": row.rates,
            "bandwidth_share": self.share(row),
            "joules_per_token": row.joules_per_token,
        });
        if let Some(parts) = self.parts(row) {
            json["profile"] = parts.json();
        }
        json
    }
}
