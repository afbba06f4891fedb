//! `lowbit roofline`: what a model takes on a machine, operator by operator, without running it there.
//!
//! On a machine of the table it is a bound: memory or arithmetic, whichever takes longer. On this machine it is also a
//! prediction, from kernels that are measured in the same run, and `--check` holds it against the model itself.

mod machine;
mod report;

use crate::{
    commands::{
        bench::test::{self, Kind, Test},
        list,
    },
    env, open,
    options::{self, Activations, load_options, parse_threads},
    record, report as text,
};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use lowbit::{
    Access, Ctx, KvElement, Linears, Model, Planner, Record, Role, Session, WeightSpec,
    hub::Store,
    sim::{self, Formats, Pass, Precision, Rates, Subject, Weight, hardware, machines::Roofline},
    synth::{Synth, SynthRequest, shape_names},
};
use machine::Here;
use report::{Measured, Report, Table};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Name that lists the machines instead.
const LIST: &str = "list";

/// Prompts and tokens that a check runs; the median counts.
const PROMPT_RUNS: usize = 3;
const TOKEN_RUNS: usize = 48;

/// Predict what a model takes on a machine, operator by operator.
///
/// For reading a prompt and for writing one token after it: bytes, operations, what bounds each operator and the least time
/// it takes. On this machine (`measured`) also the time that lowbit takes for it, from kernels measured in this run.
#[derive(Args)]
pub(crate) struct RooflineCommand {
    /// The model
    #[arg(required_unless_present_any = ["like", "hardware"])]
    model: Option<String>,
    // The list is data of the library.
    #[arg(long, value_name = "NAME", conflicts_with = "model", requires = "weights",
          help = format!("In place of a model: a shape, of which no file is needed: {}", shape_names().join(", ")))]
    like: Option<String>,
    /// A machine of `lowbit list hardware`; measured: this one; list: show them
    #[arg(long, value_name = "NAME", default_value = hardware::MEASURED)]
    hardware: String,
    /// Tokens of the prompt, and before the token that is written
    #[arg(short = 'c', long, value_name = "TOKENS", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    context: u32,
    /// Sequences at once
    #[arg(short = 'b', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    batch: u32,
    /// Format of the layers of blocks, a label of `lowbit list formats` [default: as they are stored]
    #[arg(long, value_name = "LABEL")]
    weights: Option<String>,
    /// Format of head and token embeddings [default: as they are stored; with --like that of the layers]
    #[arg(long, value_name = "LABEL")]
    head: Option<String>,
    /// Numbers in which activations meet weights [default: what the machine is used with]
    #[arg(long, value_enum, value_name = "NUMBERS")]
    activations: Option<Numbers>,
    /// Numbers in which keys and values are kept: f32, f16, int8, int4, or their bits, which need not be whole
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = parse_cache)]
    cache_type: Cache,
    /// Worker threads of the measured machine [default: as doctor says]
    #[arg(short = 't', long, value_name = "N", value_parser = parse_threads)]
    threads: Option<usize>,
    /// Run the model too, and hold the prediction against it
    #[arg(long)]
    check: bool,
    /// Draw the roofline into this file
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Numbers in which activations meet weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Numbers {
    /// Two 8-bit terms, as lowbit computes
    Int16,
    /// One 8-bit term
    Int8,
    /// 4 bits, where weights have no more
    Int4,
    /// Half precision
    F16,
    /// Single precision
    F32,
}

impl Numbers {
    fn precision(self) -> Precision {
        match self {
            Self::Int16 => Precision::Int16,
            Self::Int8 => Precision::Int8,
            Self::Int4 => Precision::Int4,
            Self::F16 => Precision::F16,
            Self::F32 => Precision::F32,
        }
    }
}

/// Bits of a cached number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cache(f64);

impl Cache {
    /// How lowbit keeps it, if it does.
    fn element(self) -> Option<KvElement> {
        match self.0 {
            16.0 => Some(KvElement::F16),
            32.0 => Some(KvElement::F32),
            _ => None,
        }
    }
}

fn parse_cache(name: &str) -> Result<Cache, String> {
    let bits = match name {
        "f32" => Some(32.0),
        "f16" | "bf16" => Some(16.0),
        _ => name.strip_prefix("int").unwrap_or(name).parse().ok(),
    };
    match bits {
        Some(bits) if (0.5..=32.0).contains(&bits) => Ok(Cache(bits)),
        _ => Err("expected f32, f16, int8, int4, or a number of bits from 0.5 to 32".to_owned()),
    }
}

impl RooflineCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        if self.hardware == LIST {
            return list::write(out, list::hardware(), self.json);
        }
        let measured = self.hardware == hardware::MEASURED;
        // What is not known is said before anything is read.
        let listed = if measured { None } else { Some(hardware::named(&self.hardware)?) };
        let formats = Formats {
            blocks: self.weights.as_deref().map(WeightSpec::parse).transpose()?,
            head: self.head.as_deref().map(WeightSpec::parse).transpose()?,
        };
        if self.check {
            self.checkable(&formats)?;
        }
        let store = Store::from_env()?;
        let (linears, path) = self.linears(&store, &formats)?;
        let most = linears.spec.longest();
        if self.context as usize > most {
            bail!("a context of {} tokens was asked for; the model was made for {most}", self.context);
        }
        let usual = listed.as_ref().map_or(Precision::Int16, |machine| machine.activations);
        let precision = self.activations.map_or(usual, Numbers::precision);
        let (batch, context) = (self.batch as usize, self.context as usize);
        let passes = [("decode", Pass::decode(batch, context)), ("prefill", Pass::prefill(batch, context))];
        let mut tables = Vec::new();
        for (name, pass) in passes {
            let ops = sim::trace(&linears, &pass, precision, self.cache_type.0)?;
            tables.push(Table::new(name, pass, ops));
        }
        let here;
        let (roofline, memory_bytes): (Roofline, Option<f64>) = match &listed {
            Some(machine) => (machine.roofline(), Some(machine.memory_gib * f64::from(1 << 30))),
            None => {
                let ctx = Ctx::new(env::isa()?, options::threads(self.threads)?);
                let kept = record::read(&store)?;
                here = Here::measure(&ctx, tables[0].weight_bytes());
                self.predict(&ctx, &kept, &linears, precision, &mut tables)?;
                if let (true, Some(path)) = (self.check, &path) {
                    self.measure(&ctx, &kept, path, &mut tables)?;
                }
                (here.roofline(), here.memory_bytes)
            }
        };
        for table in &mut tables {
            table.bound(&roofline);
        }
        let name = self.model.as_deref().or(self.like.as_deref()).unwrap_or_default();
        let report = Report {
            model: name,
            linears: &linears,
            machine: &roofline,
            what: listed.as_ref().map(|machine| machine.what.as_str()),
            threads: if measured { Some(options::threads(self.threads)?) } else { None },
            memory_bytes,
            kv_bits: self.cache_type.0,
            precision,
            tables: &tables,
        };
        if self.json {
            text::json(out, &report.json())?
        } else {
            report.write(out)?
        }
        if let Some(path) = &self.svg {
            std::fs::write(path, report.svg()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Refuses what cannot be run for comparison.
    fn checkable(&self, formats: &Formats) -> Result<()> {
        let why = if self.hardware != hardware::MEASURED {
            "only the measured machine can run it"
        } else if self.like.is_some() || *formats != Formats::default() {
            "only a model as it is stored can be run; leave out --like, --weights and --head"
        } else if self.batch > 1 {
            "it runs one sequence; leave out --batch"
        } else if self.cache_type.element().is_none() {
            "lowbit keeps keys and values in f16 or f32"
        } else if matches!(self.activations, Some(Numbers::F16 | Numbers::Int4)) {
            "lowbit computes with activations in int16, int8 or f32"
        } else {
            return Ok(());
        };
        bail!("--check: {why}");
    }

    /// The layers that are asked about, and where the model is if it is one.
    fn linears(&self, store: &Store, formats: &Formats) -> Result<(Linears, Option<PathBuf>)> {
        let (mut linears, path) = match (&self.like, &formats.blocks) {
            (Some(like), Some(spec)) => {
                let request = SynthRequest {
                    like: like.clone(),
                    layers: None,
                    vocab: None,
                    spec: spec.clone(),
                    seed: 0,
                };
                (sim::of_shape(Synth::new(request)?.model(), spec)?, None)
            }
            _ => {
                let Some(name) = self.model.as_deref() else { bail!("name a model, or a shape with --like") };
                let local = open::locate(store, name)?;
                let linears = Model::linears(&local.path, Access::Map)
                    .with_context(|| format!("cannot read {name}"))?;
                (linears, Some(local.path))
            }
        };
        formats.apply(&mut linears)?;
        Ok((linears, path))
    }

    /// Fills in what operators take with lowbit's kernels, where it has such.
    fn predict(
        &self,
        ctx: &Ctx,
        kept: &Record,
        linears: &Linears,
        precision: Precision,
        tables: &mut [Table],
    ) -> Result<()> {
        let Some(computed) = machine::computed(precision, linears.spec.coding) else { return Ok(()) };
        let Some(kv) = self.cache_type.element() else { return Ok(()) };
        let spinner = ProgressBar::new_spinner();
        let planner = Planner::with_record(kept);
        let layers = |weight: &Weight, role: Role, seed: u64| {
            spinner.set_message(format!("measuring {} {}", weight.shape, weight.format.label()));
            spinner.tick();
            machine::layer(ctx, &planner, (weight, role), computed, seed)
        };
        let footprint = tables[0].weight_bytes() as usize;
        let mut rates = Rates::new(Subject { ctx, spec: &linears.spec, kv, layers: &layers, footprint });
        for table in tables {
            for line in &mut table.lines {
                line.predicted_s = rates.seconds(&line.op)?;
                machine::mark_tables(ctx, &planner, computed, &mut line.op);
            }
        }
        spinner.finish_and_clear();
        Ok(())
    }

    /// Runs the model as `lowbit bench` does.
    fn measure(&self, ctx: &Ctx, kept: &Record, path: &Path, tables: &mut [Table]) -> Result<()> {
        let activations = match self.activations {
            Some(Numbers::Int8) => Activations::Int8,
            Some(Numbers::F32) => Activations::Float,
            _ => Activations::Int16,
        };
        let options = load_options(activations, Planner::with_record(kept));
        let model = Model::load(ctx, path, options)?;
        let context = self.context as usize;
        let element = self.cache_type.element().unwrap_or(KvElement::F16);
        let mut session = Session::new(&model, ctx, context + 1, element)?;
        let tokens = test::tokens(&model, context + 1);
        let prompt = Test { kind: Kind::Prompt, tokens: context, depth: 0 };
        let token = Test { kind: Kind::Generate, tokens: 1, depth: context };
        let mut times = |test: Test, runs: usize| -> Result<Measured> {
            let tokens = &tokens[..test.depth + test.tokens];
            let mut times = Vec::new();
            // The first run faults weights in and grows buffers.
            for _ in 0..=runs {
                times.push(test::time(&mut session, test, tokens)?);
            }
            times.remove(0);
            times.sort_by(f64::total_cmp);
            Ok(Measured { median_s: test::median(&times), fastest_s: times[0] })
        };
        // The prompt first: the token comes after it.
        let of_prompt = times(prompt, PROMPT_RUNS)?;
        tables[0].measured = Some(times(token, TOKEN_RUNS)?);
        tables[1].measured = Some(of_prompt);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_have_names_or_bits_that_need_not_be_whole() {
        for (name, bits) in [("f16", 16.0), ("int4", 4.0), ("2.5", 2.5), ("int8", 8.0)] {
            assert_eq!(parse_cache(name), Ok(Cache(bits)));
        }
        for name in ["f8", "0", "64", "int", "NaN"] {
            assert!(parse_cache(name).is_err(), "{name}");
        }
    }
}
