//! What machine this is: processor, caches, memory, and the limits that a container sets.
//!
//! Read from the files Linux offers; a fact that a system does not tell is `None`.

use std::{fs, path::Path};

/// Facts about the machine that explain measurements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Logical processors that this process may use at once: affinity and CPU quota included.
    pub usable_cpus: usize,
    /// Physical cores among the logical processors of the machine.
    pub cores: Option<usize>,
    /// Data and unified caches, nearest first.
    pub caches: Vec<Cache>,
    /// Memory of the machine, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory that this process's group may use, in bytes, where a limit is set.
    pub memory_limit_bytes: Option<u64>,
    /// Processors' worth of time that this process's group may use, where a limit is set.
    pub cpu_quota: Option<f64>,
}

/// One cache as a core sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Distance from the core, 1 the nearest.
    pub level: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Logical processors that share it, as the system lists them.
    pub shared_by: String,
}

impl Machine {
    /// Looks.
    pub fn detect() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let groups = control_groups();
        Self {
            cpu: field(&cpuinfo, "model name").or_else(|| field(&cpuinfo, "CPU part")).map(str::to_owned),
            usable_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cores: cores(&cpuinfo),
            caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
            memory_bytes: field(&meminfo, "MemTotal").and_then(kibibytes),
            memory_limit_bytes: groups.iter().filter_map(|g| limit(g, "memory.max")).min(),
            cpu_quota: groups.iter().filter_map(|g| quota(g)).min_by(f64::total_cmp),
        }
    }

    /// Workers to use where nobody says: one a physical core, as two on one core share its multipliers, and no more
    /// than the process may use.
    pub fn default_threads(&self) -> usize {
        self.cores.unwrap_or(self.usable_cpus).min(self.usable_cpus).max(1)
    }
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Distinct pairs of socket and core.
fn cores(cpuinfo: &str) -> Option<usize> {
    let mut pairs = Vec::new();
    for processor in cpuinfo.split("\n\n") {
        if let (Some(socket), Some(core)) = (field(processor, "physical id"), field(processor, "core id")) {
            pairs.push((socket, core));
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    (!pairs.is_empty()).then_some(pairs.len())
}

fn caches(folder: &Path) -> Vec<Cache> {
    let read = |index: usize, name: &str| fs::read_to_string(folder.join(format!("index{index}")).join(name));
    let mut found: Vec<Cache> = (0..8)
        .filter_map(|index| {
            if read(index, "type").ok()?.trim() == "Instruction" {
                return None;
            }
            let size = read(index, "size").ok()?;
            Some(Cache {
                level: read(index, "level").ok()?.trim().parse().ok()?,
                bytes: size.trim().strip_suffix('K')?.parse::<u64>().ok()? * 1024,
                shared_by: read(index, "shared_cpu_list").ok()?.trim().to_owned(),
            })
        })
        .collect();
    found.sort_by_key(|cache| cache.level);
    found
}

/// Folders of this process's control group (version 2) and of every group around it.
fn control_groups() -> Vec<std::path::PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    root.join(own).ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_path_buf).collect()
}

fn limit(group: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(group.join(name)).ok()?.trim().parse().ok()
}

fn quota(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_once_however_many_threads_they_run() {
        let text = "physical id\t: 0\ncore id\t: 0\n\nphysical id\t: 0\ncore id\t: 1\n\nphysical id\t: 0\ncore id\t: 0\n";
        assert_eq!(cores(text), Some(2));
        assert_eq!(cores(""), None);
        assert_eq!(field("MemTotal:  24 kB\n", "MemTotal").and_then(kibibytes), Some(24 * 1024));
    }

    #[test]
    fn some_worker_is_always_possible() {
        assert!(Machine::detect().default_threads() >= 1);
        assert_eq!(Machine { usable_cpus: 2, cores: Some(8), ..Machine::default() }.default_threads(), 2);
    }
}
