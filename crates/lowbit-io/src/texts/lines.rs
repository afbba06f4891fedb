//! Files of lines, each an object with a document in one of its fields.

use super::{Texts, source::Source};
use crate::IoError;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::{borrow::Cow, fmt};

/// Most bytes of a line: the longest books of a data set have some 10 MB.
pub(super) const MAX_LINE: u64 = 64 << 20;

/// Fields that a message names.
const NAMED_FIELDS: usize = 8;

/// The documents of all lines; blank lines hold none.
pub(super) fn read(mut source: Source, field: &str) -> Result<Texts, IoError> {
    let (mut documents, mut line) = (Vec::new(), Vec::new());
    let mut number = 0u64;
    while source.line(&mut line, MAX_LINE)? {
        number += 1;
        if !line.trim_ascii().is_empty() {
            documents.push(document(&line, number, field)?);
        }
    }
    if documents.is_empty() {
        return Err(IoError::invalid("text", "no line with a document", "at least one"));
    }
    Ok(Texts { documents, sha256: source.sha256() })
}

/// The document of one line, numbered from 1.
fn document(line: &[u8], number: u64, field: &str) -> Result<String, IoError> {
    let mut json = serde_json::Deserializer::from_slice(line);
    let found = json.deserialize_map(Field(field)).and_then(|found| json.end().map(|()| found));
    let place = || format!("line {number}, field {field:?}");
    match found {
        Ok(Found::Text(text)) => Ok(text),
        Ok(Found::Other(kind)) => Err(IoError::invalid(place(), kind, "text; name the field that holds it")),
        Ok(Found::Nothing(names)) => {
            let among = if names.is_empty() { "no field at all".into() } else { names.join(", ") };
            Err(IoError::invalid(
                place(),
                among,
                format!("a field {field:?}; name the one that holds the text"),
            ))
        }
        Err(error) => Err(IoError::invalid(
            format!("line {number}"),
            error,
            format!("a JSON object with a field {field:?}"),
        )),
    }
}

/// What a line has in the field that was looked for.
enum Found {
    Text(String),
    /// A value of another kind.
    Other(&'static str),
    /// No such field; the first of those that are there.
    Nothing(Vec<String>),
}

/// Looks for one field of an object; of the others no value is kept.
struct Field<'a>(&'a str);

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with a field {:?}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = None;
        let mut names = Vec::new();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
                if names.len() < NAMED_FIELDS {
                    names.push(format!("{name:?}"));
                }
            } else if found.is_some() {
                return Err(serde::de::Error::custom(format_args!("field {name:?} occurs twice")));
            } else {
                found = Some(map.next_value::<Value>()?);
            }
        }
        Ok(match found {
            Some(Value::Text(text)) => Found::Text(text),
            Some(Value::Other(kind)) => Found::Other(kind),
            None => Found::Nothing(names),
        })
    }
}

/// Text, or the kind of another value, which is not kept.
enum Value {
    Text(String),
    Other(&'static str),
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other("a truth value"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other("null"))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_that_of_the_field_wherever_it_stands() {
        for (line, field) in [
            (r#"{"text": "a\nb"}"#, "text"),
            (r#"{"url": {"text": [1, {"x": null}]}, "text": "a\nb", "n": 1e300}"#, "text"),
            ("{\"te\\u0078t\": \"a\\u000ab\"}\r", "text"),
            (r#"{"text": 5, "content": "a\nb"}"#, "content"),
        ] {
            assert_eq!(document(line.as_bytes(), 1, field).unwrap(), "a\nb", "{line}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_with_its_number_and_field() {
        for (line, said) in [
            (
                r#"{"content": "a", "id": 1}"#,
                r#"line 7, field "text": found "content", "id", expected a field"#,
            ),
            ("{}", r#"line 7, field "text": found no field at all"#),
            (r#"{"text": 1}"#, r#"line 7, field "text": found a number, expected text"#),
            (r#"{"text": -1}"#, "found a number"),
            (r#"{"text": 1.5}"#, "found a number"),
            (r#"{"text": true}"#, "found a truth value"),
            (r#"{"text": null}"#, "found null"),
            (r#"{"text": ["a"]}"#, "found an array"),
            (r#"{"text": {"text": "a"}}"#, "found an object"),
            (r#"{"text": "a", "text": "b"}"#, "occurs twice"),
            (r#"["text"]"#, "line 7: found invalid type: sequence"),
            (r#"{"text": "a"} x"#, "line 7: found trailing characters"),
            (r#"{"text": "a"#, "line 7: found EOF"),
            (r#"{"text": "\ud800"}"#, "line 7: found "),
            ("plain", "line 7: found expected value"),
        ] {
            let error = document(line.as_bytes(), 7, "text").unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
        // Nothing that is deep is taken apart by recursion.
        for field in ["a", "text"] {
            let deep = format!("{{\"{field}\": {}", "[".repeat(1_000_000));
            assert!(document(deep.as_bytes(), 1, "text").is_err(), "{field}");
        }
        assert!(document(b"{\"text\": \"\xff\"}", 1, "text").is_err());
    }
}
