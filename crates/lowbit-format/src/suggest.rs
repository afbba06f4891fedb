//! "Did you mean …": the nearest known name to one that is not known.

use strsim::levenshtein;

/// The known name that takes the fewest edits (insert, drop, replace a letter), case apart; `None` where that is more
/// than about a third of the letters, so that nonsense gets no suggestion.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names are cut: a hostile one may be megabytes long, and nothing that long is a typing mistake.
    let name: String = name.chars().take(128).collect::<String>().to_lowercase();
    let (distance, best) =
        known.into_iter().map(|k| (levenshtein(&name, &k.to_lowercase()), k)).min_by_key(|(d, _)| *d)?;
    (distance <= 1 + best.chars().count().max(name.chars().count()) / 3).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_whatever_its_case_and_nonsense_finds_none() {
        let known = ["q4_k", "q4_0", "int4-sym-g128"];
        assert_eq!(nearest("Q4K", known), Some("q4_k"));
        assert_eq!(nearest("int4-sim-g128", known), Some("int4-sym-g128"));
        assert_eq!(nearest("completely-else", known), None);
        assert_eq!(nearest("q4_k", []), None);
    }
}
