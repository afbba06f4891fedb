//! A conversation, whatever API it came by, and what becomes of it: a prompt, a grammar, a reader of the answer.

use crate::{
    error::ApiError,
    fields::{Fields, expected},
    parts::Parts,
    served::Served,
    tools::{self, Dialect, Tool, ToolChoice},
};
use lowbit_text::{Grammar, GrammarSource, Message, one_line};
use serde_json::{Value, json};

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: ToolChoice,
    /// One call at most.
    pub(crate) single_call: bool,
    pub(crate) format: Format,
}

/// What an answer has to look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Format {
    /// As the model likes.
    #[default]
    Text,
    /// As a grammar says; the name of the field that has it is kept for messages.
    Grammar(String, GrammarSource),
}

impl Format {
    pub(crate) fn json_object(field: &str) -> Self {
        Self::json_schema(field, json!({ "type": "object" }))
    }

    pub(crate) fn json_schema(field: &str, schema: Value) -> Self {
        Self::Grammar(field.to_owned(), GrammarSource::JsonSchema(schema))
    }

    /// The grammar of an answer without tools.
    ///
    /// # Errors
    /// Where it is not understood, with its field.
    pub(crate) fn grammar(&self, served: &Served) -> Result<Option<Grammar>, ApiError> {
        match self {
            Self::Text => Ok(None),
            Self::Grammar(field, source) => compile(served, field, source).map(Some),
        }
    }

    /// The right side of a rule in Lark.
    fn rule(&self) -> Result<String, ApiError> {
        match self {
            Self::Text => Ok("/(.|\\n)*/".into()),
            Self::Grammar(_, GrammarSource::JsonSchema(schema)) => {
                Ok(format!("%json {}", one_line(schema.clone())))
            }
            Self::Grammar(field, _) => {
                Err(ApiError::field(field, "only JSON schemas go together with tools"))
            }
        }
    }
}

/// `name`, `description`, `strict` and `schema`. Answers always follow the schema.
pub(crate) fn schema(path: &str, fields: &mut Fields) -> Result<Format, ApiError> {
    fields.text("name")?;
    fields.text("description")?;
    fields.flag("strict")?;
    let field = format!("{path}.schema");
    match fields.take("schema") {
        Some(schema @ Value::Object(_)) => Ok(Format::json_schema(&field, schema)),
        None => Err(ApiError::field(field, "missing")),
        Some(other) => Err(expected(&field, "a JSON schema", &other)),
    }
}

/// Ready for the scheduler.
pub(crate) struct Prepared {
    pub(crate) prompt: Vec<u32>,
    pub(crate) grammar: Option<Grammar>,
    /// One for each choice.
    pub(crate) parts: Vec<Parts>,
}

impl Conversation {
    /// Renders, encodes and compiles. `choices` answers are wanted.
    ///
    /// # Errors
    /// Where the model cannot chat, or a schema or grammar is not understood: an answer that does not follow it is
    /// never given.
    pub(crate) fn prepare(mut self, served: &Served, choices: usize) -> Result<Prepared, ApiError> {
        let template = served.template("messages")?;
        if self.choice == ToolChoice::None {
            self.tools.clear();
        }
        if let ToolChoice::Named(name) = &self.choice
            && !self.tools.iter().any(|tool| tool.name == *name)
        {
            return Err(ApiError::field("tool_choice", format!("no tool is called {name:?}")));
        }
        if self.choice == ToolChoice::Required && self.tools.is_empty() {
            return Err(ApiError::field("tool_choice", "there are no tools to call"));
        }
        let grammar = self.grammar(served)?;
        let (messages, described) = match served.dialect {
            Dialect::System => (tools::in_text(self.messages, &self.tools), Vec::new()),
            Dialect::Template => (self.messages, self.tools.iter().map(Tool::describe).collect()),
        };
        let prompt = served.model().encode_conversation(template, &messages, &described);
        let prompt = prompt.map_err(|error| ApiError::field("messages", error))?;
        let tail = prompt.len().saturating_sub(4);
        let tail = served.tokenizer()?.decode(&prompt[tail..], lowbit_text::SpecialText::Show);
        let thinking = tail.is_ok_and(|tail| tail.trim_end().ends_with("<think>"));
        let parts = (0..choices).map(|_| Parts::chat(!self.tools.is_empty(), thinking)).collect();
        Ok(Prepared { prompt, grammar, parts })
    }

    fn grammar(&self, served: &Served) -> Result<Option<Grammar>, ApiError> {
        if self.tools.is_empty() {
            return self.format.grammar(served);
        }
        let lark = tools::grammar(&self.tools, &self.choice, !self.single_call, &self.format.rule()?);
        let whole = compile(served, "tools", &GrammarSource::Lark(lark));
        if whole.is_err() {
            // Which of them it is.
            for tool in &self.tools {
                compile(served, &tool.path, &GrammarSource::JsonSchema(tool.parameters.clone()))?;
            }
            self.format.grammar(served)?;
        }
        whole.map(Some)
    }
}

fn compile(served: &Served, field: &str, source: &GrammarSource) -> Result<Grammar, ApiError> {
    let grammar = served.model().grammar(source);
    grammar.map_err(|error| ApiError::field(field, error).with_code("unsupported_grammar"))
}
