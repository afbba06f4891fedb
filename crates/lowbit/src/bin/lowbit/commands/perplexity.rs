//! `lowbit perplexity`.

use crate::{
    open,
    options::{CacheType, Compute, Preset},
    progress, report,
    text_file::{TextFile, TextOption},
};
use anyhow::Result;
use clap::Args;
use lowbit::{
    Model,
    eval::{Begin, Options, Perplexity, Protocol, perplexity},
};
use std::{io::Write, ops::ControlFlow, time::Instant};

/// Measure perplexity on a text. Figures compare only under the same preset, text and number of chunks.
#[derive(Args)]
pub(crate) struct PerplexityCommand {
    /// The model
    model: String,
    #[command(flatten)]
    text: TextOption,
    #[command(flatten)]
    preset: Preset,
    /// Floats in which keys and values are kept
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CacheType::F16)]
    cache_type: CacheType,
    #[command(flatten)]
    compute: Compute,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What a figure was computed with.
struct Settings {
    activations: String,
    threads: usize,
    seconds: f64,
}

impl PerplexityCommand {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let protocol = self.preset.protocol()?;
        let file = self.text.read()?;
        let ctx = self.compute.ctx()?;
        let compute = self.preset.compute(&self.compute);
        let model = open::load_untuned(&ctx, &self.model, &compute)?;
        let options = Options { protocol, chunks: self.preset.chunks, cache: self.cache_type.element() };
        let bar = progress::bar(0, "{pos}/{len} windows {wide_bar} perplexity {msg}, {eta} left");
        let start = Instant::now();
        let result = perplexity(&model, &ctx, &file.text, options, |estimate| {
            bar.set_length(estimate.of_chunks as u64);
            bar.set_position(estimate.chunks as u64);
            bar.set_message(format!("{:.4}", estimate.perplexity));
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        let result = result?;
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            let settings = Settings { activations: compute.numbers(), threads: ctx.threads(), seconds };
            self.write_json(out, &model, protocol, &file, &result, settings)
        } else {
            self.write_text(out, protocol, &result, &compute.numbers(), seconds)
        }
    }

    fn write_text(
        &self,
        out: &mut dyn Write,
        protocol: &Protocol,
        result: &Perplexity,
        activations: &str,
        seconds: f64,
    ) -> Result<()> {
        writeln!(out, "perplexity {:.4} ± {:.4}", result.perplexity, result.stderr)?;
        writeln!(
            out,
            "preset {}: {} of {} tokens, {} scored; activations {activations}; {seconds:.1} s",
            protocol.name,
            report::count(result.chunks, "window"),
            protocol.window,
            report::count(result.scored_tokens, "token"),
        )?;
        Ok(())
    }

    fn write_json(
        &self,
        out: &mut dyn Write,
        model: &Model,
        protocol: &Protocol,
        file: &TextFile,
        result: &Perplexity,
        settings: Settings,
    ) -> Result<()> {
        let adds_bos = model.tokenizer()?.adds_bos();
        let begin = match protocol.begin {
            Begin::AsText => "before the text, where the tokenizer adds it",
            Begin::Replaced if adds_bos => "in place of each window's first token",
            Begin::Replaced => "none: the tokenizer adds no begin token",
        };
        report::json(
            out,
            &serde_json::json!({
                "perplexity": result.perplexity,
                "stderr": result.stderr,
                "model": self.model,
                "model_path": model.path(),
                "preset": protocol.name,
                "window": protocol.window,
                "stride": protocol.window,
                "first_scored": protocol.first_scored,
                "begin_token": begin,
                "chunks": result.chunks,
                "scored_tokens": result.scored_tokens,
                "text_tokens": result.text_tokens,
                "text": file.path,
                "text_sha256": file.sha256,
                "activations": settings.activations,
                "cache_type": self.cache_type,
                "threads": settings.threads,
                "seconds": settings.seconds,
            }),
        )
    }
}
