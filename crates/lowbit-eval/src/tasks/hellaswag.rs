//! HellaSwag: which ending goes on with what happens.

use super::{
    Document, Split, Task,
    metric::{ACC, ACC_NORM},
};
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use std::sync::LazyLock;

pub(super) const TASK: Task = Task {
    name: "hellaswag",
    summary: "which of four endings goes on with an activity",
    paper: "Zellers et al., arXiv 1905.07830",
    version: "1.0",
    data: Split {
        repo: "Rowan/hellaswag",
        config: "default",
        split: "validation",
        files: &["hellaswag_val", "hellaswag"],
        only: None,
    },
    examples: None,
    shots: 0,
    metrics: &[ACC_NORM, ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    // Some files have the question put together already.
    let query = match row.get("query") {
        Some(_) => row.text("query")?.to_owned(),
        None => {
            let (label, a, b) = (row.text("activity_label")?, row.text("ctx_a")?, row.text("ctx_b")?);
            cleaned(&format!("{label}: {a} {}", capitalized(b)))
        }
    };
    let endings = row.texts("endings")?;
    let endings: Vec<String> = match row.get("query") {
        Some(_) => endings,
        None => endings.iter().map(|ending| cleaned(ending)).collect(),
    };
    let right = row.below("label", row.number("label")?, endings.len())?;
    Ok(Document::choices(query, endings, right))
}

/// What WikiHow left behind is taken away.
fn cleaned(text: &str) -> String {
    static BRACKETS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[.*?\]").expect("the pattern is valid"));
    let text = text.trim().replace(" [title]", ". ");
    let mut rest = String::new();
    let mut end = 0;
    for found in BRACKETS.find_iter(&text) {
        rest.push_str(&text[end..found.start()]);
        end = found.end();
    }
    rest.push_str(&text[end..]);
    rest.replace("  ", " ")
}

/// The first character as a capital and all others small, as Python's `capitalize`.
fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + &characters.as_str().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_put_together_as_the_harness_does() {
        assert_eq!(cleaned("  How to [title] do it [step] now  "), "How to. do it now");
        assert_eq!(capitalized("he SAYS"), "He says");
        assert_eq!(capitalized(""), "");
    }
}
