//! Counts of whole products, run under callgrind.

use super::{output, record::Count};
use anyhow::{Context, Result};
use std::{path::Path, process::Command};

/// Levels that valgrind knows the instructions of.
const LEVELS: [&str; 2] = ["scalar", "avx2"];

/// Looked up, with tables of 8 and of 16 bits.
const LOOKED_UP: [&str; 5] =
    ["int1-sym-g128", "int2-sym-g128", "int3-sym-g128", "int4-sym-g128", "ternary-g128"];

/// Packed, with activations in one and in two terms of 8 bits.
const PACKED: [&str; 4] = ["q4_0", "q4_k", "q6_k", "q8_0"];

/// Packed by groups, likewise.
const GROUPS: [&str; 2] = ["int5-asym-g128", "int8-sym-g128"];

pub(super) fn counts(example: &Path) -> Result<Vec<Count>> {
    let mut counts = Vec::new();
    for level in LEVELS {
        for (kernel, formats) in [("lut", &LOOKED_UP[..]), ("packed", &PACKED[..]), ("groups", &GROUPS[..])] {
            for activations in ["int8", "int16"] {
                for format in formats {
                    let per_weight = count(example, format, activations, level)?;
                    let kernel = format!("{kernel}-{activations}");
                    counts.push(Count { level, kernel, weights: (*format).to_owned(), per_weight });
                }
            }
        }
    }
    Ok(counts)
}

/// Instructions a weight of one product.
fn count(example: &Path, format: &str, activations: &str, level: &str) -> Result<f64> {
    let profile = example.with_extension("callgrind");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(example)
        .args([format, activations, level]);
    let (out, err) = output(&mut command)?;
    let weights: f64 = out.trim().parse().with_context(|| format!("{out:?} is no number of weights"))?;
    let counted = collected(&err).with_context(|| format!("callgrind counted nothing:\n{err}"))?;
    Ok(counted / weights)
}

/// What callgrind says it collected, if that is anything.
fn collected(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.split_once("Collected :"))?.1;
    line.trim().parse().ok().filter(|count| *count > 0.0)
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 1234\n"), Some(1234.0));
        assert_eq!(collected("==7== Collected : 0\n"), None);
    }
}
