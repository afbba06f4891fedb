//! `docs/time-against-bits.svg`: one token times 4096x4096 on one thread, by the bits of a weight.
//!
//! Drawn from the newest record of `lowbit bench --kernels --record bench/record` for each level, and from
//! `bench/record/peers.csv`, which says how other engines' figures came about.

mod svg;

use crate::tree;
use anyhow::{Context, Result, ensure};
use svg::{Chart, Series};

const FIGURE: &str = "docs/time-against-bits.svg";
const PEERS: &str = "bench/record/peers.csv";

/// What is compared: look-up in tables of 8 bits, weights in the caches.
const WANTED: [(&str, &str); 6] = [
    ("n", "4096"),
    ("k", "4096"),
    ("tokens", "1"),
    ("threads", "1"),
    ("cache", "warm"),
    ("activations", "int8"),
];

/// Writes the figure.
pub(crate) fn write() -> Result<()> {
    std::fs::write(tree::root().join(FIGURE), figure()?).with_context(|| format!("cannot write {FIGURE}"))
}

/// Fails where the figure is not what the records give.
pub(crate) fn check() -> Result<()> {
    ensure!(
        tree::read(FIGURE)? == figure()?,
        "{FIGURE} is not that of the records: cargo run -p xtask -- figures"
    );
    Ok(())
}

fn figure() -> Result<String> {
    let mut series = Vec::new();
    for level in ["avx512", "avx2"] {
        let points = newest(level)?;
        series.extend((!points.is_empty()).then(|| Series {
            name: format!("lowbit, {level}"),
            ours: true,
            points,
        }));
    }
    series.extend(peers()?);
    let chart = Chart {
        title: "One token times 4096×4096 on one thread, weights in cache",
        x: "bits of a weight",
        y: "µs",
        series,
    };
    Ok(chart.draw())
}

/// `(bits, median µs)` of the grouped integers of the newest record that has a level.
fn newest(level: &str) -> Result<Vec<(f64, f64)>> {
    let mut records: Vec<String> =
        tree::files("bench/record")?.into_iter().filter(|path| path.matches('/').count() == 3).collect();
    // By date, which is the name of the file.
    records.sort_by_key(|path| path.rsplit('/').next().map(str::to_owned));
    for path in records.iter().rev() {
        let text = tree::read(path)?;
        let table = Table::parse(&text);
        let mut points = Vec::new();
        for row in &table.rows {
            let cell = |name| table.cell(row, name).with_context(|| format!("{path} has no column {name}"));
            let format = cell("format")?;
            let bits = format.strip_prefix("int").and_then(|rest| rest.strip_suffix("-sym-g128"));
            let wanted = WANTED.iter().all(|(name, value)| table.cell(row, name) == Some(*value));
            if let (Some(bits), true, true) = (bits, wanted, cell("isa")? == level) {
                points.push((bits.parse()?, cell("median_us")?.parse()?));
            }
        }
        if !points.is_empty() {
            return Ok(points);
        }
    }
    Ok(Vec::new())
}

fn peers() -> Result<Vec<Series>> {
    let text = tree::read(PEERS)?;
    let table = Table::parse(&text);
    let mut series: Vec<Series> = Vec::new();
    for row in &table.rows {
        let cell = |name| table.cell(row, name).with_context(|| format!("{PEERS} has no column {name}"));
        let level = cell("level")?;
        let name = if level.is_empty() {
            cell("engine")?.to_owned()
        } else {
            format!("{}, {level}", cell("engine")?)
        };
        let point = (cell("bits")?.parse()?, cell("us")?.parse()?);
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name, ours: false, points: vec![point] }),
        }
    }
    Ok(series)
}

/// A file of comma-separated values without quotes.
struct Table<'a> {
    head: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
}

impl<'a> Table<'a> {
    fn parse(text: &'a str) -> Self {
        let mut lines = text.lines().map(|line| line.split(',').collect());
        Self { head: lines.next().unwrap_or_default(), rows: lines.collect() }
    }

    fn cell(&self, row: &[&'a str], name: &str) -> Option<&'a str> {
        row.get(self.head.iter().position(|head| *head == name)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_that_of_the_records() {
        check().unwrap();
    }

    #[test]
    fn cells_are_found_by_the_name_of_their_column() {
        let table = Table::parse("a,b\n1,2\n3,4\n");
        assert_eq!(table.cell(&table.rows[1], "b"), Some("4"));
        assert_eq!(table.cell(&table.rows[0], "c"), None);
    }
}
