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

/// Equal lines one after the other that two methods must not have: what they share is a part.
const SHARED_LINES: usize = 10;

/// Runs of equal lines in the files of two quantization methods.
pub(super) fn repeated() -> Result<Vec<String>> {
    let mut files = Vec::new();
    for path in tree::files("crates/lowbit-quant/src/methods")? {
        if path.ends_with(".rs") && !path.ends_with("/mod.rs") {
            let text = tree::read(&path)?;
            files.push((path, text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()));
        }
    }
    let mut broken = Vec::new();
    for (i, (path, lines)) in files.iter().enumerate() {
        for (other, others) in &files[..i] {
            let run = longest_run(lines, others);
            if run.len() >= SHARED_LINES {
                let first = run.first().map_or("", String::as_str);
                broken.push(format!("{path} and {other} share {} lines from {first:?} on", run.len()));
            }
        }
    }
    Ok(broken)
}

/// The longest run of lines that both have.
fn longest_run<'a>(a: &'a [String], b: &[String]) -> &'a [String] {
    let mut longest = 0..0;
    // Length of the run that ends at the line before and each line of b.
    let mut before = vec![0; b.len() + 1];
    for (i, line) in a.iter().enumerate() {
        let mut here = vec![0; b.len() + 1];
        for (j, _) in b.iter().enumerate().filter(|(_, other)| *other == line) {
            here[j + 1] = before[j] + 1;
            if here[j + 1] > longest.len() {
                longest = i + 1 - here[j + 1]..i + 1;
            }
        }
        before = here;
    }
    &a[longest]
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
    use super::{MACHINE_PATHS, longest_run, names_machine};

    #[test]
    fn the_longest_run_of_equal_lines_is_found() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (lines("x a b c y a b"), lines("a b z a b c c"));
        assert_eq!(longest_run(&a, &b), lines("a b c"));
        assert!(longest_run(&a, &lines("q")).is_empty());
    }

    #[test]
    fn paths_of_machines_are_told_from_examples() {
        for start in MACHINE_PATHS {
            assert!(names_machine(&format!("see {start}models")), "{start}");
            assert!(!names_machine(&format!("{start}user/x")), "{start}");
            assert!(!names_machine(&format!("https://host.org{start}models")), "{start}");
        }
    }
}
