//! `lowbit doctor`: what this machine offers, what would be used of it, and what stands in the way.

use crate::{env, options, report};
use anyhow::Result;
use clap::Args;
use lowbit::{
    Ctx, Isa, IsaLevel, Machine, ReadBandwidth,
    hub::{Network, Settings, Store},
    read_bandwidth,
};
use serde_json::json;
use std::{io::Write, path::Path};

/// Show what this machine offers and what would be used of it.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Memory that is read to measure: several times the last cache of most machines.
pub(crate) const BANDWIDTH_BYTES: usize = 256 << 20;
/// Passes over it; the median counts.
pub(crate) const BANDWIDTH_PASSES: usize = 7;
/// Below this even the smallest model of the catalogue and its context are tight.
const LITTLE_MEMORY: u64 = 512 << 20;

/// Something that makes lowbit slow or fail, and what to do about it.
struct Problem {
    what: String,
    next_step: &'static str,
}

impl Doctor {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let machine = Machine::detect();
        let isa = env::isa()?;
        let threads = options::threads(None)?;
        let store = Store::from_env()?;
        let bandwidth = measure(isa, threads);
        let problems = problems(&machine, isa, threads, store.settings());
        if self.json {
            return report::json(
                out,
                &as_json(&machine, isa, threads, store.settings(), &bandwidth, &problems),
            );
        }
        write(out, &machine, isa, threads, store.settings(), &bandwidth)?;
        if problems.is_empty() {
            return Ok(writeln!(out, "\nnothing is wrong")?);
        }
        writeln!(out)?;
        for problem in &problems {
            writeln!(out, "problem: {}\n  {}", problem.what, problem.next_step)?;
        }
        Ok(())
    }
}

/// With one worker, and with all where that is more.
fn measure(isa: Isa, threads: usize) -> Vec<ReadBandwidth> {
    let mut counts = vec![1, threads];
    counts.dedup();
    let measure = |threads| read_bandwidth(&Ctx::new(isa, threads), BANDWIDTH_BYTES, BANDWIDTH_PASSES);
    counts.into_iter().map(measure).collect()
}

fn write(
    out: &mut dyn Write,
    machine: &Machine,
    isa: Isa,
    threads: usize,
    settings: &Settings,
    bandwidth: &[ReadBandwidth],
) -> Result<()> {
    let unknown = || "unknown".to_owned();
    let levels: Vec<&str> = Isa::available().map(|isa| isa.level().name()).collect();
    let caches: Vec<String> = machine
        .caches
        .iter()
        .map(|cache| format!("L{} {} (shared by CPUs {})", cache.level, binary(cache.bytes), cache.shared_by))
        .collect();
    let mut fields = vec![
        ("processor", machine.cpu.clone().unwrap_or_else(unknown)),
        (
            "cores",
            format!(
                "{}, {} logical CPUs usable",
                machine.cores.map_or_else(unknown, |cores| cores.to_string()),
                machine.usable_cpus
            ),
        ),
        ("instructions", format!("{} of {}", isa.level(), levels.join(", "))),
        ("threads", format!("{threads} would be used")),
        ("caches", if caches.is_empty() { unknown() } else { caches.join("; ") }),
        ("memory", machine.memory_bytes.map_or_else(unknown, binary)),
        ("memory limit", machine.memory_limit_bytes.map_or_else(|| "none".to_owned(), binary)),
        ("CPU limit", machine.cpu_quota.map_or_else(|| "none".to_owned(), |q| format!("{q} CPUs of time"))),
    ];
    for measured in bandwidth {
        let (median, best) = (measured.median_gb_per_s, measured.best_gb_per_s);
        let workers = report::count(measured.threads, "thread");
        fields.push(("read bandwidth", format!("{median:.1} GB/s with {workers} (best {best:.1})")));
    }
    fields.push(("models", settings.home.display().to_string()));
    fields.push(("hub cache", settings.hub_cache.display().to_string()));
    fields.push(("hub", hub(settings)));
    Ok(report::fields(out, &fields)?)
}

fn as_json(
    machine: &Machine,
    isa: Isa,
    threads: usize,
    settings: &Settings,
    bandwidth: &[ReadBandwidth],
    problems: &[Problem],
) -> serde_json::Value {
    json!({
        "cpu": machine.cpu,
        "cores": machine.cores,
        "usable_cpus": machine.usable_cpus,
        "isa": {
            "available": Isa::available().map(|isa| isa.level().name()).collect::<Vec<_>>(),
            "chosen": isa.level().name(),
        },
        "threads": threads,
        "caches": machine.caches.iter().map(|cache| json!({
            "level": cache.level, "bytes": cache.bytes, "shared_by": cache.shared_by,
        })).collect::<Vec<_>>(),
        "memory_bytes": machine.memory_bytes,
        "memory_limit_bytes": machine.memory_limit_bytes,
        "cpu_quota": machine.cpu_quota,
        "read_bandwidth": bandwidth.iter().map(bandwidth_json).collect::<Vec<_>>(),
        "models": settings.home,
        "hub_cache": settings.hub_cache,
        "hub": hub(settings),
        "problems": problems.iter().map(|problem| json!({
            "what": problem.what, "next_step": problem.next_step,
        })).collect::<Vec<_>>(),
    })
}

pub(crate) fn bandwidth_json(measured: &ReadBandwidth) -> serde_json::Value {
    json!({
        "threads": measured.threads,
        "bytes": measured.bytes,
        "median_gb_per_s": measured.median_gb_per_s,
        "best_gb_per_s": measured.best_gb_per_s,
    })
}

fn hub(settings: &Settings) -> String {
    match settings.network {
        Network::Online => settings.endpoint.clone(),
        Network::Offline => format!("{}, not to be contacted (HF_HUB_OFFLINE)", settings.endpoint),
    }
}

fn problems(machine: &Machine, isa: Isa, threads: usize, settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |what: String, next_step| problems.push(Problem { what, next_step });
    let best = Isa::detect().level();
    if isa.level() < best {
        add(format!("LOWBIT_ISA lowers the instructions from {best} to {}", isa.level()), "unset LOWBIT_ISA");
    } else if best == IsaLevel::Scalar && cfg!(target_arch = "x86_64") {
        add(
            "this CPU has no AVX2".to_owned(),
            "models run, but many times slower; a CPU since 2013 (Intel) or 2015 (AMD) has it",
        );
    }
    if threads > machine.usable_cpus {
        add(
            format!("{threads} threads on {} usable CPUs wait for each other", machine.usable_cpus),
            "lower LOWBIT_THREADS",
        );
    }
    if let Some(quota) = machine.cpu_quota.filter(|quota| *quota < threads as f64) {
        add(
            format!("{threads} threads share {quota} CPUs of time"),
            "raise the container's CPU limit, or lower LOWBIT_THREADS",
        );
    }
    let memory = machine.memory_limit_bytes.into_iter().chain(machine.memory_bytes).min();
    if let Some(memory) = memory.filter(|memory| *memory < LITTLE_MEMORY) {
        add(
            format!("only {} of memory", binary(memory)),
            "raise the memory limit, or keep to small models and contexts",
        );
    }
    for (folder, next_step) in [
        (&settings.home, "set LOWBIT_HOME to a folder that can be written"),
        (&settings.hub_cache, "set HF_HUB_CACHE to a folder that can be written"),
    ] {
        if let Err(reason) = can_write(folder) {
            add(format!("models cannot be kept in {}: {reason}", folder.display()), next_step);
        }
    }
    problems
}

/// Tries a file in the folder, or where it does not exist in the nearest one around it.
fn can_write(folder: &Path) -> Result<(), String> {
    let Some(existing) = folder.ancestors().find(|folder| folder.exists()) else {
        return Err("no folder around it exists".to_owned());
    };
    let probe = existing.join(format!(".lowbit-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(|error| error.to_string())
}

/// Bytes in the binary units that memory and caches are sold in.
fn binary(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >> shift > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, shift)| {
            let value = bytes as f64 / (1u64 << shift) as f64;
            if value.fract() == 0.0 { format!("{value} {name}") } else { format!("{value:.1} {name}") }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_yet_is_judged_by_the_one_around_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(can_write(&folder.path().join("a/b")), Ok(()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(can_write(&file.join("below")).is_err());
    }

    #[test]
    fn binary_units() {
        assert_eq!(
            (binary(48 << 10), binary(3 << 29), binary(12)),
            ("48 KiB".into(), "1.5 GiB".into(), "12 B".into())
        );
    }
}
