//! The rows that were measured, as a table or JSON.

use super::{Bounds, size};
use crate::{
    options::Activations,
    report as write,
    table::{
        Align::{Left, Right},
        Table,
    },
};
use anyhow::Result;
use lowbit::{Isa, Machine};
use lowbit_format::NK;
use serde_json::{Value, json};
use std::io::Write;

/// One product with one number of workers.
pub(super) struct Row {
    pub(super) shape: NK,
    pub(super) format: String,
    /// As it lies in memory.
    pub(super) bits_per_weight: f64,
    pub(super) activations: Activations,
    pub(super) tokens: usize,
    pub(super) threads: usize,
    /// Whether weights came from memory.
    pub(super) cold: bool,
    pub(super) kernel: String,
    pub(super) min_us: f64,
    pub(super) median_us: f64,
    /// Bytes of weights, once for all tokens.
    pub(super) gb_per_s: f64,
    pub(super) bandwidth_gb_per_s: f64,
    pub(super) g_mac_per_s: f64,
    pub(super) peak_g_mac_per_s: f64,
    pub(super) nmse: f64,
    /// Energy of the whole machine during a product.
    pub(super) joules: Option<f64>,
}

impl Row {
    pub(super) fn cache(&self) -> &'static str {
        if self.cold { "cold" } else { "warm" }
    }
}

/// A whole run.
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) isa: Isa,
    pub(super) rows: Vec<Row>,
    pub(super) left_out: Vec<String>,
    pub(super) bounds: Vec<Bounds>,
    /// Why energy was not counted, where it was asked for.
    pub(super) no_energy: Option<String>,
}

impl Report {
    pub(super) fn write(&self, out: &mut dyn Write) -> Result<()> {
        let cpu = self.machine.cpu.as_deref().unwrap_or("unknown");
        write::fields(out, &[("processor", cpu.to_owned()), ("instructions", self.isa.level().to_string())])?;
        for Bounds { bandwidth, peak } in &self.bounds {
            let workers = write::count(bandwidth.threads, "thread");
            let (read, dot) = (bandwidth.median_gb_per_s, peak.median_g_mac_per_s);
            writeln!(out, "with {workers}: reads {read:.1} GB/s, int8 dot products {dot:.0} G MAC/s")?;
        }
        for reason in &self.left_out {
            writeln!(out, "left out: {reason}")?;
        }
        if let Some(reason) = &self.no_energy {
            writeln!(out, "energy was not counted: {reason}")?;
        }
        writeln!(out)?;
        let mut table = Table::new(&[
            ("shape", Left),
            ("format", Left),
            ("bits", Right),
            ("tokens", Right),
            ("threads", Right),
            ("kernel", Left),
            ("µs min", Right),
            ("median", Right),
            ("GB/s", Right),
            ("of reads", Right),
            ("G MAC/s", Right),
            ("of peak", Right),
            ("NMSE", Right),
            ("mJ", Right),
        ]);
        for row in &self.rows {
            table.row([
                size(row.shape),
                row.format.clone(),
                format!("{:.3}", row.bits_per_weight),
                row.tokens.to_string(),
                row.threads.to_string(),
                row.kernel.clone(),
                format!("{:.1}", row.min_us),
                format!("{:.1}", row.median_us),
                format!("{:.1}", row.gb_per_s),
                percent(row.gb_per_s / row.bandwidth_gb_per_s),
                format!("{:.1}", row.g_mac_per_s),
                percent(row.g_mac_per_s / row.peak_g_mac_per_s),
                format!("{:.1e}", row.nmse),
                row.joules.map_or_else(|| "-".to_owned(), |joules| format!("{:.3}", 1e3 * joules)),
            ]);
        }
        Ok(table.write(out)?)
    }

    pub(super) fn json(&self) -> Value {
        let bounds = self.bounds.iter().map(|Bounds { bandwidth, peak }| {
            json!({
                "threads": bandwidth.threads,
                "read_gb_per_s": bandwidth.median_gb_per_s,
                "dot_g_mac_per_s": peak.median_g_mac_per_s,
            })
        });
        json!({
            "cpu": self.machine.cpu,
            "isa": self.isa.level().name(),
            "bounds": bounds.collect::<Vec<_>>(),
            "left_out": self.left_out,
            "no_energy": self.no_energy,
            "rows": self.rows.iter().map(row_json).collect::<Vec<_>>(),
        })
    }
}

fn row_json(row: &Row) -> Value {
    json!({
        "n": row.shape.n,
        "k": row.shape.k,
        "format": row.format,
        "bits_per_weight": row.bits_per_weight,
        "activations": row.activations,
        "tokens": row.tokens,
        "threads": row.threads,
        "cache": row.cache(),
        "kernel": row.kernel,
        "min_us": row.min_us,
        "median_us": row.median_us,
        "gb_per_s": row.gb_per_s,
        "bandwidth_share": row.gb_per_s / row.bandwidth_gb_per_s,
        "g_mac_per_s": row.g_mac_per_s,
        "peak_share": row.g_mac_per_s / row.peak_g_mac_per_s,
        "nmse": row.nmse,
        "joules": row.joules,
    })
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
