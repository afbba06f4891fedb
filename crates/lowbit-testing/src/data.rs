//! Files that tests use when they are there and that are not in the repository.
//!
//! Texts and reference outputs are looked for in the directory that `LOWBIT_DATA` names, by default
//! `../shared/data` beside the repository; model files in the directory that `LOWBIT_MODELS` names. A test that
//! finds none says so on standard error and returns. A variable that is set to something that is no directory is
//! a mistake and not a reason to skip: it panics.

use std::path::{Path, PathBuf};

/// The file or directory `relative` under the data directory, or `None` after printing why the test is skipped.
///
/// # Panics
/// If `LOWBIT_DATA` is set but names no directory.
pub fn data_file(relative: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    find("LOWBIT_DATA", std::env::var_os("LOWBIT_DATA").map(PathBuf::from), Some(beside), relative)
}

/// The file `name` (`smollm2.gguf`, …) under the models directory, or `None` after printing why.
///
/// # Panics
/// If `LOWBIT_MODELS` is set but names no directory.
pub fn model_file(name: &str) -> Option<PathBuf> {
    find("LOWBIT_MODELS", std::env::var_os("LOWBIT_MODELS").map(PathBuf::from), None, name)
}

fn find(variable: &str, set: Option<PathBuf>, default: Option<PathBuf>, relative: &str) -> Option<PathBuf> {
    if let Some(folder) = &set {
        assert!(folder.is_dir(), "{variable} is set to {}, which is no directory", folder.display());
    }
    let Some(folder) = set.or(default) else {
        eprintln!("skipped: {relative} is needed; set {variable} to the directory that holds it");
        return None;
    };
    let path = folder.join(relative);
    if !path.exists() {
        eprintln!("skipped: no {} ({variable} chooses the directory)", path.display());
        return None;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_goes_before_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        let (set, default) = (folder.path().to_path_buf(), other.path().to_path_buf());
        assert_eq!(find("V", Some(set.clone()), Some(default.clone()), "a"), Some(set.join("a")));
        assert_eq!(find("V", None, Some(set.clone()), "a"), Some(set.join("a")));
        assert_eq!(find("V", None, Some(default), "a"), None);
        assert_eq!(find("V", None, None, "a"), None);
    }

    #[test]
    #[should_panic(expected = "V is set to no/such/folder, which is no directory")]
    fn a_variable_that_names_no_directory_is_a_mistake() {
        find("V", Some("no/such/folder".into()), None, "a");
    }
}
