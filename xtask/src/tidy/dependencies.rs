//! The crate table of ARCHITECTURE.md against the manifests: which crate builds on which.

use crate::tree;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// A row of the crate table.
pub(super) struct Row {
    /// Name of the crate.
    pub(super) name: String,
    /// Crates of ours that it builds on.
    builds_on: BTreeSet<String>,
    /// What it says of unsafe code.
    pub(super) unsafety: String,
}

/// The crate table: `| [name](...) | purpose | builds on | unsafe |`, names of ours without `lowbit-`.
pub(super) fn table() -> Result<Vec<Row>> {
    Ok(parse(&tree::read("ARCHITECTURE.md")?))
}

fn parse(text: &str) -> Vec<Row> {
    let rows = text.lines().filter(|line| line.starts_with("| [`lowbit"));
    rows.filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, builds_on, unsafety] = cells[..] else { return None };
        let name = name.split('`').nth(1)?.to_owned();
        let builds_on = builds_on.split(", ").filter(|name| *name != "–");
        let builds_on = builds_on.map(|name| format!("lowbit-{name}")).collect();
        Some(Row { name, builds_on, unsafety: unsafety.to_owned() })
    })
    .collect()
}

/// Folders of `crates/`.
pub(super) fn crates() -> Result<BTreeSet<String>> {
    let manifests = tree::files("crates")?.into_iter().filter(|path| path.ends_with("/Cargo.toml"));
    Ok(manifests.filter_map(|path| path.split('/').nth(1).map(str::to_owned)).collect())
}

pub(super) fn broken() -> Result<Vec<String>> {
    let table = table()?;
    let mut broken = Vec::new();
    let listed: BTreeSet<String> = table.iter().map(|row| row.name.clone()).collect();
    for name in crates()?.symmetric_difference(&listed) {
        broken.push(format!("{name} is in only one of crates/ and the table"));
    }
    for row in table.iter().filter(|row| listed.contains(&row.name)) {
        let path = format!("crates/{}/Cargo.toml", row.name);
        let manifest: toml::Table = tree::read(&path)?.parse().with_context(|| path.clone())?;
        let section = manifest.get("dependencies").and_then(toml::Value::as_table);
        let names = section.into_iter().flat_map(|section| section.keys());
        let found: BTreeSet<String> = names.filter(|name| name.starts_with("lowbit")).cloned().collect();
        for name in found.difference(&row.builds_on) {
            broken.push(format!("{path}: {name} is a dependency that the table does not allow"));
        }
        for name in row.builds_on.difference(&found) {
            broken.push(format!("{path}: {name} is in the table and no dependency"));
        }
        if found.contains("lowbit-testing") {
            broken.push(format!("{path}: lowbit-testing is for tests only"));
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let rows = parse(
            "| Crate |\n| [`lowbit-io`](crates/lowbit-io) | files | format, text | one module |\n| [`lowbit`](x) | y | – | forbid |\n",
        );
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].name, "lowbit-io");
        assert_eq!(Vec::from_iter(&rows[0].builds_on), ["lowbit-format", "lowbit-text"]);
        assert_eq!(rows[0].unsafety, "one module");
        assert!(rows[1].builds_on.is_empty());
    }
}
