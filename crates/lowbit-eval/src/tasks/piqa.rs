//! PIQA: which of two ways to reach a goal works in the physical world.

use super::{
    Data, Document, Split, Task,
    metric::{ACC, ACC_NORM},
};
use lowbit_io::{IoError, texts::Row};

pub(super) const TASK: Task = Task {
    name: "piqa",
    summary: "which of two ways to reach a goal works",
    paper: "Bisk et al., arXiv 1911.11641",
    version: "1.0",
    data: Data::Split(Split {
        repo: "baber/piqa",
        config: "default",
        split: "validation",
        files: &["piqa_valid", "piqa_validation", "piqa"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC_NORM, ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let prompt = format!("Question: {}\nAnswer:", row.text("goal")?);
    let choices = vec![row.text("sol1")?.to_owned(), row.text("sol2")?.to_owned()];
    let right = row.below("label", row.number("label")?, choices.len())?;
    Ok(Document::choices(prompt, choices, right))
}
