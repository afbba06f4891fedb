//! ARC: science questions of school exams, an easy and a hard part.

use super::{
    Data, Document, Examples, Order, Split, Task,
    metric::{ACC, ACC_NORM},
};
use lowbit_io::{IoError, texts::Row};

const REPO: &str = "allenai/ai2_arc";

pub(super) const EASY: Task = Task {
    name: "arc_easy",
    summary: "science questions of school exams, the easy part",
    paper: "Clark et al., arXiv 1803.05457",
    version: "1.0",
    data: Data::Split(Split {
        repo: REPO,
        config: "ARC-Easy",
        split: "test",
        files: &["arc_easy_test", "ARC-Easy-Test"],
        only: None,
    }),
    examples: Some(Examples {
        split: Split {
            repo: REPO,
            config: "ARC-Easy",
            split: "train",
            files: &["arc_easy_train"],
            only: None,
        },
        order: Order::Drawn,
    }),
    shots: 0,
    metrics: &[ACC_NORM, ACC],
    document,
};

pub(super) const CHALLENGE: Task = Task {
    name: "arc_challenge",
    summary: "science questions of school exams, those that word statistics answer wrong",
    data: Data::Split(Split {
        repo: REPO,
        config: "ARC-Challenge",
        split: "test",
        files: &["arc_challenge_test", "ARC-Challenge-Test"],
        only: None,
    }),
    examples: Some(Examples {
        split: Split {
            repo: REPO,
            config: "ARC-Challenge",
            split: "train",
            files: &["arc_challenge_train"],
            only: None,
        },
        order: Order::Drawn,
    }),
    ..EASY
};

fn document(row: &Row) -> Result<Document, IoError> {
    let prompt = format!("Question: {}\nAnswer:", row.text("question")?);
    let (choices, right) = labelled(row)?;
    Ok(Document::choices(prompt, choices, right))
}

/// Choices with labels and the label of the right one, or a plain list and its place.
pub(super) fn labelled(row: &Row) -> Result<(Vec<String>, usize), IoError> {
    if row.get("answerKey").is_none() {
        let choices = row.texts("choices")?;
        let right = row.below("answer", row.number("answer")?, choices.len())?;
        return Ok((choices, right));
    }
    let (choices, labels) = (row.texts("choices.text")?, row.texts("choices.label")?);
    let key = row.text("answerKey")?.trim_start();
    match labels.iter().position(|label| label == key) {
        Some(right) => Ok((choices, right)),
        None => Err(row.invalid("answerKey", format!("{key:?}"), format!("one of {labels:?}"))),
    }
}
