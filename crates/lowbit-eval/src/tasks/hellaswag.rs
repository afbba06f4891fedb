//! HellaSwag: which ending goes on with what happens.

use super::{
    Data, Document, Split, Task, capitalized,
    metric::{ACC, ACC_NORM},
    pattern,
};
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use std::sync::LazyLock;

pub(super) const TASK: Task = Task {
    name: "hellaswag",
    summary: "which of four endings goes on with an activity",
    paper: "Zellers et al., arXiv 1905.07830",
    version: "1.0",
    data: Data::Split(Split {
        repo: "Rowan/hellaswag",
        config: "default",
        split: "validation",
        files: &["hellaswag_val", "hellaswag"],
        only: None,
    }),
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
    static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"\[.*?\]"));
    let text = text.trim().replace(" [title]", ". ");
    pattern::without(&BRACKETS, &text).replace("  ", " ")
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
