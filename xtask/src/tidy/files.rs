//! Rules on single files.

use crate::tree;
use anyhow::Result;

/// Lines of a source file.
const MOST_LINES: usize = 600;

/// Lines of a file of tests, which may hold a long table of cases.
const MOST_TEST_LINES: usize = 700;

/// Beginnings of paths that exist on one machine only, in pieces lest this file break its own rule.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Use", "rs/"), concat!("/ho", "me/")];

/// Users that examples and tests are about.
const EXAMPLE_USERS: [&str; 3] = ["a", "user", "you"];

/// Sources that are longer than a file should be.
pub(super) fn long() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for path in tree::files(".")?.iter().filter(|path| path.ends_with(".rs") || path.ends_with(".py")) {
        let most = if path.contains("/tests/") { MOST_TEST_LINES } else { MOST_LINES };
        let lines = tree::read(path)?.lines().count();
        if lines > most {
            broken.push(format!("{path}: {lines} lines, at most {most}"));
        }
    }
    Ok(broken)
}

/// Files that mention a path of the machine they were made on.
pub(super) fn machine_paths() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for path in tree::files(".")? {
        let bytes = std::fs::read(tree::root().join(&path))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for (number, line) in text.lines().enumerate() {
            if names_machine(line) {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    Ok(broken)
}

fn names_machine(line: &str) -> bool {
    MACHINE_PATHS.iter().any(|start| {
        line.match_indices(start).any(|(at, _)| {
            let user =
                line[at + start.len()..].split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let inside_a_word = line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
            !inside_a_word && !EXAMPLE_USERS.contains(&user)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{MACHINE_PATHS, names_machine};

    #[test]
    fn paths_of_machines_are_told_from_examples() {
        for start in MACHINE_PATHS {
            assert!(names_machine(&format!("see {start}models")), "{start}");
            assert!(!names_machine(&format!("{start}user/x")), "{start}");
            assert!(!names_machine(&format!("https://host.org{start}models")), "{start}");
        }
    }
}
