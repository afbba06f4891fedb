//! lowbit's own container: metadata, parts, and every tensor's first and last row.
#![no_main]

#[path = "../checks/container.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = checks::check(data);
});
