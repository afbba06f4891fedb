//! `docs/cli.md`: what the program says of itself, command by command.

use crate::tree;
use anyhow::{Context, Result, ensure};
use lowbit_hub::VARIABLES;
use std::process::Command;

pub(super) fn page() -> Result<String> {
    // With the features of the whole workspace, as tests are built: there is little left to do after them.
    let mut build = tree::cargo();
    build.args(["build", "--quiet", "--workspace", "--bins"]);
    // What cargo told this program about its own package: build scripts that ask for such variables would run again, and
    // whatever depends on them be built anew.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            build.env_remove(name);
        }
    }
    ensure!(build.status()?.success(), "lowbit does not build");
    let main = help(&[])?;
    let mut text = format!(
        "# Commands\n\n\
         Results go to standard output, messages to standard error; the exit status is 0 only on success.\n\n{}",
        fence(&main)
    );
    for command in commands(&main) {
        text += &format!("\n## lowbit {command}\n\n{}", fence(&help(&[&command])?));
    }
    text += "\n## Environment of downloads\n\n";
    text += &super::table(
        &["variable", "what it does"],
        VARIABLES.iter().map(|v| vec![format!("`{}`", v.name), v.description.to_owned()]),
    );
    Ok(text)
}

/// What `lowbit ARGUMENTS --help` prints, at a width that does not depend on the terminal.
fn help(arguments: &[&str]) -> Result<String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(tree::root().join("target"), Into::into);
    let output = Command::new(target.join("debug/lowbit"))
        .args(arguments)
        .arg("--help")
        .env("COLUMNS", "100")
        .output()
        .context("cannot run the built lowbit")?;
    ensure!(output.status.success(), "lowbit {arguments:?} --help failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// The names under the heading `Commands:`.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let entries = lines.take_while(|line| !line.is_empty());
    // Descriptions that wrap are indented further than names.
    let names = entries.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn fence(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n", lines.join("\n").trim_end())
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_are_found_in_the_help() {
        let help =
            "Usage: x\n\nCommands:\n  pull  Fetches a\n        model\n  help  Prints\n\nOptions:\n  -h\n";
        assert_eq!(super::commands(help), ["pull"]);
    }
}
