//! `docs/methods.md`, from the list of methods.

use super::table;
use anyhow::Result;
use lowbit_quant::METHODS;
use serde_json::json;

const TEXT: &str = "# Quantization methods

What `lowbit quantize --method NAME` does with every weight matrix; [how to use it](quantize.md). A method is one file of
[`crates/lowbit-quant/src/methods`](../crates/lowbit-quant/src/methods), whose head has equations, costs and departures.
";

const CLAIMS: &str = "## What was published

Figures of the papers, each beside the baseline of the same table. What comes of the methods here, on smaller models, is in
[quantize.md](quantize.md#what-it-costs).
";

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
    Ok(format!("{TEXT}\n{}\n{CLAIMS}\n{}", table(&head, rows), claims()))
}
