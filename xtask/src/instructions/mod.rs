//! Instructions a weight of the product kernels: a figure that neither a busy machine nor its clock changes.
//!
//! Scalar code and AVX2 run under callgrind, which counts; it knows no AVX-512, whose inner loops are counted in the
//! disassembly. Both come from one example of `lowbit-kernels`, built for this with symbols that tell const parameters apart.
//! The figures are kept in `bench/record/instructions.csv`, and one that grows is a failed check. Counts belong to a
//! compiler: with another one than the record's, differences are told and fail nothing.

mod callgrind;
mod disassembly;
mod record;

use crate::tree;
use anyhow::{Context, Result, bail, ensure};
use record::Record;
use std::{path::PathBuf, process::Command};

/// How much a count may grow: moved code and another order of registers change it by less.
const MOST_GROWTH: f64 = 0.03;

/// What to do with the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Print them.
    Print,
    /// Compare them with the record.
    Check,
    /// Make them the record.
    Write,
}

/// Counts, and does with the counts what `mode` says.
pub(crate) fn run(mode: Mode) -> Result<()> {
    if let Some(reason) = missing() {
        ensure!(mode != Mode::Write, "cannot count instructions: {reason}");
        println!("skipped: {reason}");
        return Ok(());
    }
    let example = build()?;
    let mut counts = callgrind::counts(&example)?;
    counts.extend(disassembly::counts(&example)?);
    let now = Record { compiler: compiler()?, counts };
    match mode {
        Mode::Print => print!("{}", now.to_csv()),
        Mode::Write => now.write()?,
        Mode::Check => check(&Record::read()?, &now)?,
    }
    Ok(())
}

/// Why instructions cannot be counted here.
fn missing() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the record is of x86-64".to_owned());
    }
    let tool = ["valgrind", "objdump"]
        .into_iter()
        .find(|tool| Command::new(tool).arg("--version").output().is_err());
    tool.map(|tool| format!("{tool} is not installed"))
}

/// Builds the example in a folder of its own, as its flags are not those of other builds.
fn build() -> Result<PathBuf> {
    let target = tree::root().join("target/instructions");
    let status = tree::cargo()
        .args(["build", "--quiet", "--release", "--package", "lowbit-kernels", "--example", "instructions"])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-C symbol-mangling-version=v0")
        .status()?;
    ensure!(status.success(), "the example does not build");
    Ok(target.join("release/examples/instructions"))
}

/// The compiler that builds it, in its own words.
fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").current_dir(tree::root()).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn check(recorded: &Record, now: &Record) -> Result<()> {
    let mut grown = Vec::new();
    for count in &now.counts {
        let before = recorded.find(count).map(|before| before.per_weight);
        match before {
            None => grown.push(format!("{}: {:.4}, not in the record", count.name(), count.per_weight)),
            Some(before) if count.per_weight > before * (1.0 + MOST_GROWTH) => {
                let more = 100.0 * (count.per_weight / before - 1.0);
                grown.push(format!(
                    "{}: {before:.4} became {:.4}, {more:.1} % more",
                    count.name(),
                    count.per_weight
                ));
            }
            Some(_) => {}
        }
    }
    let lost = recorded.counts.iter().filter(|count| now.find(count).is_none());
    grown.extend(lost.map(|count| format!("{}: in the record, and no longer counted", count.name())));
    println!("{} counts, {} of them not as recorded", now.counts.len(), grown.len());
    grown.iter().for_each(|line| println!("  {line}"));
    if grown.is_empty() {
        return Ok(());
    }
    if recorded.compiler != now.compiler {
        println!("warning: the record is of {}, this is {}: nothing failed", recorded.compiler, now.compiler);
        return Ok(());
    }
    bail!(
        "counts differ; where that is meant, `cargo run -p xtask -- instructions --write` and say why in the commit"
    )
}

/// Runs a command and returns what it printed on both streams.
fn output(command: &mut Command) -> Result<(String, String)> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{command:?} failed:\n{err}");
    Ok((out, err))
}

#[cfg(test)]
mod tests {
    use super::{record::Count, *};

    fn record(compiler: &str, per_weight: f64) -> Record {
        let count =
            Count { level: "avx2", kernel: "lut8".into(), weights: "int2-sym-g128".into(), per_weight };
        Record { compiler: compiler.into(), counts: vec![count] }
    }

    #[test]
    fn growth_fails_with_the_compiler_of_the_record_only() {
        let before = record("rustc 1", 1.0);
        assert!(check(&before, &record("rustc 1", 1.029)).is_ok());
        assert!(check(&before, &record("rustc 1", 0.5)).is_ok());
        assert!(check(&before, &record("rustc 1", 1.031)).is_err());
        assert!(check(&before, &record("rustc 2", 2.0)).is_ok());
        let empty = Record { compiler: "rustc 1".into(), counts: Vec::new() };
        assert!(check(&before, &empty).is_err() && check(&empty, &before).is_err());
    }
}
