//! Rules of the tree that the compiler does not check.

mod dependencies;
mod documents;
mod files;
mod licences;
mod modules;
mod unsafety;

use anyhow::{Result, bail};

/// A rule: what holds, and a function that lists where it does not.
struct Rule {
    name: &'static str,
    broken: fn() -> Result<Vec<String>>,
}

static RULES: &[Rule] = &[
    Rule { name: "crates depend on each other as ARCHITECTURE.md says", broken: dependencies::broken },
    Rule { name: "unsafe code is where ARCHITECTURE.md says", broken: unsafety::broken },
    Rule { name: "every source file is a module that something declares", broken: modules::undeclared },
    Rule { name: "lists of formats and architectures are their folders", broken: modules::unlisted },
    Rule { name: "files are short", broken: files::long },
    Rule { name: "no two quantization methods share ten lines", broken: files::repeated },
    Rule { name: "no path of somebody's machine is in the tree", broken: files::machine_paths },
    Rule { name: "links in documents lead somewhere", broken: documents::dead_links },
    Rule { name: "tests that docs/security.md names exist", broken: documents::missing_tests },
    Rule {
        name: "the README shows the catalogue and the commands that are checked",
        broken: documents::readme,
    },
    Rule { name: "licences of dependencies are allowed by deny.toml", broken: licences::broken },
];

/// Checks every rule and lists what breaks it.
pub(crate) fn run() -> Result<()> {
    let mut count = 0;
    for rule in RULES {
        let broken = (rule.broken)()?;
        println!("{} {}", if broken.is_empty() { "holds  " } else { "BROKEN " }, rule.name);
        broken.iter().for_each(|line| println!("        {line}"));
        count += broken.len();
    }
    if count > 0 {
        bail!("{count} violations");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All but the licences, which cargo may have to fetch manifests for.
    #[test]
    fn the_tree_is_tidy() {
        let mut broken = Vec::new();
        for rule in &RULES[..RULES.len() - 1] {
            let lines = (rule.broken)().unwrap();
            broken.extend(lines.into_iter().map(|line| format!("{}: {line}", rule.name)));
        }
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }
}
