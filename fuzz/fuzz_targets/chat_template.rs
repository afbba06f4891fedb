//! Chat templates, rendered on a short conversation within their limits.
#![no_main]

#[path = "../checks/chat_template.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = checks::check(data);
});
