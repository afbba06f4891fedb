//! Chat templates, rendered on a short conversation within their limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_text::{ChatInput, ChatTemplate, Message, chat::TemplateLimits};

fuzz_target!(|data: &[u8]| {
    let Ok(source) = str::from_utf8(data) else { return };
    // Below the defaults, so that an input that runs into a limit does not stop the search for seconds.
    let limits = TemplateLimits { fuel: 100_000, output_bytes: 1 << 16, ..TemplateLimits::default() };
    let Ok(template) = ChatTemplate::with_limits(source, limits) else { return };
    let messages =
        [Message::new("system", "s"), Message::new("user", " a <b> "), Message::new("assistant", "c")];
    for messages in [&messages[..], &messages[1..2], &[]] {
        if let Ok(text) = template.render(&ChatInput::new(messages)) {
            assert!(text.len() <= limits.output_bytes);
        }
    }
});
