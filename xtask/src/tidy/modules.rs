//! Source files against what declares and lists them.

use crate::tree;
use anyhow::Result;
use lowbit_format::BlockFormat;
use lowbit_model::ARCHITECTURES;
use std::{collections::BTreeSet, path::Path};

/// Source files that no `mod` line names: the compiler does not read them, so they cannot fail.
pub(super) fn undeclared() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for path in tree::files("crates")?.iter().chain(&tree::files("xtask")?) {
        let Some(inside) = path.split_once("/src/").map(|(_, inside)| inside) else { continue };
        let file = Path::new(path);
        let (Some(stem), Some("rs")) =
            (file.file_stem().and_then(|s| s.to_str()), file.extension().and_then(|e| e.to_str()))
        else {
            continue;
        };
        if stem == "main"
            || inside == "lib.rs"
            || inside.starts_with("bin/") && inside.matches('/').count() == 1
        {
            continue;
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        // A `mod.rs` is declared by the folder above, under the folder's name.
        let (name, declaring) = match stem {
            "mod" => (folder.file_name().and_then(|n| n.to_str()).unwrap_or_default(), folder.parent()),
            _ => (stem, Some(folder)),
        };
        let declaring = declaring.unwrap_or(Path::new(""));
        let candidates = ["lib.rs", "main.rs", "mod.rs"].map(|name| declaring.join(name));
        let beside = declaring.with_extension("rs");
        let declared = candidates.iter().chain([&beside]).any(|parent| {
            tree::read(&parent.to_string_lossy()).is_ok_and(|text| {
                text.lines().any(|line| {
                    let line = line.trim();
                    line.strip_suffix(';')
                        .is_some_and(|l| l.rsplit_once("mod ").is_some_and(|(_, m)| m == name))
                })
            })
        });
        if !declared {
            broken.push(format!("{path}: no `mod {name};`"));
        }
    }
    Ok(broken)
}

/// Formats and architectures without a file of their name, and the other way round.
pub(super) fn unlisted() -> Result<Vec<String>> {
    let formats = BlockFormat::ALL.iter().map(|format| format.label().to_owned()).collect();
    let architectures = ARCHITECTURES.iter().map(|arch| arch.name.to_owned()).collect();
    let mut broken =
        compare("crates/lowbit-format/src/block", &["mod", "bits", "grid", "scales", "write"], &formats)?;
    broken.extend(compare("crates/lowbit-model/src/arch", &["mod"], &architectures)?);
    Ok(broken)
}

/// Differences between the sources of a folder, without those that are no items, and a list of names.
fn compare(folder: &str, others: &[&str], listed: &BTreeSet<String>) -> Result<Vec<String>> {
    let files = tree::files(folder)?;
    let stems =
        files.iter().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs"));
    let found: BTreeSet<String> = stems.filter(|stem| !others.contains(stem)).map(str::to_owned).collect();
    Ok(found
        .symmetric_difference(listed)
        .map(|name| format!("{folder}: {name} is only a file or only listed"))
        .collect())
}
