//! The sandbox in which a template runs.

use std::error::Error as _;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::TemplateLimits;
use super::python;
use crate::error::{Result, TextError};

const NAME: &str = "chat_template";

/// An environment that knows nothing but the one template.
pub(super) fn environment(source: &str, limits: TemplateLimits) -> Result<Environment<'static>> {
    if source.len() > limits.source_bytes {
        return Err(TextError::TemplateLimit { what: "source in bytes", limit: limits.source_bytes as u64 });
    }
    if longest_tag(source) > limits.tag_bytes {
        return Err(TextError::TemplateLimit {
            what: "code in one tag in bytes",
            limit: limits.tag_bytes as u64,
        });
    }
    if elif_tags(source) > limits.elif_tags {
        return Err(TextError::TemplateLimit { what: "number of elif tags", limit: limits.elif_tags as u64 });
    }
    let mut environment = Environment::new();
    // As transformers sets up Jinja.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| TextError::TemplateSyntax(explain(&error)))?);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(limits.fuel));
    environment.set_recursion_limit(limits.nesting);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(python::format_value);
    environment.add_filter("tojson", python::to_json);
    environment.add_function("raise_exception", raise_exception);
    environment
        .add_template_owned(NAME, without_generation_tags(source))
        .map_err(|error| TextError::TemplateSyntax(explain(&error)))?;
    Ok(environment)
}

pub(super) fn render(
    environment: &Environment<'static>,
    context: Value,
    limits: TemplateLimits,
) -> Result<String> {
    let template =
        environment.get_template(NAME).map_err(|error| TextError::TemplateFailed(explain(&error)))?;
    let mut output = CappedOutput { bytes: Vec::new(), limit: limits.output_bytes, full: false };
    let result = template.render_captured_to(context, &mut output);
    if output.full {
        return Err(TextError::TemplateLimit { what: "output in bytes", limit: limits.output_bytes as u64 });
    }
    if let Err(error) = result {
        return Err(classify(&error, limits));
    }
    String::from_utf8(output.bytes).map_err(|error| TextError::TemplateFailed(error.to_string()))
}

fn classify(error: &Error, limits: TemplateLimits) -> TextError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(Refusal(message)) = inner.downcast_ref() {
            return TextError::TemplateRefused(message.clone());
        }
        if inner.downcast_ref::<Error>().is_some_and(|inner| inner.kind() == ErrorKind::OutOfFuel) {
            return TextError::TemplateLimit { what: "work in engine steps", limit: limits.fuel };
        }
        // The engine has no kind of its own for this.
        if inner.to_string().contains("recursion limit exceeded") {
            return TextError::TemplateLimit { what: "nesting", limit: limits.nesting as u64 };
        }
        cause = inner.source();
    }
    TextError::TemplateFailed(explain(error))
}

fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    // A template's own strings may be in it, of any length.
    if text.chars().count() > 500 { text.chars().take(500).chain(['…']).collect() } else { text }
}

/// What a template says through `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    let message: String = message.chars().take(1000).collect();
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Refusal(message)))
}

struct CappedOutput {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl io::Write for CappedOutput {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if part.len() > self.limit - self.bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The most bytes between `{{` and `}}` or `{%` and `%}`, string literals not counted.
///
/// The engine limits brackets and blocks, but handles a chain of operators by recursion without limit: a
/// hundred thousand `+ 1` would overflow the stack. A chain lies in one tag.
fn longest_tag(source: &str) -> usize {
    let bytes = source.as_bytes();
    let (mut at, mut longest) = (0, 0);
    while at + 1 < bytes.len() {
        let close: &[u8; 2] = match &bytes[at..at + 2] {
            b"{{" => b"}}",
            b"{%" => b"%}",
            b"{#" => {
                at = source[at..].find("#}").map_or(bytes.len(), |end| at + end + 2);
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let mut code = 0;
        at += 2;
        while at < bytes.len() && !bytes[at..].starts_with(close) {
            let quote = bytes[at];
            at += 1;
            code += 1;
            if matches!(quote, b'\'' | b'"') {
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
        }
        longest = longest.max(code);
    }
    longest
}

/// How many `{% elif %}` there are; the engine takes each as a condition inside the one before, again by recursion.
fn elif_tags(source: &str) -> usize {
    let tags = source.split("{%").skip(1);
    tags.filter(|tag| tag.trim_start_matches(['-', '+']).trim_start().starts_with("elif")).count()
}

/// transformers marks the assistant's own words with `{% generation %}` blocks for training. They render as
/// what is in them; a condition that always holds does the same with the same treatment of white space.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        // Not from its first byte: the `%` that opens a tag does not close it too.
        let Some(code) = tag[2..].find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(2 + code + 2);
        let inner = tag[2..][..code].trim_matches(['-', '+']).trim();
        match inner {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_in_tags_is_measured_without_strings_and_comments() {
        assert_eq!(longest_tag("text {{ ab }} {% if 'a }} long \\' string' %} {# a comment #} '"), 6);
        assert_eq!(longest_tag("{{ 'open"), 2);
        assert_eq!(longest_tag("{"), 0);
    }

    #[test]
    fn generation_tags_become_conditions_with_the_same_white_space() {
        assert_eq!(
            without_generation_tags("a{%- generation -%}b{% endgeneration %}c{% if generation %}{% endif %}"),
            "a{%- if true -%}b{% endif %}c{% if generation %}{% endif %}"
        );
        assert_eq!(without_generation_tags("{% generation"), "{% generation");
    }

    #[test]
    fn a_percent_sign_does_not_both_open_and_close_a_tag() {
        for source in ["{%}", "{%", "a{%%}b", "{%}{% endgeneration %}", "{%} generation %}"] {
            assert_eq!(without_generation_tags(source), source);
        }
        let error = environment("{%}", TemplateLimits::default()).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("does not parse")));
    }
}
