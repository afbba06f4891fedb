//! Tasks whose answers are programs: solutions that are known to be right pass, others do not, and nothing runs unasked.

use crate::Place;
use lowbit::{
    eval::{
        harness::{Settings, TaskData},
        tasks::{Grade, Language, Program, Task, Verdict},
    },
    sandbox::{Launcher, Runner},
};
use std::path::PathBuf;

/// What runs a language; `None`, with the reason printed, where this machine cannot.
fn runner(language: Language) -> Option<Runner> {
    let launcher = Launcher {
        program: env!("CARGO_BIN_EXE_lowbit").into(),
        arguments: vec!["sandbox-child".to_owned()],
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = Runner::new(launcher, &[language], &path);
    found.inspect_err(|error| println!("skipped: {error}")).ok()
}

/// What a task says of the rows of a file: known solutions, and the programs that completions make.
fn documents(task: &Task, file: &str) -> Option<Vec<(String, impl Fn(&str) -> Program)>> {
    let path = lowbit_testing::data_file(file)?;
    let data =
        TaskData::read(task, &Settings::of(task), |_| Ok::<PathBuf, lowbit::eval::EvalError>(path.clone()))
            .unwrap();
    let documents = data.rows.rows.iter().map(|row| {
        let document = (task.document)(row).unwrap();
        let Grade::Program(program) = document.grade else { panic!("{} runs no programs", task.name) };
        (document.answer, program)
    });
    Some(documents.collect())
}

/// Programs that did not end as they should.
fn wrong(
    runner: &Runner,
    programs: impl Iterator<Item = Program>,
    passes: fn(&Verdict) -> bool,
) -> Vec<String> {
    let verdicts = programs.map(|program| (runner.run(&program).unwrap(), program));
    let wrong = verdicts.filter(|(verdict, _)| !passes(verdict));
    wrong.map(|(verdict, program)| format!("{verdict:?}\n{}", program.source)).collect()
}

#[test]
fn all_solutions_of_humaneval_pass_and_functions_that_do_nothing_fail() {
    let Some(runner) = runner(Language::Python) else { return };
    let task = Task::named("humaneval").unwrap();
    let Some(documents) = documents(task, "code/HumanEval.jsonl") else { return };
    assert_eq!(documents.len(), 164);
    let right = documents.iter().map(|(solution, program)| program(solution));
    let failed = wrong(&runner, right, |verdict| *verdict == Verdict::Passed);
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let idle = documents.iter().map(|(_, program)| program("    return None\n"));
    let passed = wrong(&runner, idle.take(40), |verdict| *verdict != Verdict::Passed);
    assert!(passed.is_empty(), "{}", passed.join("\n\n"));
}

#[test]
fn solutions_of_mbpp_pass_and_those_of_other_problems_fail() {
    let Some(runner) = runner(Language::Python) else { return };
    let task = Task::named("mbpp").unwrap();
    let Some(documents) = documents(task, "code/mbpp.jsonl.gz") else { return };
    // The even numbers of 11 to 510.
    assert_eq!(documents.len(), 250);
    let code = |answer: &str| answer.strip_suffix("\n[DONE]").unwrap().to_owned();
    let right = documents.iter().map(|(answer, program)| program(&code(answer)));
    let failed = wrong(&runner, right.take(50), |verdict| *verdict == Verdict::Passed);
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let others = documents.windows(2).map(|pair| pair[0].1(&code(&pair[1].0)));
    let passed = wrong(&runner, others.take(10), |verdict| *verdict != Verdict::Passed);
    assert!(passed.is_empty(), "{}", passed.join("\n\n"));
}

/// The first problem of each file is to return the length of a string.
#[test]
fn programs_in_r_racket_and_rust_are_judged() {
    let cases = [
        ("multiple_r", Language::R, "r", "\n  nchar(string)\n}\n", "\n  7\n}\n"),
        ("multiple_rkt", Language::Racket, "rkt", "  (string-length string))\n", "  7)\n"),
        ("multiple_rs", Language::Rust, "rs", "    string.len() as isize", "    string.len()"),
    ];
    for (name, language, ending, right, not_right) in cases {
        let file = format!("code/multipl-e_humaneval-{ending}.jsonl");
        let Some(documents) = documents(Task::named(name).unwrap(), &file) else { continue };
        let Some(runner) = runner(language) else { continue };
        let (_, program) = &documents[0];
        assert_eq!(runner.run(&program(right)).unwrap(), Verdict::Passed, "{name}");
        let Verdict::Failed(why) = runner.run(&program(not_right)).unwrap() else { panic!("{name}") };
        let expected = match language {
            Language::Racket => "FAILURE",
            Language::R => "status 1",
            _ => "rustc: status 1: error[E0308]",
        };
        assert!(why.contains(expected), "{name}: {why}");
    }
}

/// `exec` of the harness knows no main program, and leaving early is no success.
#[test]
fn python_programs_run_as_in_the_harness() {
    let Some(runner) = runner(Language::Python) else { return };
    let run = |source: &str| {
        let deadline = std::time::Duration::from_secs(3);
        runner.run(&Program { language: Language::Python, source: source.to_owned(), deadline }).unwrap()
    };
    assert_eq!(run("if __name__ == '__main__':\n    1 / 0\n"), Verdict::Passed);
    assert_eq!(run("x = 'é'\r\nassert len(x) == 1\r\n"), Verdict::Passed);
    for (source, why) in [
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("input()", "EOFError"),
        ("assert 1 == 2", "AssertionError"),
        ("def f(:", "SyntaxError"),
    ] {
        let Verdict::Failed(said) = run(source) else { panic!("{source} passed") };
        assert!(said.starts_with("status 1: ") && said.contains(why), "{source}: {said}");
    }
}

const PROBLEM: &str = r#"{"task_id": "T/0", "prompt": "def one():\n", "entry_point": "one", "canonical_solution": "    return 1\n", "test": "def check(candidate):\n    assert candidate() == 1\n"}"#;

#[test]
fn programs_run_only_where_that_is_allowed_and_their_errors_are_kept() {
    let place = Place::new();
    let file = place.path("humaneval.jsonl");
    std::fs::write(&file, format!("{PROBLEM}\n{PROBLEM}\n")).unwrap();
    let data = file.parent().unwrap().to_str().unwrap();
    let results = place.path("results.sqlite");
    let results = results.to_str().unwrap();
    let common = ["--tasks", "humaneval", "--data", data, "--results", results, "--json"];
    // Before anything is loaded: there is no such model.
    let error = place.error(&[&["eval", "no-model.gguf"], &common[..]].concat());
    assert!(error.contains("humaneval runs programs") && error.contains("--allow-code-execution"), "{error}");
    if runner(Language::Python).is_none() {
        return;
    }
    let allowed =
        ["eval", "base.gguf", "--allow-code-execution", "-t", "1", "--samples", "10", "--temperature", "1"];
    let allowed = [&allowed[..], &common[..]].concat();
    let found = place.json(&allowed);
    assert_eq!(found["tasks"][0]["documents"], 2);
    assert_eq!(found["tasks"][0]["metrics"]["pass@1"]["value"], 0.0);
    assert_eq!(found["tasks"][0]["metrics"]["pass@10"]["documents"], 2);
    // Ten samples say nothing about a hundred.
    assert!(found["tasks"][0]["metrics"].get("pass@100").is_none());
    let run = found["tasks"][0]["run"].to_string();
    let exported = place.stdout(&["results", "--results", results, "export", &run, "--format", "json"]);
    assert!(exported.contains(r#""passed":false"#) && exported.contains("status 1: "), "{exported}");
}
