//! Counts sentences.
//!
//! The rules are those of the punkt algorithm (Kiss and Strunk 2006) as far as they need no training: a sentence ends with `.`,
//! `?` or `!` before a space; not after an abbreviation, of which the trained model has many and this list the most common; after
//! an ellipsis, a number or an initial only where a capital follows, and after an initial not even then. A line's end is a space
//! like any other.

/// In small letters and without the last point.
const ABBREVIATIONS: [&str; 48] = [
    "a.m", "adj", "adm", "apr", "approx", "aug", "ave", "capt", "cf", "co", "col", "corp", "dec", "dept",
    "dr", "e.g", "est", "etc", "feb", "fig", "gen", "gov", "hon", "i.e", "inc", "jan", "jr", "lt", "ltd",
    "maj", "mr", "mrs", "ms", "nov", "oct", "p.m", "ph.d", "prof", "rep", "rev", "sen", "sept", "sgt", "sr",
    "st", "u.k", "u.s", "vs",
];

/// Sentences of a text.
pub(super) fn count(text: &str) -> usize {
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let ends = tokens.windows(2).filter(|pair| ends_sentence(pair[0], pair[1])).count();
    if tokens.is_empty() { 0 } else { ends + 1 }
}

/// Whether a sentence ends between two words.
fn ends_sentence(word: &str, next: &str) -> bool {
    let word = word.trim_end_matches(['"', '\'', '”', '’', ')', ']', '}', '*', '_', '»']);
    let word = word.trim_start_matches(['"', '\'', '“', '‘', '(', '[', '{', '*', '_', '«']);
    let next = next.trim_start_matches(['"', '\'', '“', '‘', '(', '[', '{', '*', '_', '«']);
    let capital = next.chars().next().is_some_and(char::is_uppercase);
    if word.ends_with(['?', '!']) {
        return true;
    }
    let Some(before) = word.strip_suffix('.') else { return false };
    if before.ends_with('.') || before.chars().all(|c| c.is_ascii_digit()) {
        return capital;
    }
    let initial = before.chars().count() == 1 && before.chars().all(char::is_uppercase) && before != "I";
    !initial && !ABBREVIATIONS.contains(&before.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_counted() {
        for (text, expected) in [
            ("", 0),
            ("No end", 1),
            ("One. Two! Three? four", 4),
            ("Mr. Smith met Dr. J. Brown at 5 p.m. on Monday.", 1),
            ("He waited... and left. Then... Nothing.", 3),
            ("\"Stop!\" (Now.) **Go.** End", 4),
            ("1. First item\n2. Second item\n", 3),
            ("It costs 3.50 today.\n\n* no point\n* here either", 2),
            ("So am I. Are you?", 2),
        ] {
            assert_eq!(count(text), expected, "{text:?}");
        }
    }
}
