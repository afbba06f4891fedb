//! What documents say against what is there.

use crate::tree;
use anyhow::Result;
use lowbit_hub::Catalogue;

/// The commands at the top of the README; `.ci/run` runs the second as it stands.
const COMMANDS: [&str; 2] =
    [r#"cargo run --release -- run "What is the capital of France?""#, "cargo test --workspace"];

/// Lines of a first screen.
const FIRST_SCREEN: usize = 30;

/// Relative links of documents that lead to nothing.
pub(super) fn dead_links() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for path in tree::files(".")?.iter().filter(|path| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in links(&tree::read(path)?) {
            if !tree::root().join(folder).join(&target).exists() {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    Ok(broken)
}

/// Targets of `](...)` without anchors, addresses left out.
fn links(text: &str) -> Vec<String> {
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = ends.filter_map(|(target, _)| target.split('#').next());
    targets
        .filter(|t| !t.is_empty() && !t.contains("://") && !t.contains(char::is_whitespace))
        .map(str::to_owned)
        .collect()
}

/// Tests that the table of docs/security.md names and that no source defines.
pub(super) fn missing_tests() -> Result<Vec<String>> {
    let mut sources = String::new();
    for path in tree::files("crates")?.iter().filter(|path| path.ends_with(".rs")) {
        sources += &tree::read(path)?;
    }
    let page = tree::read("docs/security.md")?;
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let names = rows.filter_map(|line| line.trim_end_matches('|').rsplit('|').next()).flat_map(|cell| {
        cell.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && !name.contains('/'))
    });
    let missing = names.filter(|name| !sources.contains(&format!("fn {name}()")));
    Ok(missing.map(|name| format!("docs/security.md: no test `{name}`")).collect())
}

/// What the README must show.
pub(super) fn readme() -> Result<Vec<String>> {
    let text = tree::read("README.md")?;
    let mut broken = Vec::new();
    let first: Vec<&str> = text.lines().take(FIRST_SCREEN).collect();
    for command in COMMANDS {
        if !first.contains(&command) {
            broken.push(format!("README.md: `{command}` is not on the first screen"));
        }
    }
    if !tree::read(".ci/run")?.lines().any(|line| line.ends_with(COMMANDS[1])) {
        broken.push(format!(".ci/run: does not run `{}`", COMMANDS[1]));
    }
    for entry in Catalogue::builtin().entries() {
        if !text.contains(&format!("`{}`", entry.name)) {
            broken.push(format!("README.md: the catalogue's `{}` is not shown", entry.name));
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn links_into_the_tree_are_found() {
        assert_eq!(links("[a](b/c.md#d) ![e](f.svg) [g](https://h) [i](#j)"), ["b/c.md", "f.svg"]);
    }
}
