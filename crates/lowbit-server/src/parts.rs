//! What an answer's text is made of: thoughts, content, calls of tools.
//!
//! Models write all of it into one text. Thoughts stand between `<think>` and `</think>` at the beginning; a call is
//! `<tool_call>\n{"name": "NAME", "arguments": {…}}\n</tool_call>`, which a [grammar](crate::tools) makes sure of.

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// What the model thought before.
    Reasoning(String),
    /// What it says.
    Content(String),
    /// A call of a tool begins.
    Call { index: usize, name: String },
    /// More of the arguments of a call, as JSON.
    Arguments { index: usize, text: String },
}

const THINK: &str = "<think>";
const END_OF_THOUGHT: &str = "</think>";
pub(crate) const CALL: &str = "<tool_call>";
pub(crate) const END_OF_CALL: &str = "}\n</tool_call>";
pub(crate) const NAME: &str = "\n{\"name\": \"";
pub(crate) const ARGUMENTS: &str = "\", \"arguments\": ";

/// Takes text as it comes and gives its parts. What may be the beginning of a mark is held back.
#[derive(Debug)]
pub(crate) struct Parts {
    state: State,
    /// Text that is not decided yet.
    held: String,
    calls: usize,
    /// Whether a call is a call, and not text like any other.
    tools: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// All text is content.
    Plain,
    /// Nothing was said yet.
    Start,
    /// A thought begins: line breaks are left out.
    Opened,
    Thinking,
    /// After a thought: line breaks are left out.
    Thought,
    Content,
    /// Between `<tool_call>` and the arguments.
    Naming,
    Arguing,
    /// After a call: line breaks are left out.
    Called,
}

impl Parts {
    /// Text that is content as a whole.
    pub(crate) fn plain() -> Self {
        Self { state: State::Plain, held: String::new(), calls: 0, tools: false }
    }

    /// An answer in a chat. `thinking`: the prompt has opened a thought already.
    pub(crate) fn chat(tools: bool, thinking: bool) -> Self {
        let state = if thinking { State::Opened } else { State::Start };
        Self { state, tools, ..Self::plain() }
    }

    /// Takes more text.
    pub(crate) fn push(&mut self, text: &str, out: &mut Vec<Part>) {
        self.held.push_str(text);
        while self.step(out) {}
    }

    /// Gives what was held back.
    pub(crate) fn finish(&mut self, out: &mut Vec<Part>) {
        let rest = std::mem::take(&mut self.held);
        if rest.is_empty() {
            return;
        }
        out.push(match self.state {
            State::Opened | State::Thinking => Part::Reasoning(rest),
            State::Arguing => Part::Arguments { index: self.calls - 1, text: rest },
            // A call that broke off before it had a name is none.
            State::Naming => Part::Content(format!("{CALL}{rest}")),
            State::Thought | State::Called if rest.trim().is_empty() => return,
            _ => Part::Content(rest),
        });
    }

    /// One decision; false where more text is needed for the next.
    fn step(&mut self, out: &mut Vec<Part>) -> bool {
        match self.state {
            State::Plain => {
                if !self.held.is_empty() {
                    out.push(Part::Content(std::mem::take(&mut self.held)));
                }
                false
            }
            State::Start => {
                let begun = self.held.trim_start();
                if let Some(rest) = begun.strip_prefix(THINK) {
                    self.held = rest.to_owned();
                    self.state = State::Opened;
                    return true;
                }
                if THINK.starts_with(begun) {
                    return false;
                }
                self.state = State::Content;
                true
            }
            State::Thinking => self.until(END_OF_THOUGHT, State::Thought, Part::Reasoning, out),
            State::Opened | State::Thought | State::Called => {
                let begun = self.held.trim_start_matches('\n').to_owned();
                self.held = begun;
                if self.held.is_empty() {
                    return false;
                }
                self.state = if self.state == State::Opened { State::Thinking } else { State::Content };
                true
            }
            State::Content if self.tools => self.until(CALL, State::Naming, Part::Content, out),
            State::Content => {
                self.state = State::Plain;
                true
            }
            State::Naming => {
                let Some(at) = self.held.find(ARGUMENTS) else { return false };
                let name = self.held[..at].strip_prefix(NAME).unwrap_or_default().to_owned();
                self.held.drain(..at + ARGUMENTS.len());
                out.push(Part::Call { index: self.calls, name });
                self.calls += 1;
                self.state = State::Arguing;
                true
            }
            State::Arguing => {
                let index = self.calls - 1;
                self.until(END_OF_CALL, State::Called, |text| Part::Arguments { index, text }, out)
            }
        }
    }

    /// Gives text up to a mark, and goes on after it.
    fn until(&mut self, mark: &str, next: State, part: impl Fn(String) -> Part, out: &mut Vec<Part>) -> bool {
        let found = self.held.find(mark);
        let certain = found.unwrap_or_else(|| self.held.len() - beginning(&self.held, mark));
        if certain > 0 {
            out.push(part(self.held.drain(..certain).collect()));
        }
        if found.is_some() {
            self.held.drain(..mark.len());
            self.state = next;
        }
        found.is_some()
    }
}

/// Bytes at the end of a text that may be the beginning of a mark.
fn beginning(text: &str, mark: &str) -> usize {
    let longest = text.len().min(mark.len() - 1);
    (1..=longest).rev().find(|len| text.as_bytes().ends_with(&mark.as_bytes()[..*len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Part, Parts};

    /// Parts of a text that comes `size` bytes at a time, neighbours of a kind joined.
    fn parts(mut parser: Parts, text: &str, size: usize) -> Vec<Part> {
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            parser.push(std::str::from_utf8(piece).unwrap(), &mut out);
        }
        parser.finish(&mut out);
        let mut joined: Vec<Part> = Vec::new();
        for part in out {
            match (joined.last_mut(), part) {
                (Some(Part::Content(all)), Part::Content(more)) => all.push_str(&more),
                (Some(Part::Reasoning(all)), Part::Reasoning(more)) => all.push_str(&more),
                (Some(Part::Arguments { text: all, .. }), Part::Arguments { text, .. }) => {
                    all.push_str(&text)
                }
                (_, part) => joined.push(part),
            }
        }
        joined
    }

    #[test]
    fn thoughts_content_and_calls_are_told_apart_however_the_text_is_cut() {
        let text = "<think>\nhm\n</think>\n\nLet me see.<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": {}}}\n\
                    </tool_call>\n<tool_call>\n{\"name\": \"b\", \"arguments\": {}}\n</tool_call>";
        let expected = [
            Part::Reasoning("hm\n".into()),
            Part::Content("Let me see.".into()),
            Part::Call { index: 0, name: "a".into() },
            Part::Arguments { index: 0, text: "{\"x\": {}}".into() },
            Part::Call { index: 1, name: "b".into() },
            Part::Arguments { index: 1, text: "{}".into() },
        ];
        for size in 1..text.len() {
            assert_eq!(parts(Parts::chat(true, false), text, size), expected, "{size}");
        }
    }

    #[test]
    fn text_without_marks_is_content() {
        for text in ["a <thi", "<tool_call", "1 < 2", "\n\n", "<think"] {
            for size in 1..=text.len() {
                assert_eq!(
                    parts(Parts::chat(true, false), text, size),
                    [Part::Content(text.into())],
                    "{text:?}"
                );
            }
        }
        assert_eq!(parts(Parts::chat(false, false), "<tool_call>", 3), [Part::Content("<tool_call>".into())]);
        assert_eq!(parts(Parts::plain(), "<think>", 3), [Part::Content("<think>".into())]);
    }

    #[test]
    fn what_broke_off_is_given_as_far_as_it_came() {
        let call = "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\"";
        let expected =
            [Part::Call { index: 0, name: "a".into() }, Part::Arguments { index: 0, text: "{\"x\"".into() }];
        assert_eq!(parts(Parts::chat(true, false), call, 5), expected);
        assert_eq!(parts(Parts::chat(true, true), "thought", 2), [Part::Reasoning("thought".into())]);
        let broken = "<tool_call>\n{\"na";
        assert_eq!(parts(Parts::chat(true, false), broken, 4), [Part::Content(broken.into())]);
    }
}
