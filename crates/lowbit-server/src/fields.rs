//! Fields of a request, each taken by name and checked. What nobody took is refused, so that no field is ever ignored.

use crate::error::ApiError;
use axum::http::StatusCode;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Fields that were not taken yet. A field that is null counts as absent.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of a JSON object. Nesting is limited to 128 levels by the parser.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ApiError::new(StatusCode::BAD_REQUEST, "the body is not a JSON object")),
            Err(error) => {
                Err(ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))
            }
        }
    }

    pub(crate) fn of(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The fields of an object inside of a request.
    pub(crate) fn object(path: &str, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            Value::Null => Err(ApiError::field(path, "missing")),
            other => Err(expected(path, "an object", &other)),
        }
    }

    /// A word that is one of those known.
    pub(crate) fn is(&mut self, path: &str, name: &str, words: &[&str]) -> Result<String, ApiError> {
        let value = self.take(name).unwrap_or_default();
        match value.as_str() {
            Some(word) if words.contains(&word) => Ok(word.to_owned()),
            _ => Err(expected(&format!("{path}.{name}"), &words.join(", "), &value)),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(expected(name, "a string", &other)),
        }
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(expected(name, "true or false", &other)),
        }
    }

    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(Some(number as f32)),
            _ => Err(expected(name, &format!("a number from {} to {}", range.start(), range.end()), &value)),
        }
    }

    pub(crate) fn count(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64() {
            Some(count) if range.contains(&count) => Ok(Some(count)),
            _ => {
                let range = format!("an integer from {} to {}", range.start(), range.end());
                Err(expected(name, &range, &value))
            }
        }
    }

    /// A field whose only meaning here is the one that it has when it is absent.
    pub(crate) fn only(&mut self, name: &str, neutral: &[Value]) -> Result<(), ApiError> {
        match self.take(name) {
            Some(value) if !neutral.contains(&value) => {
                let allowed: Vec<String> = neutral.iter().map(Value::to_string).collect();
                let allowed = if allowed.is_empty() {
                    String::new()
                } else {
                    format!("; it may be {}", allowed.join(" or "))
                };
                Err(ApiError::field(name, format!("not supported by this server{allowed}"))
                    .with_code("unsupported"))
            }
            _ => Ok(()),
        }
    }

    /// [`Self::finish`] for the fields of a body that others still hold.
    pub(crate) fn nothing_left(&mut self) -> Result<(), ApiError> {
        Self(std::mem::take(&mut self.0)).finish("")
    }

    /// Refuses what is left. `within` is the path of the object, empty for the body.
    pub(crate) fn finish(self, within: &str) -> Result<(), ApiError> {
        match self.0.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let path = if within.is_empty() { name } else { format!("{within}.{name}") };
                Err(ApiError::field(path, "not known to this server, and not ignored")
                    .with_code("unknown_field"))
            }
        }
    }
}

/// Something of each item of a list, whose path it is told.
pub(crate) fn each<T>(
    path: &str,
    list: Vec<Value>,
    mut one: impl FnMut(&str, Value) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    list.into_iter().enumerate().map(|(place, item)| one(&format!("{path}[{place}]"), item)).collect()
}

/// Something of each of the messages; there has to be one.
pub(crate) fn each_message<T>(
    value: Option<Value>,
    one: impl FnMut(&str, Value) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    match value {
        Some(Value::Array(list)) if !list.is_empty() => each("messages", list, one),
        Some(other) => Err(expected("messages", "a list of at least one message", &other)),
        None => Err(ApiError::field("messages", "missing")),
    }
}

/// A value of another kind than the field has.
pub(crate) fn expected(name: &str, what: &str, found: &Value) -> ApiError {
    let mut found = found.to_string();
    if found.len() > 80 {
        let end = (0..=80).rev().find(|end| found.is_char_boundary(*end)).unwrap_or(0);
        found.truncate(end);
        found.push('…');
    }
    ApiError::field(name, format!("expected {what}, found {found}"))
}
