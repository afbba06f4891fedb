//! SST-2: whether a sentence of a film review is positive.

use super::{Data, Document, Split, Task, metric::ACC};
use lowbit_io::{IoError, texts::Row};

pub(super) const TASK: Task = Task {
    name: "sst2",
    summary: "whether a sentence of a film review is positive; also sentence polarity, which asks the same of other sentences",
    paper: "Socher et al., EMNLP 2013; sentence polarity: Pang and Lee, arXiv cs/0506075",
    version: "1.0",
    data: Data::Split(Split {
        repo: "nyu-mll/glue",
        config: "sst2",
        split: "validation",
        files: &["sst2_validation", "sst2", "sentence_polarity"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC],
    document,
};

pub(super) fn document(row: &Row) -> Result<Document, IoError> {
    let field = if row.get("sentence").is_some() { "sentence" } else { "text" };
    let prompt = format!("{}\nQuestion: Is this sentence positive or negative?\nAnswer:", row.text(field)?);
    let right = row.below("label", row.number("label")?, 2)?;
    Ok(Document::choices(prompt, vec!["negative".into(), "positive".into()], right))
}
