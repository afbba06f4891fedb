//! Adversarial GLUE: sentences changed so that models fail and people do not. Prompts are those of the GLUE tasks.

use super::{Data, Document, Split, Task, metric::ACC, sst2};
use lowbit_io::{IoError, texts::Row};

pub(super) const TASK: Task = Task {
    name: "advglue",
    summary: "GLUE's questions in words that were chosen to mislead models; categories are its parts",
    paper: "Wang et al., arXiv 2111.02840",
    version: "1",
    // The hub has a set for each part.
    data: Data::Split(Split {
        repo: "",
        config: "",
        split: "",
        files: &["advglue_dev", "advglue"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let part = row.text("subset")?;
    let (prompt, choices): (String, &[&str]) = match part {
        "sst2" => return Ok(sst2::document(row)?.of_group(part)),
        "qqp" => (
            format!(
                "Question 1: {}\nQuestion 2: {}\nQuestion: Do both questions ask the same thing?\nAnswer:",
                row.text("question1")?,
                row.text("question2")?
            ),
            &["no", "yes"],
        ),
        "mnli" | "mnli-mm" => {
            let hypothesis = row.text("hypothesis")?.trim();
            let point = if hypothesis.ends_with('.') { "" } else { "." };
            let premise = row.text("premise")?;
            (
                format!("{premise}\nQuestion: {hypothesis}{point} True, False or Neither?\nAnswer:"),
                &["True", "Neither", "False"],
            )
        }
        "qnli" => (
            format!(
                "{}\n{}\nQuestion: Does this response answer the question?\nAnswer:",
                row.text("question")?,
                row.text("sentence")?
            ),
            &["yes", "no"],
        ),
        "rte" => (
            format!(
                "{}\nQuestion: {} True or False?\nAnswer:",
                row.text("sentence1")?,
                row.text("sentence2")?
            ),
            &["True", "False"],
        ),
        other => return Err(row.invalid("subset", other, "sst2, qqp, mnli, mnli-mm, qnli or rte")),
    };
    let right = row.below("label", row.number("label")?, choices.len())?;
    let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
    Ok(Document::choices(prompt, choices, right).of_group(part))
}
