//! MMLU: questions of exams in 57 subjects.

use super::{Data, Document, Examples, Order, Split, Task, metric::ACC};
use lowbit_io::{IoError, texts::Row};

const REPO: &str = "cais/mmlu";
const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

pub(super) const TASK: Task = Task {
    name: "mmlu",
    summary: "questions of exams in 57 subjects; examples are of the same subject",
    paper: "Hendrycks et al., arXiv 2009.03300",
    version: "1.0",
    data: Data::Split(Split {
        repo: REPO,
        config: "all",
        split: "test",
        files: &["mmlu_test", "mmlu"],
        only: None,
    }),
    examples: Some(Examples {
        split: Split { repo: REPO, config: "all", split: "dev", files: &["mmlu_dev"], only: None },
        order: Order::First,
    }),
    shots: 0,
    metrics: &[ACC],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let (subject, choices) = (row.text("subject")?, row.texts("choices")?);
    if choices.len() != LETTERS.len() {
        return Err(row.invalid("choices", format!("{} choices", choices.len()), "4"));
    }
    let mut prompt = row.text("question")?.trim().to_owned();
    for (letter, choice) in LETTERS.iter().zip(&choices) {
        prompt += &format!("\n{letter}. {choice}");
    }
    prompt += "\nAnswer:";
    let right = row.below("answer", row.number("answer")?, LETTERS.len())?;
    let document = Document::choices(prompt, LETTERS.map(str::to_owned).into(), right).of_group(subject);
    let description = format!(
        "The following are multiple choice questions (with answers) about {}.\n\n",
        subject.replace('_', " ")
    );
    Ok(Document { description, ..document })
}
