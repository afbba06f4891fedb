//! HumanEval: functions in Python to be completed, judged by running tests.

use super::{Data, Document, Generate, Grade, Language, Metric, Program, Split, Task};
use lowbit_io::{IoError, texts::Row};
use std::time::Duration;

/// Shares of problems that one, ten and a hundred programs solve.
pub(super) const PASS: &[Metric] =
    &[Metric::mean("pass@1"), Metric::mean("pass@10"), Metric::mean("pass@100")];
/// The harness's time for a program.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);
/// Tokens of a completion.
pub(super) const COMPLETION: usize = 1024;

const UNTIL: [&str; 5] = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];

pub(super) const TASK: Task = Task {
    name: "humaneval",
    summary: "functions in Python to be completed; programs are run",
    paper: "Chen et al., arXiv 2107.03374",
    version: "1.0",
    data: Data::Split(Split {
        repo: "openai/openai_humaneval",
        config: "openai_humaneval",
        split: "test",
        files: &["humaneval"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: PASS,
    document,
};

pub(super) const INSTRUCT: Task = Task {
    name: "humaneval_instruct",
    summary: "the same, asked for as a task in words",
    version: "4.0",
    document: instruct,
    ..TASK
};

/// A completion and the tests after it.
fn completed(row: &Row) -> Result<impl Fn(&str) -> Program + Send + Sync + use<>, IoError> {
    let prompt = row.text("prompt")?.to_owned();
    let tests = format!("{}\ncheck({})", row.text("test")?, row.text("entry_point")?);
    Ok(move |completion: &str| Program {
        language: Language::Python,
        source: format!("{prompt}{completion}\n{tests}"),
        deadline: DEADLINE,
    })
}

fn generate() -> Generate {
    Generate { until: UNTIL.map(str::to_owned).into(), max_tokens: COMPLETION }
}

fn document(row: &Row) -> Result<Document, IoError> {
    let program = completed(row)?;
    let solution = row.text("canonical_solution").unwrap_or_default();
    Ok(Document::generate(row.text("prompt")?, solution, generate(), Grade::Program(Box::new(program)))
        .delimiter(""))
}

fn instruct(row: &Row) -> Result<Document, IoError> {
    let prompt = row.text("prompt")?;
    let program = completed(row)?;
    // Up to where the block of code ends.
    let program = move |said: &str| program(said.split("```").next().unwrap_or_default());
    let question = format!(
        "Write a solution to the following problem and make sure that it passes the tests:\n```python\n{prompt}\n```\n"
    );
    let begun = format!("Here is the completed function:\n```python\n{prompt}\n");
    let solution = row.text("canonical_solution").unwrap_or_default();
    let document = Document::generate(question, solution, generate(), Grade::Program(Box::new(program)));
    Ok(Document { begun, ..document.delimiter("") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn programs_are_put_together_as_the_harness_does() {
        let fields =
            json!({ "prompt": "def f():\n", "test": "def check(c):\n    c()\n", "entry_point": "f" });
        let row = Row { fields: fields.as_object().unwrap().clone(), number: 1 };
        let source = |document: Document, said: &str| {
            let Grade::Program(program) = document.grade else { panic!() };
            program(said).source
        };
        let plain = document(&row).unwrap();
        assert_eq!((plain.prompt.as_str(), plain.begun.as_str()), ("def f():\n", ""));
        let expected = "def f():\n    pass\ndef check(c):\n    c()\n\ncheck(f)";
        assert_eq!(source(plain, "    pass"), expected);
        let asked = instruct(&row).unwrap();
        assert!(asked.prompt.ends_with("tests:\n```python\ndef f():\n\n```\n"), "{}", asked.prompt);
        assert_eq!(asked.begun, "Here is the completed function:\n```python\ndef f():\n\n");
        assert_eq!(source(asked, "    pass```\nThis does nothing."), expected);
    }
}
