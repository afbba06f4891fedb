//! The forms of answers, one file for each kind of them.

mod anthropic;
mod chat;
mod completion;
mod ollama;
mod responses;

pub(crate) use anthropic::Messages;
pub(crate) use chat::Chat;
pub(crate) use completion::Completion;
pub(crate) use ollama::{Ollama, Route as OllamaRoute};
pub(crate) use responses::Responses;

use crate::answer::Usage;
use lowbit_engine::Finish;
use serde_json::{Value, json};

/// OpenAI's word for an end.
fn finish_reason(finish: Finish, calls: usize) -> &'static str {
    match finish {
        Finish::MaxTokens | Finish::ContextFull => "length",
        _ if calls > 0 => "tool_calls",
        Finish::EndOfText | Finish::Grammar | Finish::StopString | Finish::Interrupted => "stop",
    }
}

/// OpenAI's usage of completions.
fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.answers,
        "total_tokens": usage.prompt + usage.answers,
        "prompt_tokens_details": { "cached_tokens": usage.cached },
    })
}
