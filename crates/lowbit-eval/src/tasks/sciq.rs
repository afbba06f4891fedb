//! SciQ: questions of science exams, with a text that helps.

use super::{
    Data, Document, Split, Task,
    metric::{ACC, ACC_NORM},
};
use lowbit_io::{IoError, texts::Row};

pub(super) const TASK: Task = Task {
    name: "sciq",
    summary: "questions of science exams, after a text that helps",
    paper: "Welbl et al., arXiv 1707.06209",
    version: "1.0",
    data: Data::Split(Split {
        repo: "allenai/sciq",
        config: "default",
        split: "test",
        files: &["sciq_test", "sciq"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC_NORM, ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let (support, question) = (row.text("support")?.trim_start(), row.text("question")?);
    let choices = ["distractor1", "distractor2", "distractor3", "correct_answer"];
    let choices = choices.map(|field| row.text(field).map(str::to_owned));
    let choices = choices.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Document::choices(format!("{support}\nQuestion: {question}\nAnswer:"), choices, 3))
}
