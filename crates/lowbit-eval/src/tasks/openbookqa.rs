//! OpenBookQA: elementary science with a little common sense.

use super::{
    Data, Document, Split, Task, arc,
    metric::{ACC, ACC_NORM},
};
use lowbit_io::{IoError, texts::Row};

pub(super) const TASK: Task = Task {
    name: "openbookqa",
    summary: "elementary science that takes one step of common sense",
    paper: "Mihaylov et al., arXiv 1809.02789",
    version: "1.0",
    data: Data::Split(Split {
        repo: "allenai/openbookqa",
        config: "main",
        split: "test",
        files: &["openbookqa_test", "openbookqa"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC_NORM, ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let field = if row.get("question_stem").is_some() { "question_stem" } else { "question" };
    let (choices, right) = arc::labelled(row)?;
    Ok(Document::choices(row.text(field)?, choices, right))
}
