//! `lowbit synth`: a model with random weights, to measure speed at sizes that nobody wants to download.

use crate::{progress, report};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    WeightSpec,
    synth::{Synth, SynthRequest, shape_names},
};
use serde_json::json;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// Write a model with random weights, to measure speed.
#[derive(Args)]
pub(crate) struct SynthCommand {
    // The list is data of the library.
    #[arg(long, value_name = "NAME", help = format!("Model whose shape it has: {}", shape_names().join(", ")))]
    like: String,
    /// Transformer blocks [default: as many as the model has]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Tokens of the vocabulary [default: as many as the model has]
    #[arg(long, value_name = "N")]
    vocab: Option<usize>,
    /// Format of all matrices, a label of `lowbit list formats`: those of GGUF and floats make a .gguf, int and ternary
    /// ones a .lowbit
    #[arg(long, value_name = "LABEL")]
    format: String,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Seed of the weights; the same seed gives the same bytes
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl SynthCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let request = SynthRequest {
            like: self.like.clone(),
            layers: self.layers,
            vocab: self.vocab,
            spec: WeightSpec::parse(&self.format)?,
            seed: self.seed,
        };
        let synth = Synth::new(request)?;
        check_extension(&self.out, &synth, &self.format)?;
        let start = Instant::now();
        let bar = progress::bar(
            synth.tensor_bytes(),
            "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left",
        );
        let made = bar.clone();
        let progress = Arc::new(move |bytes| made.inc(bytes));
        let written = synth.write(&self.out, &(progress as _));
        bar.finish_and_clear();
        written?;
        let bytes = fs::metadata(&self.out).with_context(|| self.out.display().to_string())?.len();
        let bits_per_weight = 8.0 * bytes as f64 / synth.weights() as f64;
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            return report::json(
                out,
                &json!({
                    "path": self.out,
                    "kind": synth.file(),
                    "like": self.like,
                    "format": self.format,
                    "blocks": synth.model().blocks.len(),
                    "vocabulary": synth.model().vocab,
                    "seed": self.seed,
                    "weights": synth.weights(),
                    "bytes": bytes,
                    "bits_per_weight": bits_per_weight,
                    "seconds": seconds,
                }),
            );
        }
        Ok(writeln!(
            out,
            "{}: {} weights, {}, {bits_per_weight:.3} bits/weight, written in {seconds:.1} s",
            self.out.display(),
            synth.weights(),
            report::bytes(bytes),
        )?)
    }
}

/// Refuses a name that says that the file is of another kind than it will be.
fn check_extension(path: &Path, synth: &Synth, format: &str) -> Result<()> {
    let expected = synth.file().extension();
    if path.extension().is_none_or(|found| found != expected) {
        bail!("{}: {format} is written to a .{expected} file; name it so", path.display());
    }
    Ok(())
}
