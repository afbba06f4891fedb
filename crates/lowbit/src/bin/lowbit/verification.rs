//! Whether a model that was just quantized still says what its source says.

use crate::{options, report};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use lowbit::{
    Ctx, Model, Planner, annotate,
    eval::{ModelPair, SMOKE_TEXT, Verification, verify},
    texts::Texts,
};
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Whether and with which text.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Verification")]
pub(crate) struct VerifyOptions {
    /// What is done with the file once it is written
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Verify::Quick)]
    verify: Verify,
    /// Text to verify with, plain, gzipped, .jsonl or .parquet [default: 10 kB of prose and code that the program brings]
    #[arg(long, value_name = "FILE")]
    verify_text: Option<PathBuf>,
}

/// What is done with a file once it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Verify {
    /// Load it and its source, and compare what they predict on up to 2,048 tokens: a smoke check, no benchmark
    Quick,
    /// Nothing
    None,
}

/// The text, read before the work begins.
pub(crate) struct Planned {
    text: String,
    /// What it is, for the file's metadata.
    about: Value,
}

/// What was found, and the size of the file that says so.
pub(crate) struct Verified {
    found: Verification,
    pub(crate) file_bytes: u64,
}

impl VerifyOptions {
    /// What there is to do, `None` where nothing is.
    pub(crate) fn plan(&self) -> Result<Option<Planned>> {
        Ok(match (self.verify, &self.verify_text) {
            (Verify::None, Some(path)) => {
                anyhow::bail!("--verify-text {}: nothing is verified with --verify none", path.display())
            }
            (Verify::None, None) => None,
            (Verify::Quick, None) => Some(Planned { text: SMOKE_TEXT.to_owned(), about: json!("built in") }),
            (Verify::Quick, Some(path)) => {
                let texts = Texts::read(path, None)?;
                Some(Planned { text: texts.joined(), about: json!({"sha256": texts.sha256}) })
            }
        })
    }
}

impl Planned {
    /// Compares the file `made` with its source, and writes into it what was found.
    pub(crate) fn run(&self, source: &Path, made: &Path, threads: usize) -> Result<Verified> {
        let ctx = Ctx::new(crate::env::isa()?, threads);
        let load = |path: &Path| {
            let options = options::load_options(options::Activations::Int16, Planner::new());
            Model::load(&ctx, path, options).with_context(|| format!("cannot load {}", path.display()))
        };
        let (reference, other) = (load(source)?, load(made)?);
        let found = verify(ModelPair { reference: &reference, other: &other }, &ctx, &self.text)?;
        // It is written anew: nothing should hold the old one.
        drop(other);
        let mut about = rounded(&found);
        about["text"] = self.about.clone();
        let file_bytes = annotate(made, "verification", &about.to_string())?;
        Ok(Verified { found, file_bytes })
    }
}

/// Figures with four digits: what machines agree on.
fn rounded(found: &Verification) -> Value {
    let digits = |number: f64| -> f64 { format!("{number:.3e}").parse().unwrap_or(number) };
    json!({
        "source_perplexity": digits(found.source_perplexity),
        "perplexity": digits(found.perplexity),
        "mean_kl": digits(found.mean_kl),
        "mean_kl_stderr": digits(found.mean_kl_stderr),
        "top1_agreement": digits(found.top1_agreement),
        "scored_tokens": found.scored_tokens,
    })
}

impl Verified {
    pub(crate) fn write_text(&self, out: &mut dyn Write) -> Result<()> {
        let found = &self.found;
        writeln!(
            out,
            "against its source on {} (a smoke check): KL divergence {:.4} ± {:.4} nats, same top token {:.1} %, perplexity {:.2} for {:.2}",
            report::count(found.scored_tokens, "token"),
            found.mean_kl,
            found.mean_kl_stderr,
            100.0 * found.top1_agreement,
            found.perplexity,
            found.source_perplexity,
        )?;
        Ok(())
    }

    /// Says on standard error what is plainly wrong.
    pub(crate) fn warn(&self) {
        if let Some(verdict) = self.found.verdict() {
            eprintln!("warning: {verdict}");
        }
    }

    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self.found)?)
    }
}
