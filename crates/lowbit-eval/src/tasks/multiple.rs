//! MultiPL-E: HumanEval's problems in other languages. The harness has no such task: prompts, ends and time are MultiPL-E's own.

use super::{Data, Document, Generate, Grade, Language, Program, Split, Task, humaneval};
use lowbit_io::{IoError, texts::Row};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(15);

pub(super) const R: Task = Task {
    name: "multiple_r",
    summary: "HumanEval's problems in R; programs are run",
    paper: "Cassano et al., arXiv 2208.08227",
    version: "MultiPL-E",
    data: Data::Split(split("humaneval-r", &["multipl-e_humaneval-r", "humaneval-r"])),
    examples: None,
    shots: 0,
    metrics: humaneval::PASS,
    document: |row| document(row, Language::R),
};

pub(super) const RACKET: Task = Task {
    name: "multiple_rkt",
    summary: "HumanEval's problems in Racket; programs are run",
    data: Data::Split(split("humaneval-rkt", &["multipl-e_humaneval-rkt", "humaneval-rkt"])),
    document: |row| document(row, Language::Racket),
    ..R
};

pub(super) const RUST: Task = Task {
    name: "multiple_rs",
    summary: "HumanEval's problems in Rust; programs are compiled and run",
    data: Data::Split(split("humaneval-rs", &["multipl-e_humaneval-rs", "humaneval-rs"])),
    document: |row| document(row, Language::Rust),
    ..R
};

const fn split(config: &'static str, files: &'static [&'static str]) -> Split {
    Split { repo: "nuprl/MultiPL-E", config, split: "test", files, only: None }
}

fn document(row: &Row, language: Language) -> Result<Document, IoError> {
    let (prompt, tests) = (row.text("prompt")?.to_owned(), row.text("tests")?.to_owned());
    let generate = Generate { until: row.texts("stop_tokens")?, max_tokens: humaneval::COMPLETION };
    let program = {
        let prompt = prompt.clone();
        move |completion: &str| Program {
            language,
            source: format!("{prompt}{completion}\n{tests}"),
            deadline: DEADLINE,
        }
    };
    Ok(Document::generate(prompt, "", generate, Grade::Program(Box::new(program))).delimiter(""))
}
