//! Capitals.

use super::{Check, Relation, language};
use crate::tasks::pattern;
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use std::sync::LazyLock;

/// Has a capital and no small letter, as Python's `isupper`.
fn is_capital(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)
}

/// Has a small letter and no capital, as Python's `islower`.
fn is_lowercase(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)
}

pub(super) fn capital(_: &Row) -> Result<Option<Check>, IoError> {
    Ok(Some(Box::new(|text| is_capital(text) && language::is_english(text))))
}

pub(super) fn lowercase(_: &Row) -> Result<Option<Check>, IoError> {
    Ok(Some(Box::new(|text| is_lowercase(text) && language::is_english(text))))
}

pub(super) fn capital_words(arguments: &Row) -> Result<Option<Check>, IoError> {
    let (relation, frequency) =
        (Relation::of(arguments, "capital_relation")?, arguments.number("capital_frequency")?);
    Ok(Some(Box::new(move |text| {
        relation.holds(pieces(text).filter(|piece| is_capital(piece)).count(), frequency)
    })))
}

/// Words as the Penn Treebank has them, as far as letters go: what is contracted is a word of its own (`DO` and `N'T`), words
/// with hyphens are one.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    static BETWEEN: LazyLock<Regex> =
        LazyLock::new(|| pattern::of(r#"[\s;@#$%&?!\[\](){}<>"“”«»,:]+|--+|\.\.\.+"#));
    static CONTRACTED: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"(?i)(?:n't|'(?:s|m|d|ll|re|ve))'*$"));
    pattern::split(&BETWEEN, text).into_iter().flat_map(|word| {
        let at = CONTRACTED.find(word).map_or(word.len(), |found| found.start());
        [&word[..at], &word[at..]]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capital_words_are_counted_as_the_treebank_has_them() {
        let count = |text: &str| pieces(text).filter(|piece| is_capital(piece)).count();
        for (text, expected) in [
            ("I am", 1),
            ("DON'T go", 2),
            ("I'm A-OK, NASA/ESA. (USA)", 4),
            ("THE END:NOW", 3),
            ("U.S. 42 Ab", 1),
            ("", 0),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }
}
