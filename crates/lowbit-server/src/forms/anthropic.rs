//! Anthropic's messages.

use crate::{
    answer::{Form, More, Usage, Whole, fresh_id, named_event},
    error::ApiError,
    parts::Part,
    served::Served,
    tools::arguments,
};
use lowbit_engine::Finish;
use serde_json::{Value, json};

/// A message, whole or as events.
pub(crate) struct Messages {
    id: String,
    model: String,
    /// Tokens of the prompt: what is known of usage when a stream begins.
    prompt_tokens: usize,
    begun: bool,
    /// Blocks that were begun; the last is open where `open` says so.
    blocks: usize,
    open: Option<Kind>,
    calls: usize,
    stop: (Option<Finish>, Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Thinking,
    Text,
    Call,
}

impl Messages {
    pub(crate) fn new(model: &str, prompt_tokens: usize) -> Self {
        Self {
            id: fresh_id("msg_"),
            model: model.to_owned(),
            prompt_tokens,
            begun: false,
            blocks: 0,
            open: None,
            calls: 0,
            stop: (None, None),
        }
    }

    fn message(&self, content: Value, stop_reason: Value, stop: Option<String>, usage: Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": stop,
            "usage": usage,
        })
    }

    /// Opens a block unless one of its kind is open; calls have a block each.
    fn open(&mut self, kind: Kind, block: Value, events: &mut String) {
        if self.open == Some(kind) && kind != Kind::Call {
            return;
        }
        self.close(events);
        let begin = json!({ "type": "content_block_start", "index": self.blocks, "content_block": block });
        events.push_str(&named_event(&begin));
        self.blocks += 1;
        self.open = Some(kind);
    }

    fn close(&mut self, events: &mut String) {
        if self.open.take().is_some() {
            let end = json!({ "type": "content_block_stop", "index": self.blocks - 1 });
            events.push_str(&named_event(&end));
        }
    }

    fn delta(&self, delta: Value, events: &mut String) {
        let delta = json!({ "type": "content_block_delta", "index": self.blocks - 1, "delta": delta });
        events.push_str(&named_event(&delta));
    }
}

fn stop_reason(finish: Finish, calls: usize) -> &'static str {
    match finish {
        Finish::MaxTokens => "max_tokens",
        Finish::ContextFull => "model_context_window_exceeded",
        Finish::StopString => "stop_sequence",
        _ if calls > 0 => "tool_use",
        Finish::EndOfText | Finish::Grammar | Finish::Interrupted => "end_turn",
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.answers,
    })
}

impl Form for Messages {
    fn whole(&mut self, _: &Served, choices: Vec<Whole>, used: Usage) -> Value {
        let whole = choices.into_iter().next().unwrap_or_default();
        let calls = whole.calls.len();
        let mut content = Vec::new();
        if !whole.reasoning.is_empty() {
            content.push(json!({ "type": "thinking", "thinking": whole.reasoning, "signature": "" }));
        }
        if !whole.content.is_empty() {
            content.push(json!({ "type": "text", "text": whole.content }));
        }
        for call in whole.calls {
            let input = arguments(call.arguments);
            content.push(
                json!({ "type": "tool_use", "id": fresh_id("toolu_"), "name": call.name, "input": input }),
            );
        }
        let reason = whole.finish.map(|finish| stop_reason(finish, calls));
        self.message(content.into(), reason.into(), whole.stop, usage(used))
    }

    fn events(&mut self, _: &Served, more: More) -> String {
        let mut events = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            let used = Usage { prompt: self.prompt_tokens, ..Usage::default() };
            let message = self.message(json!([]), Value::Null, None, usage(used));
            events.push_str(&named_event(&json!({ "type": "message_start", "message": message })));
        }
        for part in more.parts {
            match part {
                Part::Reasoning(text) => {
                    let block = json!({ "type": "thinking", "thinking": "", "signature": "" });
                    self.open(Kind::Thinking, block, &mut events);
                    self.delta(json!({ "type": "thinking_delta", "thinking": text }), &mut events);
                }
                Part::Content(text) => {
                    self.open(Kind::Text, json!({ "type": "text", "text": "" }), &mut events);
                    self.delta(json!({ "type": "text_delta", "text": text }), &mut events);
                }
                Part::Call { name, .. } => {
                    let id = fresh_id("toolu_");
                    let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                    self.calls += 1;
                    self.open(Kind::Call, block, &mut events);
                }
                Part::Arguments { text, .. } => {
                    self.delta(json!({ "type": "input_json_delta", "partial_json": text }), &mut events);
                }
            }
        }
        if more.finish.is_some() {
            self.stop = (more.finish, more.stop);
        }
        events
    }

    fn end(&mut self, used: Usage) -> String {
        let mut events = String::new();
        self.close(&mut events);
        let (finish, stop) = std::mem::take(&mut self.stop);
        let reason = finish.map(|finish| stop_reason(finish, self.calls));
        let delta = json!({ "stop_reason": reason, "stop_sequence": stop });
        events.push_str(&named_event(
            &json!({ "type": "message_delta", "delta": delta, "usage": usage(used) }),
        ));
        events + &named_event(&json!({ "type": "message_stop" }))
    }

    fn failure(&mut self, error: &ApiError) -> String {
        named_event(&error.anthropic())
    }
}
