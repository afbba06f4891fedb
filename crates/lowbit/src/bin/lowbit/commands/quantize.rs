//! `lowbit quantize`: from any model that lowbit reads to a low-bit one that runs as it is stored.

mod calibrate;
mod recipe_file;

use crate::{
    Outcome, env,
    interrupt::Interrupt,
    open, options, progress, report,
    table::{Align, Table},
    verification::{Verified, VerifyOptions},
};
use anyhow::{Context, Result, bail};
use calibrate::Calibrate;
use clap::Args;
use lowbit::{
    Ctx, WeightSpec,
    hub::Store,
    quant::stats::Needs,
    quant::{
        Data, Estimate, Formats, METHODS, QuantError, Report, Request, Resume, TensorReport, advice,
        estimate, method, quantize, unfinished_samples,
    },
};
use recipe_file::RecipeFile;
use serde_json::{Map, Value};
use std::{io::Write, ops::ControlFlow, path::PathBuf, time::Instant};

/// Tokens for each input below which a method that uses products of inputs learns its calibration by heart.
const FEW_TOKENS: f64 = 4.0;

/// Steps of the progress bar.
const STEPS: u64 = 10_000;

/// Quantize a model into a .lowbit file that runs as it is stored. Embedding and head stay as they are unless formats are
/// given for them.
#[derive(Args, Clone)]
pub(crate) struct QuantizeCommand {
    /// The model
    model: String,
    // The list is data of the library.
    #[arg(long, value_name = "NAME", help = format!("Method: {} [default: rtn]", methods()))]
    method: Option<String>,
    /// File with any of these options, in TOML; what is said here comes before it
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Setting of the method; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Format of the linear layers of blocks, a label as in `lowbit list formats` [default: the method's, mostly
    /// int4-asym-g64]
    #[arg(long, value_name = "LABEL")]
    format: Option<String>,
    /// Bits of a weight in the mean over the blocks, scales included: tensors of the default format get as many bits each as
    /// serves the whole best
    #[arg(long, value_name = "BITS")]
    target_bpw: Option<f64>,
    /// Format of one role: query, key, value, output, gate, up, down, router, embedding, head; may be given several times
    #[arg(long = "role", value_name = "ROLE=LABEL")]
    roles: Vec<String>,
    /// Format of the tensors of a name, in which * stands for any letters; may be given several times, the last counts
    #[arg(long = "tensor", value_name = "PATTERN=LABEL")]
    tensors: Vec<String>,
    /// Format of the token embedding, which is the head too where the model has none of its own
    #[arg(long, value_name = "LABEL")]
    embedding: Option<String>,
    /// Format of the head
    #[arg(long, value_name = "LABEL")]
    head: Option<String>,
    /// File to write, NAME.lowbit
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    calibrate: Calibrate,
    /// Memory to stay under, as 800MiB or 2GB, the model file and what the file system caches apart [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Go on with an unfinished run that was to write the same file
    #[arg(long, conflicts_with = "restart")]
    resume: bool,
    /// Begin anew, and forget an unfinished run
    #[arg(long)]
    restart: bool,
    /// Worker threads; the file is the same with any number [default: LOWBIT_THREADS, else one for each physical core]
    #[arg(short = 't', long, value_name = "N", value_parser = options::parse_threads)]
    threads: Option<usize>,
    #[command(flatten)]
    verify: VerifyOptions,
    /// Show every tensor
    #[arg(short, long)]
    verbose: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl QuantizeCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Outcome> {
        let mut command = self.clone();
        if let Some(path) = &self.recipe {
            RecipeFile::read(path)?.complete(&mut command);
        }
        command.quantize(out)
    }

    fn quantize(&self, out: &mut dyn Write) -> Result<Outcome> {
        if self.out.extension().is_none_or(|found| found != "lowbit") {
            bail!("{}: a container is written; name it so, with the ending .lowbit", self.out.display());
        }
        // What is wrong with the command is said before a model is fetched for it.
        let method = method(self.method.as_deref().unwrap_or("rtn"))?;
        let (settings, formats) = (settings(&self.settings)?, self.formats(method.card.default_format)?);
        let needs = (method.recipe)(&settings)?.needs();
        if let Some(bits) = self.target_bpw.filter(|bits| !(*bits > 0.0 && *bits <= 16.0)) {
            bail!("--target-bpw {bits}: expected bits above 0 and at most 16");
        }
        let looks = needs != Needs::NONE || self.target_bpw.is_some();
        if !looks && self.calibrate.is_given() {
            bail!("--calib: {} works from weights alone and would not look at it", method.card.name);
        }
        let verify = self.verify.plan()?;
        let data = if needs == Needs::NONE { Data::None } else { Data::Calibration };
        advice(&formats, data).iter().for_each(|advice| eprintln!("warning: {advice}"));
        let interrupt = Interrupt::install()?;
        let ctx = Ctx::new(env::isa()?, options::threads(self.threads)?);
        let store = Store::from_env()?;
        let source = open::locate(&store, &self.model)?.path;
        let unfinished = if self.resume { unfinished_samples(&self.out)? } else { None };
        let text = self.calibrate.read(&store, &source, unfinished)?;
        let resume = match (self.resume, self.restart) {
            (true, _) => Resume::Continue,
            (_, true) => Resume::Discard,
            _ => Resume::Refuse,
        };
        let request = Request {
            source: &source,
            method,
            settings,
            formats,
            target: self.target_bpw,
            calibration: None,
            memory: self.memory,
            resume,
            threads: ctx.threads(),
        };
        let cannot = || format!("cannot quantize {}", self.model);
        let calibrated =
            text.map(|text| text.calibration(|| estimate(&ctx, &request, text.length).with_context(cannot)));
        let (calibration, estimate) = calibrated.transpose()?.unzip();
        if let Some(few) =
            estimate.and_then(|estimate| estimate.tokens_per_input).filter(|few| *few < FEW_TOKENS)
        {
            eprintln!(
                "warning: {few:.1} tokens of calibration for each input of the widest layer: codes are chosen for these tokens more \
                 than for other text; give more samples (--samples)"
            );
        }
        let request = Request { calibration: calibration.as_ref(), ..request };
        let bar = progress::bar(STEPS, "{msg} {wide_bar} {percent} %, {eta} left");
        let (start, over) = (Instant::now(), interrupt.answering());
        let made = quantize(&ctx, &request, &self.out, &|progress| {
            if progress.block > 0 {
                bar.set_message(format!(
                    "block {} of {}, {}",
                    progress.block, progress.blocks, progress.step
                ));
            } else {
                bar.set_message(progress.step);
            }
            bar.set_position((progress.done * STEPS as f64) as u64);
            if over.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        if let Err(QuantError::Interrupted) = made {
            eprintln!("interrupted; finished blocks are kept, --resume goes on from there");
            return Ok(Outcome::Interrupted);
        }
        let mut made = made.with_context(cannot)?;
        let seconds = start.elapsed().as_secs_f64();
        drop(over);
        // The file is there and whole: what keeps it from being verified is said and is no failure.
        let verified = verify.map(|verify| verify.run(&source, &self.out, ctx.threads())).transpose();
        let verified = verified.unwrap_or_else(|error| {
            eprintln!("warning: {} was not verified: {}", self.out.display(), report::chain(&error));
            None
        });
        if let Some(verified) = &verified {
            verified.warn();
            made.bytes = verified.file_bytes;
        }
        let verified = verified.as_ref();
        if self.json {
            self.write_json(out, &made, verified, (estimate, seconds))?;
        } else {
            self.write_text(out, &made, verified, seconds)?;
        }
        Ok(Outcome::Done)
    }

    /// An object of settings: numbers and truth values as what they are, else text.
    fn formats(&self, default: &str) -> Result<Formats> {
        let default = WeightSpec::parse(self.format.as_deref().unwrap_or(default))?;
        let mut formats = Formats { default, roles: Vec::new(), tensors: Vec::new() };
        for (role, label) in [("embedding", &self.embedding), ("head", &self.head)] {
            if let Some(label) = label {
                formats.set_role(role, label)?;
            }
        }
        for role in &self.roles {
            let (name, label) = pair("--role", role, "ROLE=LABEL")?;
            formats.set_role(name, label)?;
        }
        for tensor in &self.tensors {
            let (pattern, label) = pair("--tensor", tensor, "PATTERN=LABEL")?;
            formats.set_tensor(pattern, label)?;
        }
        Ok(formats)
    }

    fn write_text(
        &self,
        out: &mut dyn Write,
        made: &Report,
        verified: Option<&Verified>,
        seconds: f64,
    ) -> Result<()> {
        if self.verbose {
            let texts = ["tensor", "from", "to"].map(|name| (name, Align::Left));
            let figures = ["bits/weight", "NMSE"].map(|name| (name, Align::Right));
            let mut table = Table::new(&[texts.as_slice(), &figures].concat());
            for tensor in &made.tensors {
                let figures = [format!("{:.3}", tensor.bits_per_weight), format!("{:.3e}", tensor.nmse)];
                let [bits, nmse] = figures;
                table.row([tensor.name.clone(), tensor.from.clone(), tensor.format.clone(), bits, nmse]);
            }
            table.write(out)?;
        }
        let columns = |tensor: &&TensorReport| {
            tensor.calibration_tokens.is_some_and(|tokens| tokens < tensor.shape[1] as u64)
        };
        let starved = made.tensors.iter().filter(columns).count();
        if starved > 0 {
            eprintln!(
                "warning: of {} fewer tokens than columns were seen; take more samples",
                report::count(starved, "tensor")
            );
        }
        writeln!(
            out,
            "{}: {} of {} weights by {}, {:.3} bits/weight, error {:.3e} of their squares",
            self.out.display(),
            made.quantized_weights,
            made.weights,
            made.method,
            made.quantized_bits_per_weight,
            made.nmse,
        )?;
        writeln!(
            out,
            "{} in all, {:.3} bits/weight, written in {seconds:.1} s",
            report::bytes(made.bytes),
            made.bits_per_weight,
        )?;
        verified.map_or(Ok(()), |verified| verified.write_text(out))
    }

    fn write_json(
        &self,
        out: &mut dyn Write,
        made: &Report,
        verified: Option<&Verified>,
        (estimate, seconds): (Option<Estimate>, f64),
    ) -> Result<()> {
        let mut json = serde_json::to_value(made)?;
        json["path"] = serde_json::to_value(&self.out)?;
        json["model"] = Value::from(self.model.as_str());
        json["verification"] = verified.map(Verified::json).transpose()?.into();
        json["seconds"] = Value::from(seconds);
        json["peak_rss_bytes"] = crate::memory::peak_rss_bytes().into();
        if let Some(estimate) = estimate {
            json["estimate"] = serde_json::to_value(estimate)?;
        }
        report::json(out, &json)
    }
}

/// Settings of a method, of `KEY=VALUE` each.
pub(crate) fn settings(given: &[String]) -> Result<Value> {
    let mut settings = Map::new();
    for setting in given {
        let (key, value) = pair("--set", setting, "KEY=VALUE")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        settings.insert(key.to_owned(), value);
    }
    Ok(Value::Object(settings))
}

/// Both sides of the last `=`: labels have none.
fn pair<'a>(option: &str, text: &'a str, expected: &str) -> Result<(&'a str, &'a str)> {
    text.rsplit_once('=').with_context(|| format!("{option} {text}: expected {expected}"))
}

fn methods() -> String {
    let lines = METHODS.iter().map(|entry| format!("{} ({})", entry.card.name, entry.card.summary));
    lines.collect::<Vec<_>>().join("; ")
}

/// A number of bytes: `800MiB`, `2GB`.
fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let expected = || format!("{text} is no size; expected a number and a unit, such as 800MiB or 2GB");
    let (number, unit) = UNITS
        .iter()
        .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
        .ok_or_else(expected)?;
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    if number > 0.0 && number.is_finite() { Ok((number * unit as f64) as u64) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("800MiB"), Ok(800 << 20));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        for wrong in ["800", "MiB", "-1GB", "xGB", "1PB"] {
            assert!(parse_size(wrong).unwrap_err().contains("no size"), "{wrong}");
        }
    }
}
