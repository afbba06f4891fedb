//! Energy as the processor counts it, through Linux's power capping: `/sys/class/powercap/intel-rapl:*`.
//!
//! Packages and their memory are added up; what they are made of, and what the whole platform takes, are counted in other
//! zones and left out. Counters are of the machine: of everything that runs on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ZONES: &str = "/sys/class/powercap";

/// The machine's counters.
pub(crate) struct Meter {
    zones: Vec<Zone>,
}

struct Zone {
    counter: PathBuf,
    /// Where it starts again from zero, in microjoules.
    range: u64,
}

/// What the counters stood at.
pub(crate) struct Reading(Vec<u64>);

impl Meter {
    /// Finds the counters, or says why there are none.
    pub(crate) fn open() -> Result<Self, String> {
        Self::of(Path::new(ZONES))
    }

    fn of(folder: &Path) -> Result<Self, String> {
        let entries = fs::read_dir(folder).map_err(|_| format!("there is no {}", folder.display()))?;
        let mut zones = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let text = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
            let name = text("name");
            if !name.starts_with("package-") && name.trim() != "dram" {
                continue;
            }
            let counter = path.join("energy_uj");
            read(&counter).map_err(|error| format!("{} cannot be read: {error}", counter.display()))?;
            zones.push(Zone {
                counter,
                range: text("max_energy_range_uj").trim().parse().unwrap_or(u64::MAX),
            });
        }
        match zones.is_empty() {
            true => Err(format!("{} has no counter of a package", folder.display())),
            false => Ok(Self { zones }),
        }
    }

    /// What the counters stand at; a counter that went away stands still.
    pub(crate) fn read(&self) -> Reading {
        Reading(self.zones.iter().map(|zone| read(&zone.counter).unwrap_or_default()).collect())
    }

    /// What was counted since, in joules. Counters start again every few minutes at least; a second time is not noticed.
    pub(crate) fn joules_since(&self, before: &Reading) -> f64 {
        let now = self.read();
        let zones = self.zones.iter().zip(before.0.iter().zip(&now.0));
        let counted = zones.map(|(zone, (before, now))| match now.checked_sub(*before) {
            Some(counted) => counted,
            None => (zone.range - before.min(&zone.range)) + now,
        });
        counted.sum::<u64>() as f64 / 1e6
    }
}

fn read(counter: &Path) -> std::io::Result<u64> {
    let text = fs::read_to_string(counter)?;
    text.trim().parse().map_err(|_| std::io::Error::other(format!("{:?} is no number", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_memory_are_added_up_across_the_end_of_a_counter() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Meter::of(&folder.path().join("none")).is_err());
        assert!(Meter::of(folder.path()).is_err());
        let set = |zone: &str, name: &str, energy: u64| {
            let zone = folder.path().join(zone);
            fs::create_dir_all(&zone).unwrap();
            for (file, text) in
                [("name", name), ("max_energy_range_uj", "10000000"), ("energy_uj", &energy.to_string())]
            {
                fs::write(zone.join(file), format!("{text}\n")).unwrap();
            }
        };
        set("intel-rapl:0", "package-0", 1_000_000);
        set("intel-rapl:0:0", "core", 0);
        set("intel-rapl:0:1", "dram", 9_000_000);
        let meter = Meter::of(folder.path()).unwrap();
        let before = meter.read();
        set("intel-rapl:0", "package-0", 3_500_000);
        set("intel-rapl:0:0", "core", 9);
        set("intel-rapl:0:1", "dram", 500_000);
        assert_eq!(meter.joules_since(&before), 2.5 + 1.5);
    }
}
