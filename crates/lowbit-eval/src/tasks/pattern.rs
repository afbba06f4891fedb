//! Regular expressions, which match as Python's `re` does: the first alternative that fits, from left to right.

use regex_automata::{meta::Regex, util::captures::Captures};

/// One that is known to be valid.
pub(super) fn of(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern:?} is no pattern: {error}"))
}

/// All that matches.
pub(super) fn all<'t>(pattern: &Regex, text: &'t str) -> impl Iterator<Item = &'t str> {
    pattern.find_iter(text).map(|found| &text[found.range()]).collect::<Vec<_>>().into_iter()
}

/// The first group that takes part in each match.
pub(super) fn groups<'t>(pattern: &Regex, text: &'t str) -> Vec<&'t str> {
    let group = |found: Captures| (1..found.group_len()).find_map(|i| found.get_group(i));
    pattern.captures_iter(text).filter_map(group).map(|group| &text[group.range()]).collect()
}

/// The text between matches.
pub(super) fn split<'t>(pattern: &Regex, text: &'t str) -> Vec<&'t str> {
    pattern.split(text).map(|part| &text[part.range()]).collect()
}

/// The text without what matches.
pub(super) fn without(pattern: &Regex, text: &str) -> String {
    split(pattern, text).concat()
}

/// Of every match, what `keep` makes of its first group.
pub(super) fn replaced(pattern: &Regex, text: &str, keep: impl Fn(&str) -> String) -> String {
    let (mut result, mut end) = (String::new(), 0);
    for found in pattern.captures_iter(text) {
        let Some(whole) = found.get_match() else { continue };
        result.push_str(&text[end..whole.start()]);
        result += &keep(found.get_group(1).map_or("", |group| &text[group.range()]));
        end = whole.end();
    }
    result + &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_kept_replaced_and_taken_away() {
        let digits = of("([0-9])[0-9]*|(x)");
        assert_eq!(all(&digits, "a12x 3").collect::<Vec<_>>(), ["12", "x", "3"]);
        assert_eq!(groups(&digits, "a12x 3"), ["1", "x", "3"]);
        assert_eq!(split(&digits, "a12b3"), ["a", "b", ""]);
        assert_eq!(without(&digits, "a12b3"), "ab");
        assert_eq!(
            replaced(&of(r"\(\s*(.*?)\s*\)"), "a ( b ) (c)d", |group| format!("<{group}>")),
            "a <b> <c>d"
        );
    }
}
