//! "Did you mean …": the nearest known name to one that is not known.

/// The known name that takes the fewest edits (insert, drop, replace a letter), case apart; `None` where that is more
/// than about a third of the letters, so that nonsense gets no suggestion.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let (distance, best) =
        known.into_iter().map(|k| (distance(&name, &k.to_lowercase()), k)).min_by_key(|(d, _)| *d)?;
    (distance <= 1 + best.chars().count().max(name.chars().count()) / 3).then_some(best)
}

/// Levenshtein distance, one row of the table at a time. Names are cut at 128 letters: longer ones are nobody's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
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
