//! `lowbit convert`: the weights as they are, in another kind of file.

use crate::{open, report};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lowbit::{
    hub::Store,
    quant::convert::{Converted, Inexact, Target, convert},
};
use lowbit_format::FloatFormat;
use serde_json::Value;
use std::{io::Write, path::PathBuf, time::Instant};

/// Write a model as another kind of file, with the weights as they are.
#[derive(Args)]
pub(crate) struct ConvertCommand {
    /// The model
    model: String,
    /// Kind of file: gguf for other programs, from a GGUF file or what was quantized from one; lowbit from any model
    #[arg(long, value_name = "KIND")]
    to: Kind,
    /// File to write, NAME.gguf or NAME.lowbit
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Decode tensors for which GGUF has no type that means exactly the same, to floats of this type; without it they are
    /// refused
    #[arg(long, value_name = "TYPE")]
    lossy: Option<Float>,
    /// Show every tensor
    #[arg(short, long)]
    verbose: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What can be written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Gguf,
    Lowbit,
}

/// What tensors can be decoded to.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Float {
    F16,
    F32,
}

impl ConvertCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        // What is wrong with the command is said before a model is fetched for it.
        let (ending, target) = match (self.to, self.lossy) {
            (Kind::Gguf, None) => ("gguf", Target::Gguf(Inexact::Refuse)),
            (Kind::Gguf, Some(Float::F16)) => ("gguf", Target::Gguf(Inexact::Decode(FloatFormat::F16))),
            (Kind::Gguf, Some(Float::F32)) => ("gguf", Target::Gguf(Inexact::Decode(FloatFormat::F32))),
            (Kind::Lowbit, None) => ("lowbit", Target::Lowbit),
            (Kind::Lowbit, Some(_)) => {
                bail!("--lossy: a container holds every tensor exactly; leave the option out")
            }
        };
        if self.out.extension().is_none_or(|found| found != ending) {
            bail!("{}: a .{ending} file is written; name it so", self.out.display());
        }
        let source = open::locate(&Store::from_env()?, &self.model)?.path;
        let start = Instant::now();
        let made =
            convert(&source, &self.out, target).with_context(|| format!("cannot convert {}", self.model))?;
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            let mut json = serde_json::to_value(&made)?;
            json["path"] = serde_json::to_value(&self.out)?;
            json["model"] = Value::from(self.model.as_str());
            json["seconds"] = Value::from(seconds);
            return report::json(out, &json);
        }
        self.write_text(out, &made, seconds)
    }

    fn write_text(&self, out: &mut dyn Write, made: &Converted, seconds: f64) -> Result<()> {
        for tensor in &made.tensors {
            match &tensor.inexact {
                Some(why) => eprintln!(
                    "warning: {} was decoded from {} to {}: {why}",
                    tensor.name, tensor.from, tensor.to
                ),
                None if self.verbose => writeln!(out, "{}: {} as {}", tensor.name, tensor.from, tensor.to)?,
                None => {}
            }
        }
        let decoded = made.tensors.iter().filter(|tensor| tensor.inexact.is_some()).count();
        let exact = match decoded {
            0 => "exactly as they were".to_owned(),
            decoded => format!("{decoded} of them decoded"),
        };
        Ok(writeln!(
            out,
            "{}: {}, {exact}, {}, written in {seconds:.1} s",
            self.out.display(),
            report::count(made.tensors.len(), "tensor"),
            report::bytes(made.bytes),
        )?)
    }
}
