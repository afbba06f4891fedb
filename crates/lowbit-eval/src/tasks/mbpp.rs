//! MBPP: functions in Python to be written from a sentence and three tests, judged by running these.

use super::{
    Data, Document, Examples, Generate, Grade, Language, Metric, Only, Order, Program, Split, Task, humaneval,
};
use lowbit_io::{IoError, texts::Row};

const REPO: &str = "google-research-datasets/mbpp";
/// Tests that are shown and run.
const TESTS: usize = 3;

pub(super) const TASK: Task = Task {
    name: "mbpp",
    summary: "functions in Python from a sentence and three tests; programs are run",
    paper: "Austin et al., arXiv 2108.07732",
    version: "1.0",
    data: Data::Split(Split {
        repo: REPO,
        config: "full",
        split: "test",
        files: &["mbpp_test", "mbpp"],
        only: Some(Only { field: "task_id", from: 11, to: 510 }),
    }),
    examples: Some(Examples {
        split: Split {
            repo: REPO,
            config: "full",
            split: "prompt",
            files: &["mbpp_prompt", "mbpp"],
            // Those of the paper.
            only: Some(Only { field: "task_id", from: 2, to: 4 }),
        },
        order: Order::First,
    }),
    shots: 3,
    metrics: &[Metric::mean("pass_at_1")],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let tests = row.texts("test_list")?;
    if tests.len() < TESTS {
        return Err(row.invalid("test_list", format!("{} tests", tests.len()), "3"));
    }
    let tests = tests[..TESTS].join("\n");
    let prompt = format!(
        "You are an expert Python programmer, and here is your task: {} Your code should pass these tests:\n\n\
         {tests}\n[BEGIN]\n",
        row.text("text")?
    );
    let answer = format!("{}\n[DONE]", row.text("code")?);
    let program = move |code: &str| Program {
        language: Language::Python,
        source: format!("{code}\n{tests}"),
        deadline: humaneval::DEADLINE,
    };
    let generate = Generate { until: vec!["[DONE]".to_owned()], max_tokens: 256 };
    Ok(Document::generate(prompt, answer, generate, Grade::Program(Box::new(program))).delimiter(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prompts_and_programs_are_those_of_the_harness() {
        let fields = json!({ "text": "Add.", "code": "def a():\r\n  1", "test_list": ["t1", "t2", "t3"] });
        let mut row = Row { fields: fields.as_object().unwrap().clone(), number: 1 };
        let found = document(&row).unwrap();
        assert_eq!(
            format!("{}{}{}", found.prompt, found.delimiter, found.answer),
            "You are an expert Python programmer, and here is your task: Add. Your code should pass these tests:\n\n\
             t1\nt2\nt3\n[BEGIN]\ndef a():\r\n  1\n[DONE]"
        );
        let Grade::Program(program) = found.grade else { panic!() };
        assert_eq!(program("code").source, "code\nt1\nt2\nt3");
        row.fields.insert("test_list".to_owned(), json!(["t1"]));
        assert!(document(&row).is_err());
    }
}
