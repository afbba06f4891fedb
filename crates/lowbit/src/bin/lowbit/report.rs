//! How numbers, errors and JSON are written.

use std::io::{self, Write};

/// The message of an error with its causes, none said twice.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Many errors spell out their source already.
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Writes one JSON document.
pub(crate) fn json(out: &mut dyn Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    // Through a string: the error of a closed pipe stays an `io::Error`.
    let text = serde_json::to_string_pretty(value)?;
    Ok(writeln!(out, "{text}")?)
}

/// Bytes in decimal units, three digits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A count with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Writes `label: value` lines with the values under each other.
pub(crate) fn fields(out: &mut dyn Write, fields: &[(&str, String)]) -> io::Result<()> {
    let width = fields.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    for (label, value) in fields {
        writeln!(out, "{label:<width$}  {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn bytes_have_three_digits() {
        let cases = [(999, "999 B"), (1_000, "1.00 kB"), (98_362_432, "98.4 MB"), (999_600_000, "1.00 GB")];
        for (given, expected) in cases {
            assert_eq!(bytes(given), expected);
        }
        assert_eq!(bytes(491_400_032), "491 MB");
    }

    #[test]
    fn causes_are_listed_once() {
        let inner = io::Error::other("disk on fire");
        let error = Err::<(), _>(inner).context("cannot read a").context("loading failed").unwrap_err();
        assert_eq!(chain(&error), "loading failed: cannot read a: disk on fire");
        assert_eq!(chain(&anyhow::anyhow!("x: y").context("a: x: y")), "a: x: y");
    }
}
