//! OpenAI's responses.

use crate::{
    answer::{Call, Form, More, Usage, Whole, fresh_id, named_event},
    app::now,
    error::ApiError,
    logprobs::chat_token,
    parts::Part,
    served::Served,
};
use lowbit_engine::Finish;
use serde_json::{Value, json};

/// A response, whole or as events.
pub(crate) struct Responses {
    /// The object without output: what was asked is repeated in it.
    head: Value,
    logprobs: bool,
    begun: bool,
    sequence: u64,
    /// Items that are complete.
    output: Vec<Value>,
    open: Option<Item>,
    finish: Option<Finish>,
}

/// An item on its way.
struct Item {
    kind: Kind,
    id: String,
    call_id: String,
    name: String,
    text: String,
    logprobs: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Reasoning,
    Message,
    Call,
}

impl Item {
    fn new(kind: Kind, name: String) -> Self {
        let prefix = match kind {
            Kind::Reasoning => "rs_",
            Kind::Message => "msg_",
            Kind::Call => "fc_",
        };
        let (id, call_id) = (fresh_id(prefix), fresh_id("call_"));
        Self { kind, id, call_id, name, text: String::new(), logprobs: Vec::new() }
    }

    fn part(&self) -> Value {
        match self.kind {
            Kind::Reasoning => json!({ "type": "reasoning_text", "text": self.text }),
            _ => {
                json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs })
            }
        }
    }

    fn object(&self, complete: bool) -> Value {
        let status = if complete { "completed" } else { "in_progress" };
        let content = if complete { json!([self.part()]) } else { json!([]) };
        match self.kind {
            Kind::Reasoning => {
                json!({ "type": "reasoning", "id": self.id, "summary": [], "content": content, "status": status })
            }
            Kind::Message => json!({
                "type": "message",
                "id": self.id,
                "role": "assistant",
                "content": content,
                "status": status,
            }),
            Kind::Call => json!({
                "type": "function_call",
                "id": self.id,
                "call_id": self.call_id,
                "name": self.name,
                "arguments": self.text,
                "status": status,
            }),
        }
    }

    /// The name of the events of its text.
    fn event(&self) -> &'static str {
        match self.kind {
            Kind::Reasoning => "response.reasoning_text",
            Kind::Message => "response.output_text",
            Kind::Call => "response.function_call_arguments",
        }
    }
}

impl Responses {
    /// `head` has what the request said: model, instructions, tools and so on.
    pub(crate) fn new(mut head: Value, logprobs: bool) -> Self {
        head["id"] = fresh_id("resp_").into();
        head["object"] = "response".into();
        head["created_at"] = now().into();
        Self { head, logprobs, begun: false, sequence: 0, output: Vec::new(), open: None, finish: None }
    }

    fn object(&self, finish: Option<Finish>, ended: bool, used: Option<Usage>) -> Value {
        let mut object = self.head.clone();
        let cut = match finish {
            Some(Finish::MaxTokens | Finish::ContextFull) => json!({ "reason": "max_output_tokens" }),
            _ => Value::Null,
        };
        object["status"] = match (ended, cut.is_null()) {
            (false, _) => "in_progress".into(),
            (true, true) => "completed".into(),
            (true, false) => "incomplete".into(),
        };
        object["error"] = Value::Null;
        object["incomplete_details"] = cut;
        object["output"] = self.output.clone().into();
        object["usage"] = used.map_or(Value::Null, |used| {
            json!({
                "input_tokens": used.prompt,
                "input_tokens_details": { "cached_tokens": used.cached },
                "output_tokens": used.answers,
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": used.prompt + used.answers,
            })
        });
        object
    }

    fn send(&mut self, mut event: Value, events: &mut String) {
        event["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        events.push_str(&named_event(&event));
    }

    fn open(&mut self, kind: Kind, name: String, events: &mut String) {
        if kind != Kind::Call && self.open.as_ref().is_some_and(|item| item.kind == kind) {
            return;
        }
        self.close(events);
        let item = Item::new(kind, name);
        let index = self.output.len();
        let added = json!({ "type": "response.output_item.added", "output_index": index, "item": item.object(false) });
        self.send(added, events);
        if kind != Kind::Call {
            self.send(
                json!({
                    "type": "response.content_part.added",
                    "item_id": item.id,
                    "output_index": index,
                    "content_index": 0,
                    "part": item.part(),
                }),
                events,
            );
        }
        self.open = Some(item);
    }

    fn more(&mut self, text: &str, logprobs: Vec<Value>, events: &mut String) {
        let index = self.output.len();
        let Some(item) = &mut self.open else { return };
        item.text.push_str(text);
        let mut delta = json!({
            "type": format!("{}.delta", item.event()),
            "item_id": item.id,
            "output_index": index,
            "delta": text,
        });
        if item.kind != Kind::Call {
            delta["content_index"] = 0.into();
        }
        if item.kind == Kind::Message {
            delta["logprobs"] = logprobs.clone().into();
            item.logprobs.extend(logprobs);
        }
        self.send(delta, events);
    }

    fn close(&mut self, events: &mut String) {
        let Some(item) = self.open.take() else { return };
        let index = self.output.len();
        let mut done = json!({
            "type": format!("{}.done", item.event()),
            "item_id": item.id,
            "output_index": index,
        });
        match item.kind {
            Kind::Call => {
                done["arguments"] = item.text.clone().into();
                done["name"] = item.name.clone().into();
                self.send(done, events);
            }
            _ => {
                done["content_index"] = 0.into();
                done["text"] = item.text.clone().into();
                if item.kind == Kind::Message {
                    done["logprobs"] = item.logprobs.clone().into();
                }
                self.send(done, events);
                self.send(
                    json!({
                        "type": "response.content_part.done",
                        "item_id": item.id,
                        "output_index": index,
                        "content_index": 0,
                        "part": item.part(),
                    }),
                    events,
                );
            }
        }
        let object = item.object(true);
        self.send(
            json!({ "type": "response.output_item.done", "output_index": index, "item": object }),
            events,
        );
        self.output.push(object);
    }
}

impl Form for Responses {
    fn whole(&mut self, served: &Served, choices: Vec<Whole>, used: Usage) -> Value {
        let whole = choices.into_iter().next().unwrap_or_default();
        if !whole.reasoning.is_empty() {
            let item = Item { text: whole.reasoning, ..Item::new(Kind::Reasoning, String::new()) };
            self.output.push(item.object(true));
        }
        if !whole.content.is_empty() || whole.calls.is_empty() {
            let tokens = whole.tokens.iter().filter(|_| self.logprobs);
            let logprobs = tokens.map(|token| chat_token(served, token)).collect();
            let item = Item { text: whole.content, logprobs, ..Item::new(Kind::Message, String::new()) };
            self.output.push(item.object(true));
        }
        for Call { name, arguments } in whole.calls {
            let item = Item { text: arguments, ..Item::new(Kind::Call, name) };
            self.output.push(item.object(true));
        }
        self.object(whole.finish, true, Some(used))
    }

    fn events(&mut self, served: &Served, more: More) -> String {
        let mut events = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            for kind in ["response.created", "response.in_progress"] {
                let object = self.object(None, false, None);
                self.send(json!({ "type": kind, "response": object }), &mut events);
            }
        }
        let scored = more.tokens.iter().filter(|_| self.logprobs);
        let mut logprobs: Vec<Value> = scored.map(|token| chat_token(served, token)).collect();
        for part in more.parts {
            match part {
                Part::Reasoning(text) => {
                    self.open(Kind::Reasoning, String::new(), &mut events);
                    self.more(&text, Vec::new(), &mut events);
                }
                Part::Content(text) => {
                    self.open(Kind::Message, String::new(), &mut events);
                    self.more(&text, std::mem::take(&mut logprobs), &mut events);
                }
                Part::Call { name, .. } => self.open(Kind::Call, name, &mut events),
                Part::Arguments { text, .. } => self.more(&text, Vec::new(), &mut events),
            }
        }
        self.finish = self.finish.or(more.finish);
        events
    }

    fn end(&mut self, used: Usage) -> String {
        let mut events = String::new();
        if self.output.is_empty() && self.open.is_none() {
            self.open(Kind::Message, String::new(), &mut events);
        }
        self.close(&mut events);
        let object = self.object(self.finish, true, Some(used));
        let kind = if object["status"] == "completed" { "response.completed" } else { "response.incomplete" };
        self.send(json!({ "type": kind, "response": object }), &mut events);
        events
    }

    fn failure(&mut self, error: &ApiError) -> String {
        let mut events = String::new();
        let said = error.json();
        let (message, code) = (&said["error"]["message"], &said["error"]["type"]);
        let event = json!({ "type": "error", "message": message, "code": code, "param": null });
        self.send(event, &mut events);
        events
    }
}
