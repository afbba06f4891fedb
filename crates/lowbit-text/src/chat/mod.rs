//! Chat templates: messages to the text that the model was trained to continue.
//!
//! A template is Jinja source from a model file, that is, a program from a stranger. It runs in an environment
//! without files, includes, imports or clock, and with limits on its size, work, nesting and output. What
//! transformers offers to templates is offered here too: Python's string and dict methods, `tojson` as
//! `json.dumps` writes it, `raise_exception`, `strftime_now` (the time being the caller's), loop controls.

mod engine;
mod python;
mod time;

pub use time::LocalTime;

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TextError};

/// Whether the rendered text ends with the opening of the assistant's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// The model is to answer now.
    Add,
    /// The conversation is complete, or the last message is to be continued.
    Omit,
}

/// One message of a conversation, with whatever further fields its template reads (`name`, `tool_calls`,
/// `tool_call_id`, `reasoning_content` and so on).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or what else the template knows.
    pub role: String,
    /// Text, a list of parts for models that take images, or null beside tool calls.
    #[serde(default)]
    pub content: serde_json::Value,
    /// Further fields, in their order.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into().into(), extra: serde_json::Map::new() }
    }
}

/// Everything a template sees.
#[derive(Debug, Clone, Copy)]
pub struct ChatInput<'a> {
    /// The conversation, oldest message first.
    pub messages: &'a [Message],
    /// Descriptions of the functions that the model may call, as JSON schema.
    pub tools: &'a [serde_json::Value],
    /// Whether the assistant's turn is opened.
    pub generation_prompt: GenerationPrompt,
    /// The spelling of BOS, empty if there is none.
    pub bos: &'a str,
    /// The spelling of EOS, empty if there is none.
    pub eos: &'a str,
    /// What `strftime_now` tells; without it a template that asks for the time fails.
    pub now: Option<LocalTime>,
    /// Further variables, such as `enable_thinking`.
    pub extra: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

impl<'a> ChatInput<'a> {
    /// A conversation that the model is to answer, without tools, time or further variables.
    pub fn new(messages: &'a [Message]) -> Self {
        Self {
            messages,
            tools: &[],
            generation_prompt: GenerationPrompt::Add,
            bos: "",
            eos: "",
            now: None,
            extra: None,
        }
    }
}

/// What a template may use up. The published ones stay far below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateLimits {
    /// Bytes of template source.
    pub source_bytes: usize,
    /// Bytes of code in one tag, string literals not counted.
    pub tag_bytes: usize,
    /// `{% elif %}` tags.
    pub elif_tags: usize,
    /// Instructions of the template engine; a result of `n` bytes costs `n / 64` more.
    pub fuel: u64,
    /// Bytes of rendered text.
    pub output_bytes: usize,
    /// Nesting of macro calls and recursive loops.
    pub nesting: usize,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self {
            source_bytes: 1 << 18,
            tag_bytes: 2048,
            elif_tags: 500,
            fuel: 20_000_000,
            output_bytes: 16 << 20,
            nesting: 100,
        }
    }
}

/// A parsed chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    limits: TemplateLimits,
}

impl ChatTemplate {
    /// Parses a template.
    pub fn new(source: &str) -> Result<Self> {
        Self::with_limits(source, TemplateLimits::default())
    }

    /// Parses the template of a model. A model without one is refused: a wrong format makes a chat model
    /// ramble, and a base model has none to follow.
    pub fn of_model(template: Option<&str>) -> Result<Self> {
        Self::new(template.filter(|source| !source.trim().is_empty()).ok_or(TextError::NoTemplate)?)
    }

    /// Parses a template that may use up other amounts than the usual.
    pub fn with_limits(source: &str, limits: TemplateLimits) -> Result<Self> {
        Ok(Self { environment: engine::environment(source, limits)?, limits })
    }

    /// The text for `input`. The same input gives the same text.
    pub fn render(&self, input: &ChatInput<'_>) -> Result<String> {
        let tools = if input.tools.is_empty() { Value::from(()) } else { Value::from(Serde(input.tools)) };
        let extra = input.extra.into_iter().flatten();
        let extra = extra.map(|(name, value)| (Value::from(name.as_str()), Value::from(Serde(value))));
        let fixed = [
            ("messages", Value::from(Serde(input.messages))),
            ("tools", tools),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(input.generation_prompt == GenerationPrompt::Add)),
            ("bos_token", Value::from(input.bos)),
            ("eos_token", Value::from(input.eos)),
            ("strftime_now", time::strftime_function(input.now)),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (Value::from(name), value));
        // Later entries win, so that a further variable cannot take the place of the messages.
        engine::render(&self.environment, Value::from_pairs(extra.chain(fixed)), self.limits)
    }
}
