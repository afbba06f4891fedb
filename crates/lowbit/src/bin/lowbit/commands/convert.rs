//! `lowbit convert`: the weights as they are, in another kind of file.

use crate::{open, report};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lowbit::{
    hub::Store,
    quant::convert::{Converted, Inexact, PackedOptions, Target, convert},
};
use lowbit_format::FloatFormat;
use serde_json::Value;
use std::{io::Write, path::PathBuf, time::Instant};

/// Write a model as another kind of file, with the weights as they are.
#[derive(Args)]
pub(crate) struct ConvertCommand {
    /// The model
    model: String,
    /// Kind of file: gguf for other programs, from a GGUF file or what was quantized from one; hf for a Hugging Face
    /// folder of floats; gptq and compressed-tensors for one of integers, in the layouts of these libraries; lowbit
    /// from any model
    #[arg(long, value_name = "KIND")]
    to: Kind,
    /// File to write, NAME.gguf or NAME.lowbit, or folder
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,
    /// Decode tensors for which gguf, gptq or compressed-tensors has no place that means exactly the same, to floats of
    /// this type; without it they are refused
    #[arg(long, value_name = "TYPE")]
    lossy: Option<Float>,
    /// Type of the floats of a folder, scales among them, f32 where not given, which holds all of them exactly
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Dtype>,
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
    Hf,
    Gptq,
    CompressedTensors,
    Lowbit,
}

/// What tensors can be decoded to.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Float {
    F16,
    F32,
}

/// What the floats of a folder can be.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dtype {
    F16,
    Bf16,
    F32,
}

impl Dtype {
    fn format(self) -> FloatFormat {
        match self {
            Self::F16 => FloatFormat::F16,
            Self::Bf16 => FloatFormat::Bf16,
            Self::F32 => FloatFormat::F32,
        }
    }
}

impl ConvertCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        // What is wrong with the command is said before a model is fetched for it.
        if self.dtype.is_some() && matches!(self.to, Kind::Gguf | Kind::Lowbit) {
            bail!(
                "--dtype: only folders, of --to hf, gptq or compressed-tensors, are of one type; leave the option out"
            );
        }
        let float = self.dtype.unwrap_or(Dtype::F32).format();
        let inexact = match self.lossy {
            None => Inexact::Refuse,
            Some(Float::F16) => Inexact::Decode(FloatFormat::F16),
            Some(Float::F32) => Inexact::Decode(FloatFormat::F32),
        };
        let (ending, target) = match (self.to, self.lossy) {
            (Kind::Gguf, _) => (Some("gguf"), Target::Gguf(inexact)),
            (Kind::Gptq, _) => (None, Target::Gptq(PackedOptions { float, inexact })),
            (Kind::CompressedTensors, _) => {
                (None, Target::CompressedTensors(PackedOptions { float, inexact }))
            }
            (Kind::Hf, None) => (None, Target::HuggingFace(float)),
            (Kind::Hf, Some(_)) => {
                bail!("--lossy: a folder of floats has the type of --dtype; give that instead")
            }
            (Kind::Lowbit, None) => (Some("lowbit"), Target::Lowbit),
            (Kind::Lowbit, Some(_)) => {
                bail!("--lossy: a container holds every tensor exactly; leave the option out")
            }
        };
        if let Some(ending) = ending
            && self.out.extension().is_none_or(|found| found != ending)
        {
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
