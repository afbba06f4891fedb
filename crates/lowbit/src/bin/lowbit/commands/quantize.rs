//! `lowbit quantize`: from any model that lowbit reads to a low-bit one that runs as it is stored.

use crate::{
    open, options, progress, report,
    table::{Align, Table},
    verification::{Verified, VerifyOptions},
};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    WeightSpec,
    hub::Store,
    quant::{Data, Formats, METHODS, Report, Request, advice, method, quantize},
};
use serde_json::{Map, Value};
use std::{io::Write, path::PathBuf, time::Instant};

/// Quantize a model into a .lowbit file that runs as it is stored. Embedding and head stay as they are unless formats are
/// given for them.
#[derive(Args)]
pub(crate) struct QuantizeCommand {
    /// The model
    model: String,
    // The list is data of the library.
    #[arg(long, value_name = "NAME", default_value = "rtn", help = format!("Method: {}", methods()))]
    method: String,
    /// Setting of the method; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Format of the linear layers of blocks, a label as in `lowbit list formats`
    #[arg(long, value_name = "LABEL", default_value = "int4-asym-g128")]
    format: String,
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
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        if self.out.extension().is_none_or(|found| found != "lowbit") {
            bail!("{}: a container is written; name it so, with the ending .lowbit", self.out.display());
        }
        // What is wrong with the command is said before a model is fetched for it.
        let method = method(&self.method)?;
        let (settings, formats) = (self.settings()?, self.formats()?);
        (method.recipe)(&settings)?;
        let verify = self.verify.plan()?;
        let threads = options::threads(self.threads)?;
        advice(&formats, Data::None).iter().for_each(|advice| eprintln!("warning: {advice}"));
        let source = open::locate(&Store::from_env()?, &self.model)?.path;
        let request = Request { source: &source, method, settings, formats, threads };
        let bar = progress::bar(0, "{wide_bar} {human_pos}/{human_len} weights, {eta} left");
        let start = Instant::now();
        let made = quantize(&request, &self.out, &|progress| {
            bar.set_length(progress.of);
            bar.set_position(progress.done);
        });
        bar.finish_and_clear();
        let mut made = made.with_context(|| format!("cannot quantize {}", self.model))?;
        let seconds = start.elapsed().as_secs_f64();
        // The file is there and whole: what keeps it from being verified is said and is no failure.
        let verified = verify.map(|verify| verify.run(&source, &self.out, threads)).transpose();
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
            self.write_json(out, &made, verified, seconds)
        } else {
            self.write_text(out, &made, verified, seconds)
        }
    }

    /// An object of settings: numbers and truth values as what they are, else text.
    fn settings(&self) -> Result<Value> {
        let mut settings = Map::new();
        for setting in &self.settings {
            let (key, value) = pair("--set", setting, "KEY=VALUE")?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            settings.insert(key.to_owned(), value);
        }
        Ok(Value::Object(settings))
    }

    fn formats(&self) -> Result<Formats> {
        let default = WeightSpec::parse(&self.format)?;
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
        seconds: f64,
    ) -> Result<()> {
        let mut json = serde_json::to_value(made)?;
        json["path"] = serde_json::to_value(&self.out)?;
        json["model"] = Value::from(self.model.as_str());
        json["verification"] = verified.map(Verified::json).transpose()?.into();
        json["seconds"] = Value::from(seconds);
        report::json(out, &json)
    }
}

/// Both sides of the last `=`: labels have none.
fn pair<'a>(option: &str, text: &'a str, expected: &str) -> Result<(&'a str, &'a str)> {
    text.rsplit_once('=').with_context(|| format!("{option} {text}: expected {expected}"))
}

fn methods() -> String {
    let lines = METHODS.iter().map(|entry| format!("{} ({})", entry.card.name, entry.card.summary));
    lines.collect::<Vec<_>>().join("; ")
}
