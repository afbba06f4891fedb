//! A conversation in the terminal.
//!
//! The whole conversation is rendered anew for every answer; the session keeps what it has in common with the one
//! before, so only what is new is computed.

mod line;
mod settings;

use crate::{
    commands::run::{Writer, speed},
    interrupt::Interrupt,
    report,
};
use anyhow::{Context, Result, bail};
use line::{Line, Unfinished};
use lowbit::{ChatTemplate, Event, GenerateRequest, Message, Session};
use rustyline::{DefaultEditor, error::ReadlineError};
use std::{io::Write, ops::ControlFlow, path::PathBuf};

const HELP: &str = "\
Type a message and press Enter. A line that ends in \\ goes on in the next one; \"\"\" begins and ends several lines.
Ctrl-C ends an answer; Ctrl-D, or Ctrl-C twice at the prompt, leaves.

  /clear            forget the conversation
  /system TEXT      instructions that come before the conversation, which begins anew; without TEXT: none
  /set              show sampling parameters
  /set NAME VALUE   change one, as in /set temperature 0.2
  /save FILE        write the conversation as JSON
  /load FILE        go on with a conversation that was written so
  /stats            size and speed
  /exit             leave";

/// What a chat is begun with.
pub(crate) struct ChatOptions {
    /// How messages become text; without one each message is continued as plain text, on its own.
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) system: Option<String>,
    /// Sampling, limits and stop strings of every answer; its prompt is replaced.
    pub(crate) request: GenerateRequest,
    /// File that remembers lines typed.
    pub(crate) history: PathBuf,
}

/// A running conversation.
pub(crate) struct Chat<'a> {
    session: Session<'a>,
    options: ChatOptions,
    interrupt: &'a Interrupt,
    editor: DefaultEditor,
    messages: Vec<Message>,
    last: Option<String>,
}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

impl<'a> Chat<'a> {
    pub(crate) fn new(session: Session<'a>, options: ChatOptions, interrupt: &'a Interrupt) -> Result<Self> {
        let mut editor = DefaultEditor::new().context("cannot read from the terminal")?;
        // No history yet is the usual beginning, and one that cannot be read is no reason not to chat.
        let _ = editor.load_history(&options.history);
        let messages = system_message(options.system.as_deref());
        Ok(Self { session, options, interrupt, editor, messages, last: None })
    }

    /// Reads lines until the user leaves.
    pub(crate) fn run(mut self, out: &mut dyn Write) -> Result<()> {
        eprintln!("{}", self.greeting());
        while let Some(text) = self.read()? {
            let next = match Line::parse(&text) {
                Ok(line) => self.obey(line, out),
                Err(error) => Err(error),
            };
            match next {
                Ok(Next::Line) => {}
                Ok(Next::Leave) => break,
                Err(error) if crate::is_broken_pipe(&error) => return Err(error),
                Err(error) => eprintln!("error: {}", report::chain(&error)),
            }
        }
        self.save_history();
        Ok(())
    }

    fn greeting(&self) -> String {
        let model = self.session.model();
        let name = model.path().file_name().unwrap_or(model.path().as_os_str()).to_string_lossy();
        format!("{name}, context of {}; /help for help", report::count(self.session.capacity(), "token"))
    }

    /// A message, of several lines perhaps; `None` where the user leaves.
    fn read(&mut self) -> Result<Option<String>> {
        let mut message = Unfinished::default();
        let mut warned = false;
        loop {
            let prompt = if message.is_empty() { ">>> " } else { "... " };
            match self.editor.readline(prompt) {
                Ok(line) => {
                    warned = false;
                    if let Some(text) = message.push(&line) {
                        if text.trim().is_empty() {
                            continue;
                        }
                        self.editor.add_history_entry(&text).context("cannot keep the line")?;
                        return Ok(Some(text));
                    }
                }
                // What was begun is dropped first; with nothing begun the second Ctrl-C leaves.
                Err(ReadlineError::Interrupted) if !message.is_empty() => message = Unfinished::default(),
                Err(ReadlineError::Interrupted) if !warned => {
                    warned = true;
                    eprintln!("(Ctrl-C again, Ctrl-D or /exit leaves)");
                }
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(error).context("cannot read from the terminal"),
            }
        }
    }

    fn obey(&mut self, line: Line<'_>, out: &mut dyn Write) -> Result<Next> {
        match line {
            Line::Message(text) => self.answer(text, out)?,
            Line::Help => eprintln!("{HELP}"),
            Line::Exit => return Ok(Next::Leave),
            Line::Clear => {
                self.messages = system_message(self.options.system.as_deref());
                eprintln!("the conversation is forgotten");
            }
            Line::System(text) => self.set_system(text)?,
            Line::ShowSettings => eprintln!("{}", settings::show(&self.options.request.sampling)?),
            Line::Set { name, value } => {
                settings::set(&mut self.options.request.sampling, name, value)?;
                eprintln!("{name} is {value}");
            }
            Line::Save(path) => self.save(path)?,
            Line::Load(path) => self.load(path)?,
            Line::Stats => eprintln!("{}", self.stats()),
        }
        Ok(Next::Line)
    }

    fn answer(&mut self, text: &str, out: &mut dyn Write) -> Result<()> {
        let model = self.session.model();
        let mut messages = self.messages.clone();
        messages.push(Message::new("user", text));
        self.options.request.prompt = match &self.options.template {
            Some(template) => model.encode_chat(template, &messages)?,
            None => model.encode(text)?,
        };
        if self.options.request.prompt.len() >= self.session.capacity() {
            bail!(
                "the conversation has {} tokens and the context holds {}; /clear, or begin with a larger -c",
                self.options.request.prompt.len(),
                self.session.capacity()
            );
        }
        let mut writer = Writer { out, printed: 0, quiet: false, failed: None };
        let answering = self.interrupt.answering();
        let answer = self.session.generate(&self.options.request, |event| {
            if let Event::Token { text, .. } = event {
                writer.text(&text);
            }
            match answering.is_over() || writer.failed.is_some() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        drop(answering);
        writer.finish(&answer)?;
        let speed = speed(&answer);
        eprintln!("{speed}");
        self.last = Some(speed);
        if self.options.template.is_some() {
            messages.push(Message::new("assistant", answer.text));
            self.messages = messages;
        }
        Ok(())
    }

    fn set_system(&mut self, text: Option<&str>) -> Result<()> {
        let Some(template) = &self.options.template else {
            bail!("/system needs a chat template, and plain text is continued here");
        };
        let mut trial = system_message(text);
        trial.push(Message::new("user", "?"));
        // A template that takes no instructions says so now and not with the next message.
        self.session.model().encode_chat(template, &trial)?;
        self.options.system = text.map(str::to_owned);
        self.messages = system_message(text);
        eprintln!("the conversation begins anew");
        Ok(())
    }

    fn save(&self, path: &str) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.messages)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {path}"))?;
        eprintln!("{} written to {path}", report::count(self.messages.len(), "message"));
        Ok(())
    }

    fn load(&mut self, path: &str) -> Result<()> {
        if self.options.template.is_none() {
            bail!("/load needs a chat template, and plain text is continued here");
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let messages: Vec<Message> =
            serde_json::from_str(&text).with_context(|| format!("{path} is no conversation"))?;
        self.options.system = match messages.first() {
            Some(first) if first.role == "system" => first.content.as_str().map(str::to_owned),
            _ => None,
        };
        self.messages = messages;
        eprintln!("{} read from {path}", report::count(self.messages.len(), "message"));
        Ok(())
    }

    fn stats(&self) -> String {
        let model = self.session.model();
        let mut text = format!(
            "{} of {} tokens in the context, {} of keys and values; {} of weights read for each token",
            self.session.tokens().len(),
            self.session.capacity(),
            report::bytes(self.session.cache_bytes() as u64),
            report::bytes(model.bytes_per_token() as u64),
        );
        if let Some(last) = &self.last {
            text = format!("{text}\nlast answer {last}");
        }
        text
    }

    fn save_history(&mut self) {
        let folder = self.options.history.parent();
        let saved = folder.map_or(Ok(()), std::fs::create_dir_all).map_err(ReadlineError::from);
        if let Err(error) = saved.and_then(|()| self.editor.save_history(&self.options.history)) {
            eprintln!("warning: cannot keep the history in {}: {error}", self.options.history.display());
        }
    }
}

fn system_message(text: Option<&str>) -> Vec<Message> {
    text.map(|text| Message::new("system", text)).into_iter().collect()
}
