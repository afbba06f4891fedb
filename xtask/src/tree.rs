//! The repository as a tree of files.

use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Folders that hold what was built or fetched, not what was written.
const SKIPPED: [&str; 6] = ["target", ".git", "node_modules", "__pycache__", "artifacts", "coverage"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Cargo at the root: the one that runs this program, or where none does, the one that is found, which tells the compilers it
/// starts which they are.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// The text of a file, by its path from the root.
pub(crate) fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// Paths from the root of all files in a folder and below, sorted; `.` stands for the root.
pub(crate) fn files(folder: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    collect(Path::new(folder), &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(root().join(folder))
        .with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file name is not UTF-8")?;
        let path = if folder == Path::new(".") { PathBuf::from(&name) } else { folder.join(&name) };
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&path, found)?;
        } else if kind.is_file() {
            found.push(path.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}
