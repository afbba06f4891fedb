//! Numbers of words, sentences and paragraphs.

use super::{Check, Relation, sentences};
use crate::tasks::pattern;
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use std::sync::LazyLock;

pub(super) fn words(arguments: &Row) -> Result<Option<Check>, IoError> {
    // As Python has it, marks are no part of a word.
    static WORD: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"[\p{L}\p{N}_]+"));
    let (relation, words) = (Relation::of(arguments, "relation")?, arguments.number("num_words")?);
    Ok(Some(Box::new(move |text| relation.holds(pattern::all(&WORD, text).count(), words))))
}

pub(super) fn sentences(arguments: &Row) -> Result<Option<Check>, IoError> {
    let (relation, number) = (Relation::of(arguments, "relation")?, arguments.number("num_sentences")?);
    Ok(Some(Box::new(move |text| relation.holds(sentences::count(text), number))))
}

/// With `***` between them; none may be empty, but for the first and the last, which then do not count.
pub(super) fn paragraphs(arguments: &Row) -> Result<Option<Check>, IoError> {
    static BETWEEN: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"\s?\*\*\*\s?"));
    let number = arguments.number("num_paragraphs")?;
    Ok(Some(Box::new(move |text| {
        let paragraphs = pattern::split(&BETWEEN, text);
        let last = paragraphs.len() - 1;
        let empty = |i: &usize| paragraphs[*i].trim().is_empty();
        let inner = (1..last.max(1)).any(|i| empty(&i));
        !inner && (0..=last).filter(|i| !empty(i)).count() == number
    })))
}

/// With an empty line between them; the nth begins with a word. Empty paragraphs do not count, but the nth is sought among all.
pub(super) fn first_word(arguments: &Row) -> Result<Option<Check>, IoError> {
    let (number, nth) = (arguments.number("num_paragraphs")?, arguments.number("nth_paragraph")?);
    if !(1..=number).contains(&nth) {
        return Err(arguments.invalid("nth_paragraph", nth, format!("a number from 1 to {number}")));
    }
    let word = arguments.text("first_word")?.to_lowercase();
    Ok(Some(Box::new(move |text| {
        let paragraphs: Vec<&str> = text.split("\n\n").collect();
        let count = paragraphs.iter().filter(|paragraph| !paragraph.trim().is_empty()).count();
        let first = paragraphs.get(nth - 1).and_then(|paragraph| paragraph.split_whitespace().next());
        let Some(first) = first.filter(|_| nth <= count) else { return false };
        let first = first.trim_start_matches('\'').trim_start_matches('"');
        let end = first.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(first.len());
        count == number && first[..end].to_lowercase() == word
    })))
}
