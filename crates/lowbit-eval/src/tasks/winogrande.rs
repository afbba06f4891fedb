//! WinoGrande: which of two names fills the blank, scored by what comes after it.

use super::{Data, Document, Question, Split, Task, metric::ACC};
use lowbit_io::{IoError, texts::Row};

pub(super) const TASK: Task = Task {
    name: "winogrande",
    summary: "which of two names a blank stands for",
    paper: "Sakaguchi et al., arXiv 1907.10641",
    version: "1.0",
    data: Data::Split(Split {
        repo: "allenai/winogrande",
        config: "winogrande_xl",
        split: "validation",
        files: &["winogrande_val", "winogrande"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let sentence = row.text("sentence")?;
    let (before, after) = sentence
        .split_once('_')
        .ok_or_else(|| row.invalid("sentence", format!("{sentence:?}"), "a _ in it"))?;
    let options = [row.text("option1")?, row.text("option2")?];
    let right = match row.number("answer")? {
        answer @ 1..=2 => answer - 1,
        answer => return Err(row.invalid("answer", answer, "1 or 2")),
    };
    let prompts: Vec<String> = options.iter().map(|option| format!("{before}{option}")).collect();
    let continuation = after.trim().to_owned();
    let document = Document::choices(prompts[right].clone(), prompts.clone(), right);
    Ok(Document {
        answer: continuation.clone(),
        question: Question::Prompts { prompts, continuation },
        ..document
    })
}
