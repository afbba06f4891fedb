//! BoolQ: yes or no questions about a passage.

use super::{Data, Document, Split, Task, metric::ACC};
use lowbit_io::{IoError, texts::Row};

pub(super) const TASK: Task = Task {
    name: "boolq",
    summary: "yes or no questions about a passage",
    paper: "Clark et al., arXiv 1905.10044",
    version: "2.0",
    data: Data::Split(Split {
        repo: "aps/super_glue",
        config: "boolq",
        split: "validation",
        files: &["boolq_dev", "boolq_validation", "boolq"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    // The original file has the title apart.
    let title = match row.get("title") {
        Some(_) => format!("{} -- ", row.text("title")?),
        None => String::new(),
    };
    let (passage, question) = (row.text("passage")?, row.text("question")?);
    let prompt = format!("{title}{passage}\nQuestion: {question}?\nAnswer:");
    let field = if row.get("label").is_some() { "label" } else { "answer" };
    let right = row.below(field, row.number(field)?, 2)?;
    Ok(Document::choices(prompt, vec!["no".into(), "yes".into()], right))
}
