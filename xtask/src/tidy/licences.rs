//! Licences of everything that is linked or built, against the list in deny.toml.
//!
//! `cargo deny check` does more; this needs nothing but cargo.

use crate::tree;
use anyhow::{Context, Result, ensure};

pub(super) fn broken() -> Result<Vec<String>> {
    let rules: toml::Table = tree::read("deny.toml")?.parse()?;
    let allowed = rules.get("licenses").and_then(|section| section.get("allow")?.as_array());
    let allowed: Vec<&str> =
        allowed.context("deny.toml has no licenses.allow")?.iter().filter_map(toml::Value::as_str).collect();
    let output = tree::cargo().args(["metadata", "--format-version", "1", "--locked"]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let broken = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("none given");
        (!permits(licence, &allowed))
            .then(|| format!("{} {}: {licence}", package["name"], package["version"]))
    });
    Ok(broken.collect())
}

/// Whether an SPDX expression can be satisfied by allowed licences. `/` is an older way to write `OR`.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut holds = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        holds |= all(words, at, allowed);
    }
    holds
}

fn all(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut holds = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        holds &= one(words, at, allowed);
    }
    holds
}

fn one(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let holds = any(words, at, allowed);
        *at += 1;
        return holds;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn expressions_are_judged_by_their_operators() {
        let allowed = ["MIT", "ISC"];
        for (expression, holds) in [
            ("MIT", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND ISC", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("(MIT OR ISC) AND GPL-3.0", false),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("MIT WITH Some-exception", false),
            ("MIT ISC", false),
            ("", false),
        ] {
            assert_eq!(permits(expression, &allowed), holds, "{expression}");
        }
    }
}
