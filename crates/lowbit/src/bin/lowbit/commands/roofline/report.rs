//! What is said of a model on a machine: a table for each pass, and a drawing.

use crate::{
    report,
    table::{
        Align::{Left, Right},
        Table as Text,
    },
};
use anyhow::Result;
use lowbit::{
    Linears,
    sim::{
        self, Mark, Numbers, Op, Pass, Precision,
        machines::{Bound, Cost, Roofline},
    },
};
use serde_json::{Value, json};
use std::io::Write;

/// The operators of a pass.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) pass: Pass,
    pub(super) lines: Vec<Line>,
    /// What the model took for the pass.
    pub(super) measured: Option<Measured>,
}

/// Seconds of runs of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) median_s: f64,
    pub(super) fastest_s: f64,
}

/// Least share of a pass that an operator takes to be drawn.
const DRAWN: f64 = 0.005;

/// Median over fastest run from which on a machine is called busy.
const BUSY: f64 = 1.15;

/// An operator and what it takes, once.
pub(super) struct Line {
    pub(super) op: Op,
    pub(super) cost: Option<Cost>,
    /// Seconds with lowbit's kernels here.
    pub(super) predicted_s: Option<f64>,
}

impl Line {
    fn all(&self, of_one: f64) -> f64 {
        of_one * self.op.count as f64
    }

    fn least_s(&self) -> f64 {
        self.all(self.cost.map_or(0.0, |cost| cost.seconds()))
    }
}

impl Table {
    pub(super) fn new(name: &'static str, pass: Pass, ops: Vec<Op>) -> Self {
        let lines = ops.into_iter().map(|op| Line { op, cost: None, predicted_s: None }).collect();
        Self { name, pass, lines, measured: None }
    }

    /// Fills in the least times.
    pub(super) fn bound(&mut self, machine: &Roofline) {
        for line in &mut self.lines {
            line.cost = Some(machine.cost(&line.op));
        }
    }

    /// Bytes of weights read in the pass.
    pub(super) fn weight_bytes(&self) -> f64 {
        self.lines.iter().map(|line| line.all(line.op.bytes.weights)).sum()
    }

    fn least_s(&self) -> f64 {
        self.lines.iter().map(Line::least_s).sum()
    }

    /// The sum of what was predicted; what is too little to measure counts as its least time. `None` where nothing was.
    fn predicted_s(&self) -> Option<f64> {
        self.lines.iter().any(|line| line.predicted_s.is_some()).then(|| {
            let of = |line: &Line| line.predicted_s.map_or_else(|| line.least_s(), |s| line.all(s));
            self.lines.iter().map(of).sum()
        })
    }

    /// Tokens that the pass gives or reads.
    fn tokens(&self) -> f64 {
        (self.pass.sequences * self.pass.tokens) as f64
    }

    /// Lines of a kind and a format together, in order.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for line in &self.lines {
            let format = line.op.weight.as_ref().map_or_else(|| "-".to_owned(), |w| w.format.label());
            let key = (line.op.kind.name(), format, line.op.numbers);
            let at = rows.iter().position(|row| row.key == key).unwrap_or_else(|| {
                rows.push(Row { key, ..Row::default() });
                rows.len() - 1
            });
            rows[at].add(line);
        }
        rows
    }
}

/// Operators that a reader sees as one.
struct Row {
    key: (&'static str, String, Numbers),
    count: usize,
    bytes: f64,
    operations: f64,
    least_s: f64,
    memory_s: f64,
    compute_s: f64,
    predicted_s: Option<f64>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            key: ("", String::new(), Numbers::F32),
            count: 0,
            bytes: 0.0,
            operations: 0.0,
            least_s: 0.0,
            memory_s: 0.0,
            compute_s: 0.0,
            predicted_s: None,
        }
    }
}

impl Row {
    fn add(&mut self, line: &Line) {
        self.count += line.op.count;
        if let Some(cost) = &line.cost {
            self.bytes += line.all(cost.bytes);
            self.memory_s += line.all(cost.memory_s);
            self.compute_s += line.all(cost.compute_s);
        }
        self.operations += line.all(line.op.operations);
        self.least_s += line.least_s();
        if let Some(seconds) = line.predicted_s {
            *self.predicted_s.get_or_insert(0.0) += line.all(seconds);
        }
    }

    fn bound(&self) -> Bound {
        if self.memory_s >= self.compute_s { Bound::Memory } else { Bound::Compute }
    }

    fn intensity(&self) -> Option<f64> {
        (self.bytes > 0.0).then(|| self.operations / self.bytes)
    }
}

pub(super) struct Report<'a> {
    pub(super) model: &'a str,
    pub(super) linears: &'a Linears,
    pub(super) machine: &'a Roofline,
    /// What a machine of the table is.
    pub(super) what: Option<&'a str>,
    /// Workers of the measured machine.
    pub(super) threads: Option<usize>,
    pub(super) memory_bytes: Option<f64>,
    pub(super) kv_bits: f64,
    pub(super) precision: Precision,
    pub(super) tables: &'a [Table],
}

impl Report<'_> {
    /// Weights, and keys and values of all sequences after the written token.
    fn held(&self) -> (f64, f64) {
        let (spec, pass) = (&self.linears.spec, self.tables[0].pass);
        let tokens = |window: Option<usize>| (pass.past + 1).min(window.unwrap_or(usize::MAX));
        // lowbit keeps all; a window is what a machine needs at least.
        let kept: usize = spec.blocks.iter().map(|block| tokens(block.window)).sum();
        let cached = (2 * kept * spec.kv_width() * pass.sequences) as f64 * self.kv_bits / 8.0;
        (sim::matrix_bytes(self.linears) as f64, cached)
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> Result<()> {
        let machine = self.machine;
        let (weights, cached) = self.held();
        let tera = |numbers: Numbers| format!("{} {:.3}", numbers.name(), machine.peaks.of(numbers) / 1e12);
        let peaks = [Numbers::F32, Numbers::F16, Numbers::Int8 { terms: 1 }, Numbers::Int4].map(tera);
        let name = match (self.what, self.threads) {
            (Some(what), _) => what.to_owned(),
            (None, threads) => format!("this one, {}", report::count(threads.unwrap_or(1), "thread")),
        };
        let has = match self.memory_bytes {
            Some(has) if weights + cached > has => format!(" of {}: too much for it", size(has)),
            Some(has) => format!(" of {}", size(has)),
            None => String::new(),
        };
        report::fields(
            out,
            &[
                ("model", format!("{}, {}", self.model, self.linears.spec.architecture)),
                ("machine", name),
                ("memory", format!("{:.1} GB/s", machine.bytes_per_s / 1e9)),
                ("peaks", format!("{} (10^12 operations/s)", peaks.join(", "))),
                ("held", format!("{} of weights, {} of keys and values{has}", size(weights), size(cached))),
                ("activations", precision_name(self.precision).to_owned()),
            ],
        )?;
        for table in self.tables {
            writeln!(out, "\n{}: {}", table.name, describe(table))?;
            self.table(table).write(out)?;
            writeln!(out, "{}", self.summary(table))?;
        }
        Ok(())
    }

    fn table(&self, table: &Table) -> Text {
        let head = [
            ("operator", Left),
            ("weights", Left),
            ("numbers", Left),
            ("times", Right),
            ("bytes", Right),
            ("operations", Right),
            ("ops/byte", Right),
            ("bound", Left),
            ("µs at least", Right),
            ("µs predicted", Right),
            ("share", Right),
        ];
        let (least, predicted) = (table.least_s(), table.predicted_s());
        // Where nothing is predicted there is no column for it.
        let kept = |i: &usize| predicted.is_some() || head[*i].0 != "µs predicted";
        let kept: Vec<usize> = (0..head.len()).filter(kept).collect();
        let mut text = Text::new(&kept.iter().map(|i| head[*i]).collect::<Vec<_>>());
        for row in table.rows() {
            let (kind, format, numbers) = &row.key;
            let seconds =
                if predicted.is_some() { row.predicted_s.unwrap_or(row.least_s) } else { row.least_s };
            let cells = [
                (*kind).to_owned(),
                format.clone(),
                numbers.name().to_owned(),
                row.count.to_string(),
                size(row.bytes),
                count(row.operations),
                row.intensity().map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")),
                row.bound().name().to_owned(),
                format!("{:.1}", 1e6 * row.least_s),
                row.predicted_s.map_or_else(|| "-".to_owned(), |s| format!("{:.1}", 1e6 * s)),
                format!("{:.1} %", 100.0 * seconds / predicted.unwrap_or(least)),
            ];
            text.row_of(kept.iter().map(|i| cells[*i].clone()).collect());
        }
        text
    }

    /// The pass in a line.
    fn summary(&self, table: &Table) -> String {
        let of = |seconds: f64| format!("{:.2} ms ({:.2} tokens/s)", 1e3 * seconds, table.tokens() / seconds);
        let mut text = format!("at least {}", of(table.least_s()));
        let Some(predicted) = table.predicted_s() else { return text };
        text += &format!(", predicted {}", of(predicted));
        if let Some(Measured { median_s, fastest_s }) = table.measured {
            text += &format!(", measured {}", of(median_s));
            text += &format!(": predicted / measured {:.2}", predicted / median_s);
            if median_s > BUSY * fastest_s {
                text += &format!(
                    "\nthe machine was busy: the fastest run took {}, {:.2} of it predicted",
                    of(fastest_s),
                    predicted / fastest_s
                );
            }
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let machine = self.machine;
        let (weights, cached) = self.held();
        let peaks = [Numbers::F32, Numbers::F16, Numbers::Int8 { terms: 1 }, Numbers::Int4];
        let peaks: serde_json::Map<String, Value> = peaks
            .into_iter()
            .map(|numbers| (numbers.name().to_owned(), machine.peaks.of(numbers).into()))
            .collect();
        let passes: Vec<Value> = self.tables.iter().map(pass_json).collect();
        json!({
            "model": self.model,
            "architecture": self.linears.spec.architecture,
            "machine": {
                "name": machine.name,
                "threads": self.threads,
                "bytes_per_s": machine.bytes_per_s,
                "operations_per_s": peaks,
                "cache_bytes": machine.cache_bytes,
                "memory_bytes": self.memory_bytes,
            },
            "activations": self.precision,
            "kv_bits": self.kv_bits,
            "weight_bytes": weights,
            "kv_bytes": cached,
            "passes": passes,
        })
    }

    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let mut marks = Vec::new();
        let mut used: Vec<Numbers> = Vec::new();
        for (series, table) in self.tables.iter().enumerate() {
            let all = table.predicted_s().unwrap_or(table.least_s());
            for row in table.rows().iter() {
                let seconds = row.predicted_s.unwrap_or(row.least_s);
                if seconds < DRAWN * all {
                    continue;
                }
                if let Some(intensity) = row.intensity() {
                    marks.push(Mark {
                        name: row.key.0.to_owned(),
                        series,
                        intensity,
                        rate: row.operations / seconds,
                    });
                }
                if row.key.2 != Numbers::Tables && !used.contains(&row.key.2) {
                    used.push(row.key.2);
                }
            }
        }
        let ceilings: Vec<(&str, f64)> =
            used.into_iter().map(|numbers| (numbers.name(), self.machine.peaks.of(numbers))).collect();
        let reached = if self.tables.iter().any(|table| table.predicted_s().is_some()) {
            "as predicted"
        } else {
            "at best"
        };
        let machine = match self.threads {
            Some(threads) => format!("this machine, {}", report::count(threads, "thread")),
            None => self.machine.name.clone(),
        };
        let title = format!("{} on {machine}, {reached}", self.model);
        let names: Vec<&str> = self.tables.iter().map(|table| table.name).collect();
        sim::figure(&title, self.machine, &ceilings, (&names, &marks))
    }
}

fn pass_json(table: &Table) -> Value {
    let ops: Vec<Value> = table
        .lines
        .iter()
        .map(|Line { op, cost, predicted_s }| {
            json!({
                "operator": op.kind.name(),
                "times": op.count,
                "format": op.weight.as_ref().map(|weight| weight.format.label()),
                "shape": op.weight.as_ref().map(|weight| [weight.shape.n, weight.shape.k]),
                "window": op.attended.and_then(|attended| attended.window),
                "rows": op.rows,
                "numbers": op.numbers.name(),
                "weight_bytes": op.bytes.weights,
                "activation_bytes": op.bytes.activations,
                "kv_bytes_read": op.bytes.kv_read,
                "kv_bytes_written": op.bytes.kv_written,
                "memory_bytes": cost.map(|cost| cost.bytes),
                "operations": op.operations,
                "intensity": op.intensity(),
                "bound": cost.map(|cost| cost.bound().name()),
                "least_s": cost.map(|cost| cost.seconds()),
                "predicted_s": predicted_s,
            })
        })
        .collect();
    let least = table.least_s();
    json!({
        "pass": table.name,
        "sequences": table.pass.sequences,
        "tokens": table.pass.tokens,
        "past": table.pass.past,
        "weight_bytes": table.weight_bytes(),
        "least_s": least,
        "most_tokens_per_s": table.tokens() / least,
        "predicted_s": table.predicted_s(),
        "measured_s": table.measured.map(|measured| measured.median_s),
        "fastest_s": table.measured.map(|measured| measured.fastest_s),
        "operators": ops,
    })
}

fn describe(table: &Table) -> String {
    let sequences = report::count(table.pass.sequences, "sequence");
    match table.pass.tokens {
        1 if table.pass.past > 0 => {
            format!("a token of {sequences} after {}", report::count(table.pass.past, "other"))
        }
        tokens => format!("{} of {sequences}", report::count(tokens, "token")),
    }
}

fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
        Precision::Int16 => "int16 (two terms of 8 bits)",
        Precision::Int8 => "int8",
        Precision::Int4 => "int4",
    }
}

fn size(bytes: f64) -> String {
    report::bytes(bytes.round() as u64)
}

/// A number of operations with the letter of its thousands.
fn count(operations: f64) -> String {
    let bytes = report::bytes(operations.round() as u64);
    bytes.trim_end_matches('B').trim_end().to_owned()
}
