//! What a typed line means.

use anyhow::{Context, Result, bail};
use lowbit::suggest;

/// A line of the chat.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Message(&'a str),
    Help,
    Clear,
    System(Option<&'a str>),
    ShowSettings,
    Set { name: &'a str, value: &'a str },
    Save(&'a str),
    Load(&'a str),
    Stats,
    Exit,
}

const COMMANDS: &[&str] = &["help", "clear", "system", "set", "save", "load", "stats", "exit"];

impl<'a> Line<'a> {
    /// What begins with a slash and a letter is a command; any other text is a message.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        let Some(command) = text
            .strip_prefix('/')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '?'))
        else {
            return Ok(Self::Message(text));
        };
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let argument = Some(argument.trim()).filter(|argument| !argument.is_empty());
        let file = || argument.with_context(|| format!("/{name} needs the name of a file"));
        let alone = |line: Self| match argument {
            None => Ok(line),
            Some(argument) => bail!("/{name} takes nothing after it, found {argument:?}"),
        };
        match name {
            "help" | "?" => alone(Self::Help),
            "clear" => alone(Self::Clear),
            "system" => Ok(Self::System(argument)),
            "set" => match argument.map(|argument| argument.split_once(char::is_whitespace)) {
                None => Ok(Self::ShowSettings),
                Some(Some((name, value))) => Ok(Self::Set { name, value: value.trim() }),
                Some(None) => bail!("/set needs a value: /set NAME VALUE"),
            },
            "save" => file().map(Self::Save),
            "load" => file().map(Self::Load),
            "stats" => alone(Self::Stats),
            "exit" | "quit" | "bye" => alone(Self::Exit),
            _ => match suggest::nearest(name, COMMANDS.iter().copied()) {
                Some(nearest) => {
                    bail!("no command is called /{name}, did you mean /{nearest}? /help lists all")
                }
                None => bail!("no command is called /{name}; /help lists all"),
            },
        }
    }
}

/// A message of which lines are still to come.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    text: String,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    /// The last line ended in a backslash.
    Continued,
    /// Between `"""` and `"""`.
    Quoted,
}

const QUOTES: &str = "\"\"\"";

impl Unfinished {
    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Adds a line; the message, if it is complete now.
    pub(super) fn push(&mut self, line: &str) -> Option<String> {
        if self.state == State::Quoted {
            return match line.trim_end().strip_suffix(QUOTES) {
                Some(rest) => {
                    self.text.push_str(rest);
                    Some(self.take())
                }
                None => {
                    self.add_line(line);
                    None
                }
            };
        }
        if let Some(rest) = line.trim_start().strip_prefix(QUOTES).filter(|_| self.is_empty()) {
            self.state = State::Quoted;
            if let Some(whole) = rest.trim_end().strip_suffix(QUOTES) {
                self.text.push_str(whole);
                return Some(self.take());
            }
            if !rest.trim().is_empty() {
                self.add_line(rest);
            }
            return None;
        }
        if let Some(rest) = line.strip_suffix('\\') {
            self.state = State::Continued;
            self.add_line(rest);
            return None;
        }
        self.text.push_str(line);
        Some(self.take())
    }

    fn add_line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn take(&mut self) -> String {
        std::mem::take(self).text.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<Option<String>> {
        let mut message = Unfinished::default();
        lines.iter().map(|line| message.push(line)).collect()
    }

    #[test]
    fn commands_are_told_from_messages() {
        assert_eq!(Line::parse("hello").unwrap(), Line::Message("hello"));
        assert_eq!(Line::parse("/ is a slash").unwrap(), Line::Message("/ is a slash"));
        assert_eq!(Line::parse("/help").unwrap(), Line::Help);
        assert_eq!(Line::parse("/system be  brief ").unwrap(), Line::System(Some("be  brief")));
        assert_eq!(Line::parse("/system").unwrap(), Line::System(None));
        assert_eq!(Line::parse("/set top_k 3").unwrap(), Line::Set { name: "top_k", value: "3" });
        assert_eq!(Line::parse("/set").unwrap(), Line::ShowSettings);
        assert_eq!(Line::parse("/save a b.json").unwrap(), Line::Save("a b.json"));
    }

    #[test]
    fn a_command_that_cannot_work_says_why() {
        for (text, expected) in [
            ("/hepl", "did you mean /help?"),
            ("/xyzzyxyzzy", "/help lists all"),
            ("/save", "name of a file"),
            ("/set top_k", "/set NAME VALUE"),
            ("/clear all", "\"all\""),
        ] {
            let error = Line::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn messages_of_several_lines_end_where_they_should() {
        assert_eq!(lines(&["one"]), [Some("one".to_owned())]);
        assert_eq!(lines(&["one\\", "two"]), [None, Some("one\ntwo".to_owned())]);
        assert_eq!(
            lines(&["\"\"\"", "one\\", "", "two\"\"\"", "x"]).into_iter().flatten().collect::<Vec<_>>(),
            ["one\\\n\ntwo", "x"]
        );
        assert_eq!(lines(&["\"\"\"all\"\"\""]), [Some("all".to_owned())]);
        assert_eq!(lines(&["\"\"\"a", "b", "\"\"\""]), [None, None, Some("a\nb".to_owned())]);
    }
}
