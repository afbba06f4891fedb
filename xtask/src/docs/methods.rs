//! `docs/methods.md`, from the list of methods.

use super::table;
use anyhow::Result;
use lowbit_eval::study::{Measured, comparison_table};
use lowbit_quant::METHODS;
use serde_json::json;

const TEXT: &str = "# Quantization methods

What `lowbit quantize --method NAME` does with every weight matrix; [how to use it](quantize.md). A method is one file of
[`crates/lowbit-quant/src/methods`](../crates/lowbit-quant/src/methods), whose head has equations, costs and departures.
";

const CLAIMS: &str = "## What was published

Figures of the papers, each beside the baseline of the same table. What comes of the methods here, on smaller models, is below and in
[quantize.md](quantize.md#what-it-costs).
";

const MEASURED: &str = "## What came of it here

Each method on integers beside the one that its paper compares with, on models far smaller than the papers': `lowbit study methods-integer`
with C4 to calibrate on and the WikiText-2 test set to compare on, whose figures are kept in
[`bench/record/methods-integer.json`](../bench/record/methods-integer.json). Bits are those of rounded weights with everything that is stored
beside them, the divergence from the source is in nats a token, over 8 windows of 512 tokens with the second half scored. Where the other method has
no format with as many bits (within 2 %), it stands for what a line between the logarithms of its nearest two has there. Speeds are the method's / the other's.
";

const ANALYSIS: &str = "
### What does not show here

- `adadim` gains a lot on `rtn` and nothing on `gptq`: a sweep already makes up for columns that groups in rows spoil.
- `qllm` gains at 4-bit activations, which is what its paper is about, and loses at 8 bits: there rounding activations is a small part of what is
  lost, and merging inputs costs more than splitting them gains. Its tuning of low-rank weights, which follows in the paper, is not there.
- `qoq` loses on SmolLM2 to all it is held against, on Qwen2.5-Coder it is before `dgq` and behind `awq`. What costs is that groups are fitted
  to 8-bit integers of at most 119, which leaves a group's scale 2 to 16 units: with all its steps off and activations left alone, SmolLM2 is
  KL 0.49 away where `rtn` in the same stored format is 0.34 away (`lowbit quantize smollm2 --method qoq --set rotate=false --set attention=0
  --set smooth=0 --set reorder=false --set clip=false --set activations=none`, then `lowbit compare` as here). Its steps win back what that
  costs and not more: each one left out alone changes little (0.32 to 0.37).
- `dgq` gains on SmolLM2 and loses on Qwen2.5-Coder: its weights are 8-bit integers of a row too. Why the one model takes that worse was not found.
- `smoothquant_plus` has one α for the model where `awq` searches by layer: nearer to the source than `rtn` on SmolLM2, not than `awq`. On Qwen2.5-Coder no way of
  scaling inputs beats `rtn` at 4 bits.
- `lorc` and `eora` are better than the method under them and no better than more bits: in matrices of a few hundred columns a rank of 8 or 32 is
  a large share of the bytes.
- `fast_2bit` gains less by more bits for wide groups than `gptq` does by shorter groups of as many bits: with clipped ranges (which `gptq` has here and not in the paper)
  wide groups are no longer most of the error. Its 16-bit outliers are left out.
- `pb_llm` is far behind `gptq` at as many bits: signs with one size a row are too little for models of this size before training, which its paper goes on to, and places of
  single weights take 16 bits each where a bit map would take fewer. It beats signs alone.
";

/// The study of methods on integers, where it is on record.
const STUDY: &str = include_str!("../../../bench/record/methods-integer.json");

fn measured() -> Result<String> {
    let all: Vec<Measured> = serde_json::from_str(STUDY)?;
    let mut models: Vec<&str> = all.iter().map(|cell| cell.model.as_str()).collect();
    models.dedup();
    let mut text = MEASURED.to_owned();
    for model in models {
        let cells: Vec<&Measured> = all.iter().filter(|cell| cell.model == model).collect();
        text += &format!("\n### {model}\n\n{}", comparison_table(&cells));
    }
    Ok(text + ANALYSIS)
}

/// A row for every claim of every method.
fn claims() -> String {
    let all = METHODS.iter().flat_map(|entry| entry.card.claims.iter().map(|claim| (entry.card.name, claim)));
    let rows = all.map(|(name, claim)| {
        let (baseline, figure) = claim.baseline;
        vec![
            format!("`{name}`"),
            claim.setting.into(),
            claim.metric.into(),
            claim.published.to_string(),
            format!("`{baseline}` {figure}"),
            claim.source.into(),
        ]
    });
    table(&["Method", "Setting", "Metric", "Published", "Baseline", "Where"], rows)
}

pub(super) fn page() -> Result<String> {
    let mut rows = Vec::new();
    for entry in METHODS {
        let card = entry.card;
        let settings = (entry.settings)(&json!({}))?;
        let settings = settings.as_object().into_iter().flatten();
        let settings: Vec<String> = settings.map(|(key, value)| format!("`{key}={value}`")).collect();
        let settings = if settings.is_empty() { "–".into() } else { settings.join(", ") };
        let paper = card.paper.map_or("–".into(), |p| format!("{}, {} ({})", p.title, p.source, p.year));
        rows.push(vec![
            format!("`{}`", card.name),
            card.summary.into(),
            (entry.recipe)(&json!({}))?.names().join(", "),
            card.formats.into(),
            settings,
            paper,
        ]);
    }
    let head = ["Method", "What it does", "Parts", "Formats", "Settings and their defaults", "Paper"];
    Ok(format!("{TEXT}\n{}\n{CLAIMS}\n{}\n{}", table(&head, rows), claims(), measured()?))
}
