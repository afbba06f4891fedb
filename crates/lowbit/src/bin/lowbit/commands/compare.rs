//! `lowbit compare`: how far one model is from another.

use crate::{
    open,
    options::{CacheType, Compute, Preset},
    progress, report,
    table::{Align, Table},
    text_file::{TextFile, TextOption},
};
use anyhow::{Context, Result};
use clap::Args;
use lowbit::eval::{CompareProgress, Comparison, ModelPair, Options, compare, figure};
use std::{io::Write, ops::ControlFlow, path::PathBuf, time::Instant};

/// Compare two models of one vocabulary on a text: perplexities and whether they differ, divergence of their predictions,
/// and in which block they part. Figures compare only under the same preset, text and number of chunks.
#[derive(Args)]
pub(crate) struct CompareCommand {
    /// The model that is taken as right
    reference: String,
    /// The model that is judged
    other: String,
    #[command(flatten)]
    text: TextOption,
    #[command(flatten)]
    preset: Preset,
    /// Floats in which keys and values are kept
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CacheType::F16)]
    cache_type: CacheType,
    #[command(flatten)]
    compute: Compute,
    /// Draw the divergence and the error by block into this file
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What the figures were computed with.
struct Settings {
    activations: String,
    threads: usize,
    seconds: f64,
}

impl CompareCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let protocol = self.preset.protocol()?;
        let file = self.text.read()?;
        let ctx = self.compute.ctx()?;
        let compute = self.preset.compute(&self.compute);
        let reference = open::load_untuned(&ctx, &self.reference, &compute)?;
        let other = open::load_untuned(&ctx, &self.other, &compute)?;
        let models = ModelPair { reference: &reference, other: &other };
        let options = Options { protocol, chunks: self.preset.chunks, cache: self.cache_type.element() };
        let bar = progress::bar(0, "{pos}/{len} windows {wide_bar} {msg}, {eta} left");
        let start = Instant::now();
        let found = compare(models, &ctx, &file.text, options, |progress: &CompareProgress| {
            let [ours, theirs] = progress.perplexities;
            bar.set_length(progress.of_chunks as u64);
            bar.set_position(progress.chunks as u64);
            bar.set_message(format!("perplexity {ours:.3} and {theirs:.3}, KL {:.4}", progress.kl));
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        let found = found?;
        let settings = Settings {
            activations: compute.numbers(),
            threads: ctx.threads(),
            seconds: start.elapsed().as_secs_f64(),
        };
        if self.json {
            self.write_json(out, &file, &found, settings)?;
        } else {
            self.write_text(out, &file, &found, settings)?;
        }
        if let Some(path) = &self.svg {
            let svg = figure(&found, [&self.reference, &self.other]);
            std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn write_text(
        &self,
        out: &mut dyn Write,
        file: &TextFile,
        found: &Comparison,
        settings: Settings,
    ) -> Result<()> {
        let (figures, protocol) = (&found.figures, self.preset.protocol()?);
        let difference = &figures.difference;
        let scored =
            |scored: lowbit::eval::Scored| format!("{:.4} ± {:.4}", scored.perplexity, scored.stderr);
        let ratio = format!(
            "{:.4} ± {:.4} by pairs of tokens and of windows; {}",
            difference.ratio,
            difference.ratio_stderr,
            significance(difference.z, difference.p)
        );
        let kl = &figures.kl;
        let divergence = format!(
            "{:.5} ± {:.5} nats; median {:.5}, 99 % {:.4}, largest {:.3}",
            kl.mean, kl.stderr, kl.median, kl.p99, kl.max
        );
        let top1 = format!("{:.2} ± {:.2} %", 100.0 * figures.top1_agreement, 100.0 * figures.top1_stderr);
        let moved = format!("{:.5} nats for the right token", figures.mean_abs_delta_log_p);
        report::fields(
            out,
            &[
                ("reference", format!("{}: perplexity {}", self.reference, scored(figures.reference))),
                ("other", format!("{}: perplexity {}", self.other, scored(figures.other))),
                ("ratio", ratio),
                ("KL divergence", divergence),
                ("same top token", top1),
                ("mean |Δ log p|", moved),
            ],
        )?;
        writeln!(
            out,
            "preset {}: {} of {} tokens, {} scored of {} of {}; activations {}; {:.1} s",
            protocol.name,
            report::count(found.chunks, "window"),
            protocol.window,
            report::count(figures.scored_tokens, "token"),
            found.text_tokens,
            file.path.display(),
            settings.activations,
            settings.seconds,
        )?;
        if found.layers.is_empty() {
            writeln!(out, "the models have other blocks: no error by block")?;
            return Ok(());
        }
        writeln!(out, "\nerror of the residual stream after each block, relative to it:")?;
        let mut table =
            Table::new(&[("block", Align::Right), ("mean", Align::Right), ("worst token", Align::Right)]);
        for layer in &found.layers {
            let errors = [layer.relative_error, layer.worst].map(|error| format!("{:.3} %", 100.0 * error));
            let [mean, worst] = errors;
            table.row([layer.block.to_string(), mean, worst]);
        }
        Ok(table.write(out)?)
    }

    fn write_json(
        &self,
        out: &mut dyn Write,
        file: &TextFile,
        found: &Comparison,
        settings: Settings,
    ) -> Result<()> {
        let protocol = self.preset.protocol()?;
        let mut json = serde_json::to_value(found)?;
        let about = serde_json::json!({
            "reference_model": self.reference,
            "other_model": self.other,
            "preset": protocol.name,
            "window": protocol.window,
            "stride": protocol.window,
            "first_scored": protocol.first_scored,
            "text": file.path,
            "text_sha256": file.sha256,
            "activations": settings.activations,
            "cache_type": self.cache_type,
            "threads": settings.threads,
            "seconds": settings.seconds,
        });
        if let (Some(json), serde_json::Value::Object(about)) = (json.as_object_mut(), about) {
            json.extend(about);
        }
        report::json(out, &json)
    }
}

/// Whether a difference is more than chance, in words.
fn significance(z: f64, p: f64) -> String {
    if z == 0.0 {
        return "no difference".to_owned();
    }
    let p = if p < 1e-6 { "p below 1e-6".to_owned() } else { format!("p {p:.1e}") };
    let word = if z.abs() < 2.0 { "within chance" } else { "significant" };
    format!("{word} (z {z:.1}, {p})")
}
