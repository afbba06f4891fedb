//! OpenAI's chat completions.

use super::{finish_reason, usage};
use crate::{
    answer::{Call, Form, More, Usage, Whole, event, fresh_id},
    app::now,
    logprobs::chat_token,
    parts::Part,
    served::Served,
};
use lowbit_engine::scheduler::Scored;
use serde_json::{Value, json};

/// A chat completion, or its chunks.
pub(crate) struct Chat {
    id: String,
    created: u64,
    model: String,
    logprobs: bool,
    include_usage: bool,
    /// Of every choice: whether something was sent, and how many calls.
    begun: Vec<(bool, usize)>,
}

impl Chat {
    pub(crate) fn new(model: &str, choices: usize, logprobs: bool, include_usage: bool) -> Self {
        let begun = vec![(false, 0); choices];
        let model = model.to_owned();
        Self { id: fresh_id("chatcmpl-"), created: now(), model, logprobs, include_usage, begun }
    }

    fn object(&self, kind: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": null,
            "choices": choices,
        })
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Value, finish: Option<&str>) -> String {
        let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish });
        let mut object = self.object("chat.completion.chunk", json!([choice]));
        if self.include_usage {
            object["usage"] = Value::Null;
        }
        event(&object)
    }

    fn scores(&self, served: &Served, tokens: &[Scored]) -> Value {
        if !self.logprobs || tokens.is_empty() {
            return Value::Null;
        }
        let tokens: Vec<Value> = tokens.iter().map(|token| chat_token(served, token)).collect();
        json!({ "content": tokens, "refusal": null })
    }
}

fn call(Call { name, arguments }: Call) -> Value {
    json!({
        "id": fresh_id("call_"),
        "type": "function",
        "function": { "name": name, "arguments": arguments },
    })
}

impl Form for Chat {
    fn whole(&mut self, served: &Served, choices: Vec<Whole>, used: Usage) -> Value {
        let choices = choices.into_iter().enumerate().map(|(index, whole)| {
            let calls = whole.calls.len();
            let says = !whole.content.is_empty() || calls == 0;
            let content = if says { Value::from(whole.content) } else { Value::Null };
            let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
            if !whole.reasoning.is_empty() {
                message["reasoning_content"] = whole.reasoning.into();
            }
            if calls > 0 {
                message["tool_calls"] = whole.calls.into_iter().map(call).collect();
            }
            let empty = || json!({ "content": [], "refusal": null });
            let scores = match self.scores(served, &whole.tokens) {
                Value::Null if self.logprobs => empty(),
                scores => scores,
            };
            json!({
                "index": index,
                "message": message,
                "logprobs": scores,
                "finish_reason": whole.finish.map(|finish| finish_reason(finish, calls)),
            })
        });
        let mut object = self.object("chat.completion", choices.collect());
        object["usage"] = usage(used);
        object
    }

    fn events(&mut self, served: &Served, more: More) -> String {
        let index = more.index;
        let mut events = String::new();
        if !std::mem::replace(&mut self.begun[index].0, true) {
            let begin = json!({ "role": "assistant", "content": "" });
            events.push_str(&self.chunk(index, begin, Value::Null, None));
        }
        let mut scores = self.scores(served, &more.tokens);
        for part in more.parts {
            let delta = match part {
                Part::Content(text) => json!({ "content": text }),
                Part::Reasoning(text) => json!({ "reasoning_content": text }),
                Part::Call { index: place, name } => {
                    self.begun[index].1 += 1;
                    let mut begun = call(Call { name, arguments: String::new() });
                    begun["index"] = place.into();
                    json!({ "tool_calls": [begun] })
                }
                Part::Arguments { index, text } => {
                    json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
                }
            };
            events.push_str(&self.chunk(index, delta, scores.take(), None));
        }
        if !scores.is_null() {
            events.push_str(&self.chunk(index, json!({ "content": "" }), scores, None));
        }
        if let Some(finish) = more.finish {
            let reason = finish_reason(finish, self.begun[index].1);
            events.push_str(&self.chunk(index, json!({}), Value::Null, Some(reason)));
        }
        events
    }

    fn end(&mut self, used: Usage) -> String {
        let mut events = String::new();
        if self.include_usage {
            let mut object = self.object("chat.completion.chunk", json!([]));
            object["usage"] = usage(used);
            events.push_str(&event(&object));
        }
        events + "data: [DONE]\n\n"
    }
}
