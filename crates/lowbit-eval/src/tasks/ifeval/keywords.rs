//! Words and letters that shall be there or not.

use super::{Check, Relation};
use crate::tasks::pattern;
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;

/// A keyword is a regular expression, capitals do not matter, and it may be part of a word.
fn keyword(arguments: &Row, field: &str, keyword: &str) -> Result<Regex, IoError> {
    Regex::new(&format!("(?i){keyword}"))
        .map_err(|error| arguments.invalid(field, format!("{keyword:?}, {error}"), "a regular expression"))
}

pub(super) fn existence(arguments: &Row) -> Result<Option<Check>, IoError> {
    let words = arguments.texts("keywords")?;
    let words = words.iter().map(|word| keyword(arguments, "keywords", word));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Box::new(move |text| words.iter().all(|word| word.is_match(text)))))
}

/// As whole words.
pub(super) fn forbidden(arguments: &Row) -> Result<Option<Check>, IoError> {
    let words = arguments.texts("forbidden_words")?;
    let words = words.iter().map(|word| keyword(arguments, "forbidden_words", &format!(r"\b{word}\b")));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Box::new(move |text| !words.iter().any(|word| word.is_match(text)))))
}

pub(super) fn frequency(arguments: &Row) -> Result<Option<Check>, IoError> {
    let word = keyword(arguments, "keyword", arguments.text("keyword")?.trim())?;
    let (relation, frequency) = (Relation::of(arguments, "relation")?, arguments.number("frequency")?);
    Ok(Some(Box::new(move |text| relation.holds(pattern::all(&word, text).count(), frequency))))
}

pub(super) fn letter_frequency(arguments: &Row) -> Result<Option<Check>, IoError> {
    let letter = arguments.text("letter")?.trim().to_lowercase();
    if letter.chars().count() != 1 {
        return Err(arguments.invalid("letter", format!("{letter:?}"), "one letter"));
    }
    let (relation, frequency) =
        (Relation::of(arguments, "let_relation")?, arguments.number("let_frequency")?);
    Ok(Some(Box::new(move |text| {
        relation.holds(text.to_lowercase().matches(letter.as_str()).count(), frequency)
    })))
}
