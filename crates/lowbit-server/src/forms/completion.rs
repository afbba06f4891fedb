//! OpenAI's plain completions.

use super::{finish_reason, usage};
use crate::{
    answer::{Form, More, Usage, Whole, event, fresh_id},
    app::now,
    logprobs::{Lists, Offsets},
    parts::Part,
    served::Served,
};
use lowbit_engine::scheduler::Scored;
use lowbit_text::TextStart;
use serde_json::{Value, json};

/// A completion, whole or in pieces.
pub(crate) struct Completion {
    id: String,
    created: u64,
    model: String,
    logprobs: bool,
    include_usage: bool,
    choices: Vec<Choice>,
}

/// What comes before the answer.
struct Choice {
    /// The prompt's text, where it is to be repeated and was not yet.
    echo: Option<String>,
    prompt: Vec<u32>,
    offsets: Offsets,
}

impl Completion {
    /// `prompts` has the tokens of every choice's prompt, and its text where it is to be repeated.
    pub(crate) fn new(
        model: &str,
        prompts: Vec<(Vec<u32>, Option<String>)>,
        logprobs: bool,
        include_usage: bool,
    ) -> Self {
        let choice = |(prompt, echo): (Vec<u32>, Option<String>)| {
            let start = if echo.is_some() { TextStart::Beginning } else { TextStart::Continuation };
            Choice { echo, prompt, offsets: Offsets::new(start) }
        };
        let choices = prompts.into_iter().map(choice).collect();
        let model = model.to_owned();
        Self { id: fresh_id("cmpl-"), created: now(), model, logprobs, include_usage, choices }
    }

    fn object(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// Scores of the prompt's tokens, where there are some, and of those drawn. The one by which the model ended is among
    /// them: clients that ask for one token after a prompt count on a score for it.
    fn lists(
        &mut self,
        served: &Served,
        index: usize,
        scores: Option<&[Scored]>,
        (tokens, end): (&[Scored], Option<&Scored>),
    ) -> Option<Lists> {
        if !self.logprobs || scores.is_none() && tokens.is_empty() && end.is_none() {
            return None;
        }
        let Choice { prompt, offsets, .. } = &mut self.choices[index];
        let mut lists = Lists::default();
        for (place, id) in prompt.iter().enumerate().filter(|_| scores.is_some()) {
            let scored = place.checked_sub(1).and_then(|place| scores.and_then(|scores| scores.get(place)));
            lists.push(served, offsets, *id, scored);
        }
        tokens.iter().chain(end).for_each(|token| lists.push(served, offsets, token.id, Some(token)));
        Some(lists)
    }
}

impl Form for Completion {
    fn whole(&mut self, served: &Served, choices: Vec<Whole>, used: Usage) -> Value {
        let choices = choices.into_iter().enumerate().map(|(index, whole)| {
            let lists =
                self.lists(served, index, whole.prompt.as_deref(), (&whole.tokens, whole.end.as_ref()));
            let text = self.choices[index].echo.take().unwrap_or_default() + &whole.content;
            json!({
                "index": index,
                "text": text,
                "logprobs": self.logprobs.then(|| lists.unwrap_or_default().json()),
                "finish_reason": whole.finish.map(|finish| finish_reason(finish, 0)),
            })
        });
        let choices = choices.collect();
        let mut object = self.object(choices);
        object["usage"] = usage(used);
        object
    }

    fn events(&mut self, served: &Served, more: More) -> String {
        let lists = self.lists(served, more.index, more.prompt.as_deref(), (&more.tokens, more.end.as_ref()));
        let mut text = self.choices[more.index].echo.take().unwrap_or_default();
        for part in more.parts {
            if let Part::Content(content) = part {
                text.push_str(&content);
            }
        }
        if text.is_empty() && lists.is_none() && more.finish.is_none() {
            return String::new();
        }
        let mut object = self.object(json!([{
            "index": more.index,
            "text": text,
            "logprobs": lists.map(Lists::json),
            "finish_reason": more.finish.map(|finish| finish_reason(finish, 0)),
        }]));
        if self.include_usage {
            object["usage"] = Value::Null;
        }
        event(&object)
    }

    fn end(&mut self, used: Usage) -> String {
        let mut events = String::new();
        if self.include_usage {
            let mut object = self.object(json!([]));
            object["usage"] = usage(used);
            events.push_str(&event(&object));
        }
        events + "data: [DONE]\n\n"
    }
}
