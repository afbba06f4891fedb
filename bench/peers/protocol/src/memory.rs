//! Memory of the calling process, as Linux counts it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Resident memory. A mapped model file counts once its pages have been touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Highest resident size so far (`VmHWM`), in bytes.
    pub peak_bytes: u64,
    /// Resident memory that no file backs (`RssAnon`), now, in bytes.
    pub anonymous_bytes: u64,
}

impl Memory {
    /// Reads `/proc/self/status`.
    pub fn of_this_process() -> Result<Self> {
        let path = "/proc/self/status";
        Self::parse(&std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?)
    }

    fn parse(status: &str) -> Result<Self> {
        let field = |name: &str| {
            status
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB"))
                .find_map(|kibibytes| kibibytes.parse::<u64>().ok())
                .map(|kibibytes| kibibytes * 1024)
                .with_context(|| format!("the process status has no field {name} in kB"))
        };
        Ok(Self { peak_bytes: field("VmHWM")?, anonymous_bytes: field("RssAnon")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 7 kB\nRssAnon:\t     12 kB\n";
        let memory = Memory::parse(status).unwrap();
        assert_eq!(memory, Memory { peak_bytes: 2 << 20, anonymous_bytes: 12 << 10 });
        let error = Memory::parse("VmHWM:\t 1 kB\n").unwrap_err();
        assert!(error.to_string().contains("RssAnon"), "{error}");
    }

    #[test]
    fn touching_memory_raises_the_peak() {
        let before = Memory::of_this_process().unwrap();
        let block = vec![1_u8; 32 << 20];
        let after = Memory::of_this_process().unwrap();
        assert_eq!(std::hint::black_box(&block).len(), 32 << 20);
        assert!(after.peak_bytes >= before.peak_bytes.max(32 << 20), "{before:?} {after:?}");
    }
}
