//! The form of a response: lists, sections, marks.

use super::Check;
use crate::tasks::pattern;
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use std::sync::LazyLock;

pub(super) fn placeholders(arguments: &Row) -> Result<Option<Check>, IoError> {
    static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"\[.*?\]"));
    let number = arguments.number("num_placeholders")?;
    Ok(Some(Box::new(move |text| pattern::all(&PLACEHOLDER, text).count() >= number)))
}

pub(super) fn postscript(arguments: &Row) -> Result<Option<Check>, IoError> {
    let marker = arguments.text("postscript_marker")?.trim();
    let marked = match marker {
        "P.P.S" => r"p\.\s?p\.\s?s".to_owned(),
        "P.S." => r"p\.\s?s\.".to_owned(),
        other => other.to_lowercase(),
    };
    let marked = Regex::new(&marked).map_err(|error| {
        arguments.invalid("postscript_marker", format!("{marker:?}, {error}"), "a regular expression")
    })?;
    Ok(Some(Box::new(move |text| marked.is_match(text.to_lowercase().as_str()))))
}

pub(super) fn constrained(_: &Row) -> Result<Option<Check>, IoError> {
    const ANSWERS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];
    Ok(Some(Box::new(|text| ANSWERS.iter().any(|answer| text.contains(answer)))))
}

/// JSON, in a block of code or bare.
pub(super) fn json(_: &Row) -> Result<Option<Check>, IoError> {
    Ok(Some(Box::new(|text| {
        let mut text = text.trim();
        for begin in ["```json", "```Json", "```JSON", "```"] {
            text = text.strip_prefix(begin).unwrap_or(text);
        }
        let text = text.strip_suffix("```").unwrap_or(text).trim();
        serde_json::from_str::<serde_json::Value>(text).is_ok()
    })))
}

/// Sections that begin with a word and a number.
pub(super) fn sections(arguments: &Row) -> Result<Option<Check>, IoError> {
    let (word, number) = (arguments.text("section_spliter")?.trim(), arguments.number("num_sections")?);
    let begin = Regex::new(&format!(r"\s?{word}\s?\d+\s?")).map_err(|error| {
        arguments.invalid("section_spliter", format!("{word:?}, {error}"), "a regular expression")
    })?;
    Ok(Some(Box::new(move |text| pattern::all(&begin, text).count() >= number)))
}

pub(super) fn bullets(arguments: &Row) -> Result<Option<Check>, IoError> {
    static STAR: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"(?m)^\s*\*[^\*].*$"));
    static DASH: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"(?m)^\s*-.*$"));
    let number = arguments.number("num_bullets")?;
    Ok(Some(Box::new(move |text| {
        pattern::all(&STAR, text).count() + pattern::all(&DASH, text).count() == number
    })))
}

/// Between single asterisks, or two on either side.
pub(super) fn highlights(arguments: &Row) -> Result<Option<Check>, IoError> {
    static ONE: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"\*[^\n\*]*\*"));
    static TWO: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"\*\*[^\n\*]*\*\*"));
    let number = arguments.number("num_highlights")?;
    Ok(Some(Box::new(move |text| {
        let inner = |found: &&str| !found.trim_matches('*').trim().is_empty();
        let of = |marked| pattern::all(marked, text).filter(inner).count();
        of(&ONE) + of(&TWO) >= number
    })))
}

/// In double angle brackets.
pub(super) fn title(_: &Row) -> Result<Option<Check>, IoError> {
    static TITLE: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"<<[^\n]+>>"));
    Ok(Some(Box::new(|text| {
        pattern::all(&TITLE, text)
            .any(|title| !title.trim_start_matches('<').trim_end_matches('>').trim().is_empty())
    })))
}
