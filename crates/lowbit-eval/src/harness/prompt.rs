//! What a document's question is in words: description, examples and the prompt, plain or as a conversation.

use crate::{
    EvalError,
    tasks::{Document, Question},
};
use lowbit_engine::Model;
use lowbit_text::{ChatTemplate, Message};

/// Stands between examples.
const BETWEEN_EXAMPLES: &str = "\n\n";

/// How questions are put.
pub(crate) enum Form<'m> {
    /// As plain text.
    Plain,
    /// As a conversation: description as the system's message, each example as a turn.
    Chat { template: Box<ChatTemplate>, model: &'m Model },
}

impl<'m> Form<'m> {
    pub(crate) fn chat(model: &'m Model) -> Result<Self, EvalError> {
        Ok(Self::Chat { template: Box::new(model.chat_template()?), model })
    }

    /// What the model reads before the continuation, `prompt` standing for the document's own.
    fn context(&self, document: &Document, prompt: &str, examples: &[Document]) -> Result<String, EvalError> {
        match self {
            Self::Plain => {
                let mut text = document.description.clone();
                for Document { prompt, delimiter, answer, .. } in examples {
                    text += &format!("{prompt}{delimiter}{answer}{BETWEEN_EXAMPLES}");
                }
                Ok(text + prompt + &document.begun)
            }
            Self::Chat { template, model } => {
                let mut messages = Vec::new();
                if !document.description.is_empty() {
                    messages.push(Message::new("system", document.description.clone()));
                }
                for example in examples {
                    messages.push(Message::new("user", example.prompt.clone()));
                    messages.push(Message::new("assistant", example.answer.clone()));
                }
                messages.push(Message::new("user", prompt));
                Ok(model.render_conversation(template, &messages, &[])? + &document.begun)
            }
        }
    }

    /// Texts with what is scored after them; for a text to be written one with nothing after it.
    pub(crate) fn texts(
        &self,
        document: &Document,
        examples: &[Document],
    ) -> Result<Vec<(String, String)>, EvalError> {
        // A template ends its turns itself.
        let delimiter = match self {
            Self::Plain => document.delimiter,
            Self::Chat { .. } => "",
        };
        match &document.question {
            Question::Continuations(continuations) => {
                let context = self.context(document, &document.prompt, examples)?;
                Ok(continuations.iter().map(|text| (context.clone(), format!("{delimiter}{text}"))).collect())
            }
            Question::Prompts { prompts, continuation } => prompts
                .iter()
                .map(|prompt| {
                    let context = self.context(document, prompt, examples)?;
                    Ok((context, format!("{delimiter}{continuation}")))
                })
                .collect(),
            Question::Whole(text) => Ok(vec![(String::new(), text.clone())]),
            Question::Generate(_) => {
                Ok(vec![(self.context(document, &document.prompt, examples)?, String::new())])
            }
        }
    }
}
