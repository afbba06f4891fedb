//! Values written as Python writes them: templates are made for Python's Jinja.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};

/// Writes a value into the text as `str()` would.
pub(super) fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            let mut text = String::new();
            write_repr(value, &mut text, MAX_DEPTH)?;
            state.consume_fuel(text.len() as u64 / 64)?;
            out.write_str(&text).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// The filter `tojson`: `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(super) fn to_json(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Given by some templates; nothing else is ever written.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if indent.is_some_and(|indent| indent > 16) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson cannot indent by more than 16"));
    }
    let json = serde_json::to_value(value).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, "cannot write the value as JSON").with_source(error)
    })?;
    let mut text = String::new();
    write_json(&json, indent, 0, &mut text);
    state.consume_fuel(text.len() as u64 / 64)?;
    Ok(Value::from(text))
}

const MAX_DEPTH: usize = 64;

fn write_repr(value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    if depth == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "recursion limit exceeded"));
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if value.is_integer() => _ = write!(out, "{value}"),
        ValueKind::Number => out.push_str(&float_repr(f64::try_from(value.clone())?)),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (at, item) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_repr(&item, out, depth - 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_repr(&key, out, depth - 1)?;
                out.push_str(": ");
                write_repr(&value.get_item(&key)?, out, depth - 1)?;
            }
            out.push('}');
        }
        _ => match value.as_str() {
            Some(text) => write_str_repr(text, out),
            None => _ = write!(out, "{value}"),
        },
    }
    Ok(())
}

fn write_str_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => _ = write!(out, "\\x{:02x}", c as u32),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// `repr(float)`: the shortest digits that read back, with an exponent from 1e16 and below 1e-4.
fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value:?}")
}

fn write_json(value: &serde_json::Value, indent: Option<usize>, level: usize, out: &mut String) {
    let line = |out: &mut String, level: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    match value {
        serde_json::Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { separator } else { "" });
                line(out, level + 1);
                write_json(item, indent, level + 1, out);
            }
            line(out, level);
            out.push(']');
        }
        serde_json::Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (at, (key, item)) in fields.iter().enumerate() {
                out.push_str(if at > 0 { separator } else { "" });
                line(out, level + 1);
                write_json_string(key, out);
                out.push_str(": ");
                write_json(item, indent, level + 1, out);
            }
            line(out, level);
            out.push('}');
        }
        serde_json::Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&float_repr(float)),
            None => _ = write!(out, "{number}"),
        },
        serde_json::Value::String(text) => write_json_string(text, out),
        other => _ = write!(out, "{other}"),
    }
}

fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (123456.789, "123456.789"),
            (1e22, "1e+22"),
            (5e-324, "5e-324"),
            (9007199254740993.0, "9007199254740992.0"),
        ];
        for (value, expected) in cases {
            assert_eq!(float_repr(value), expected);
        }
    }

    #[test]
    fn strings_choose_their_quotes_as_python_does() {
        let repr = |text: &str| {
            let mut out = String::new();
            write_str_repr(text, &mut out);
            out
        };
        assert_eq!(repr("it's"), r#""it's""#);
        assert_eq!(repr(r#"it's "so""#), r#"'it\'s "so"'"#);
        assert_eq!(repr("a\nb"), r"'a\nb'");
    }
}
