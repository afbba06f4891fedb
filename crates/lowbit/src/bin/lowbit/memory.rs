//! Memory that this process has taken.

/// Most bytes of memory that were resident at once, pages of mapped files included; `None` where the system does not
/// tell.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_peak_is_read_from_its_line() {
        assert_eq!(super::peak("VmPeak:\t 9 kB\nVmHWM:\t   1234 kB\n"), Some(1234 * 1024));
        assert_eq!(super::peak("Name: x"), None);
    }
}
