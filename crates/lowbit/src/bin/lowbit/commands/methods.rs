//! `lowbit methods`: how weights can be rounded, and where that comes from.

use crate::{
    report,
    table::{Align::Left, Align::Right, Table},
};
use anyhow::Result;
use clap::Args;
use lowbit::quant::{METHODS, MethodEntry, method, stats::Inputs};
use serde_json::{Value, json};
use std::io::Write;

/// List the quantization methods, or show one: parts, settings with their defaults, paper and what it published.
#[derive(Args)]
pub(crate) struct Methods {
    /// The method to show
    name: Option<String>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Methods {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let shown = self.name.as_deref().map(method).transpose()?;
        if self.json {
            let json = match shown {
                Some(entry) => as_json(entry)?,
                None => METHODS.iter().map(as_json).collect::<Result<Vec<_>>>()?.into(),
            };
            return report::json(out, &json);
        }
        match shown {
            Some(entry) => show(out, entry),
            None => list(out),
        }
    }
}

fn list(out: &mut dyn Write) -> Result<()> {
    let mut table =
        Table::new(&[("method", Left), ("calibration", Left), ("formats", Left), ("what it does", Left)]);
    for entry in METHODS {
        let card = entry.card;
        let row = [card.name, calibration(entry)?, card.formats, card.summary];
        table.row(row.map(str::to_owned));
    }
    table.write(out)?;
    Ok(writeln!(out, "\n`lowbit methods NAME` shows settings and sources.")?)
}

fn show(out: &mut dyn Write, entry: &MethodEntry) -> Result<()> {
    let card = entry.card;
    writeln!(out, "{}: {}", card.name, card.summary)?;
    if let Some(paper) = card.paper {
        writeln!(out, "from         {}, {} ({})", paper.title, paper.source, paper.year)?;
    }
    writeln!(out, "parts        {}", parts(entry)?.join(", "))?;
    writeln!(out, "calibration  {}", calibration(entry)?)?;
    writeln!(out, "formats      {}; without --format {}", card.formats, card.default_format)?;
    for (key, value) in defaults(entry)?.as_object().into_iter().flatten() {
        writeln!(out, "--set        {key}={value}")?;
    }
    if !card.claims.is_empty() {
        let mut table = Table::new(&[
            ("published", Left),
            ("metric", Left),
            ("it", Right),
            ("beside", Right),
            ("in", Left),
        ]);
        for claim in card.claims {
            let (name, figure) = claim.baseline;
            table.row([
                claim.setting.to_owned(),
                claim.metric.to_owned(),
                claim.published.to_string(),
                format!("{name} {figure}"),
                claim.source.to_owned(),
            ]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    Ok(())
}

fn as_json(entry: &MethodEntry) -> Result<Value> {
    let card = entry.card;
    let claims = card.claims.iter().map(|claim| {
        json!({
            "setting": claim.setting,
            "metric": claim.metric,
            "published": claim.published,
            "baseline": {"method": claim.baseline.0, "published": claim.baseline.1},
            "source": claim.source,
        })
    });
    Ok(json!({
        "name": card.name,
        "summary": card.summary,
        "parts": parts(entry)?,
        "calibration": calibration(entry)? != "none",
        "formats": card.formats,
        "default_format": card.default_format,
        "settings": defaults(entry)?,
        "paper": card.paper.map(|p| json!({"title": p.title, "source": p.source, "year": p.year})),
        "claims": claims.collect::<Vec<_>>(),
    }))
}

fn parts(entry: &MethodEntry) -> Result<Vec<&'static str>> {
    Ok((entry.recipe)(&json!({}))?.names())
}

/// What calibration collects for it.
fn calibration(entry: &MethodEntry) -> Result<&'static str> {
    let needs = (entry.recipe)(&json!({}))?.needs();
    Ok(match (needs.inputs, needs.samples > 0) {
        (Inputs::Hessian, _) => "products of inputs",
        (Inputs::Magnitudes, true) => "magnitudes, samples of inputs",
        (Inputs::Magnitudes, false) => "magnitudes of inputs",
        (Inputs::None, _) => "none",
    })
}

/// Settings where none is given.
fn defaults(entry: &MethodEntry) -> Result<Value> {
    Ok((entry.settings)(&json!({}))?)
}
