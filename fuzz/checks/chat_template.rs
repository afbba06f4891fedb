//! One input of the target `chat_template`: how it is read and what must hold. The target and the replay of its
//! corpus in lowbit-text's ordinary tests include this file both.
//!
//! The input is the template's source; it is rendered on a short conversation, one message of it and none.

use lowbit_text::{ChatInput, ChatTemplate, Message, Result, TextError, chat::TemplateLimits};

/// Panics where the crate does not do what it says for any bytes; `Err` is the template refused, or failed on the
/// whole conversation.
pub(crate) fn check(data: &[u8]) -> Result<String> {
    let source = str::from_utf8(data).map_err(|error| TextError::TemplateSyntax(error.to_string()))?;
    // Below the defaults, so that an input that runs into a limit does not stop the search for seconds.
    let limits = TemplateLimits { fuel: 100_000, output_bytes: 1 << 16, ..TemplateLimits::default() };
    let template = ChatTemplate::with_limits(source, limits)?;
    let messages =
        [Message::new("system", "s"), Message::new("user", " a <b> "), Message::new("assistant", "c")];
    let render = |messages| {
        let text = template.render(&ChatInput::new(messages));
        assert!(text.as_ref().map_or(0, String::len) <= limits.output_bytes);
        text
    };
    let _ = (render(&messages[1..2]), render(&[]));
    render(&messages)
}
