//! Ollama's chat and generate: objects line by line.

use crate::{
    answer::{Call, Form, More, Usage, Whole},
    app::timestamp,
    error::ApiError,
    parts::Part,
    served::Served,
    tools::arguments,
};
use lowbit_engine::Finish;
use serde_json::{Value, json};
use std::time::Instant;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Chat,
    Generate,
}

/// An answer, whole or line by line.
pub(crate) struct Ollama {
    route: Route,
    model: String,
    asked: Instant,
    first: Option<Instant>,
    finish: Option<Finish>,
    /// Calls whose arguments are not complete.
    calls: Vec<Call>,
}

impl Ollama {
    pub(crate) fn new(route: Route, model: &str) -> Self {
        let model = model.to_owned();
        Self { route, model, asked: Instant::now(), first: None, finish: None, calls: Vec::new() }
    }

    fn object(&self, whole: Whole, done: bool) -> Value {
        let mut object = json!({ "model": self.model, "created_at": timestamp(), "done": done });
        match self.route {
            Route::Chat => {
                let mut message = json!({ "role": "assistant", "content": whole.content });
                if !whole.reasoning.is_empty() {
                    message["thinking"] = whole.reasoning.into();
                }
                if !whole.calls.is_empty() {
                    message["tool_calls"] = whole.calls.into_iter().map(call).collect();
                }
                object["message"] = message;
            }
            Route::Generate => {
                object["response"] = whole.content.into();
                if !whole.reasoning.is_empty() {
                    object["thinking"] = whole.reasoning.into();
                }
            }
        }
        object
    }

    fn finish(&self, mut object: Value, used: Usage) -> Value {
        let nanoseconds = |from: Instant, to: Instant| (to - from).as_nanos() as u64;
        let now = Instant::now();
        let first = self.first.unwrap_or(now);
        let reason = match self.finish {
            Some(Finish::MaxTokens | Finish::ContextFull) => "length",
            _ => "stop",
        };
        object["done_reason"] = reason.into();
        object["total_duration"] = nanoseconds(self.asked, now).into();
        object["load_duration"] = 0.into();
        object["prompt_eval_count"] = used.prompt.into();
        object["prompt_eval_duration"] = nanoseconds(self.asked, first).into();
        object["eval_count"] = used.answers.into();
        object["eval_duration"] = nanoseconds(first, now).into();
        object
    }
}

fn call(call: Call) -> Value {
    json!({ "function": { "name": call.name, "arguments": arguments(call.arguments) } })
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

impl Form for Ollama {
    fn whole(&mut self, _: &Served, choices: Vec<Whole>, used: Usage) -> Value {
        let whole = choices.into_iter().next().unwrap_or_default();
        self.finish = whole.finish;
        self.finish(self.object(whole, true), used)
    }

    fn events(&mut self, _: &Served, more: More) -> String {
        self.first.get_or_insert_with(Instant::now);
        let mut lines = String::new();
        for part in more.parts {
            let mut whole = Whole::default();
            match part {
                Part::Content(text) => whole.content = text,
                Part::Reasoning(text) => whole.reasoning = text,
                Part::Call { name, .. } => {
                    self.calls.push(Call { name, arguments: String::new() });
                    continue;
                }
                Part::Arguments { text, .. } => {
                    if let Some(call) = self.calls.last_mut() {
                        call.arguments.push_str(&text);
                    }
                    continue;
                }
            }
            lines.push_str(&line(&self.object(whole, false)));
        }
        if let Some(finish) = more.finish {
            self.finish = Some(finish);
            let calls = std::mem::take(&mut self.calls);
            if !calls.is_empty() {
                lines.push_str(&line(&self.object(Whole { calls, ..Whole::default() }, false)));
            }
        }
        lines
    }

    fn end(&mut self, used: Usage) -> String {
        line(&self.finish(self.object(Whole::default(), true), used))
    }

    fn failure(&mut self, error: &ApiError) -> String {
        line(&error.ollama())
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }
}
