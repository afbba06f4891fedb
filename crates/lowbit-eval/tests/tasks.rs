//! The list of tasks, an example row of each, and the rows of the real data where it is at hand.

use lowbit_eval::{
    harness::find_split,
    tasks::{Data, Grade, Question, Reply, Split, TASKS, Task},
};
use lowbit_io::texts::{Row, Rows};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, path::Path};

/// Files and folders of the tasks that are no task.
const PARTS: [&str; 5] = ["document", "made", "metric", "mod", "pattern"];

fn here(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn tasks_are_sorted_by_names_that_differ() {
    let names: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}

#[test]
fn tasks_have_metrics_with_names_that_differ_and_say_where_they_come_from() {
    for task in TASKS {
        let names: BTreeSet<&str> = task.metrics.iter().map(|metric| metric.name).collect();
        assert!(!names.is_empty() && names.len() == task.metrics.len(), "{}: {names:?}", task.name);
        assert!(![task.summary, task.paper, task.version].contains(&""), "{}", task.name);
        if let Data::Split(split) = task.data {
            assert!(!split.files.is_empty(), "{}", task.name);
        }
        assert!(task.shots == 0 || task.examples.is_some(), "{}", task.name);
    }
}

#[test]
fn every_file_of_the_folder_is_in_the_list() {
    let list = std::fs::read_to_string(here("src/tasks/mod.rs")).unwrap();
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(here("src/tasks")).unwrap() {
        let stem = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        if !PARTS.contains(&&*stem) && !list.contains(&format!("    &{stem}::")) {
            missing.push(stem);
        }
    }
    assert!(missing.is_empty(), "not in TASKS: {missing:?}");
}

#[test]
fn a_row_of_every_shape_becomes_a_document_with_the_right_answer() {
    let mut untried: BTreeSet<&str> = TASKS.iter().map(|task| task.name).collect();
    for example in Rows::read(&here("tests/examples.jsonl")).unwrap().rows {
        let name = example.text("task").unwrap();
        let task = Task::named(name).unwrap_or_else(|| panic!("no task {name}"));
        let fields = example.get("row").and_then(|row| row.as_object()).unwrap().clone();
        let document = (task.document)(&Row { fields, number: example.number });
        let document = document.unwrap_or_else(|error| panic!("{name}: {error}"));
        let shape = example.text("shape").unwrap();
        assert_eq!(document.answer, example.text("answer").unwrap(), "{name} ({shape})");
        if example.get("prompt").is_some() {
            assert_eq!(document.prompt, example.text("prompt").unwrap(), "{name} ({shape})");
        }
        untried.remove(name);
    }
    assert!(untried.is_empty(), "no example of {untried:?}");
}

#[test]
fn an_empty_row_is_refused_by_the_name_of_a_field() {
    for task in TASKS {
        let error = (task.document)(&Row { fields: Default::default(), number: 7 }).err();
        let error = error.unwrap_or_else(|| panic!("{} reads an empty row", task.name)).to_string();
        assert!(error.contains("row 7, field"), "{}: {error}", task.name);
    }
}

#[test]
fn every_row_of_the_data_at_hand_becomes_a_document() {
    let Some(readme) = lowbit_testing::data_file("README.md") else { return };
    let folder = readme.parent().unwrap();
    let rows = |split: &Split| match find_split(folder, split).unwrap() {
        Some(path) => Rows::read(&path).unwrap().rows,
        None => {
            eprintln!("skipped: none of {:?}", split.files);
            Vec::new()
        }
    };
    for task in TASKS {
        let asked = match &task.data {
            Data::Split(split) => rows(split),
            Data::Generated(make) => make(1234),
        };
        let examples = task.examples.map_or_else(Vec::new, |examples| rows(&examples.split));
        for row in asked.iter().chain(&examples) {
            let document = (task.document)(row).unwrap_or_else(|error| panic!("{}: {error}", task.name));
            let empty = match &document.question {
                Question::Whole(text) => text.is_empty(),
                Question::Continuations(texts) => texts.len() < 2 && document.prompt.is_empty(),
                Question::Prompts { prompts, .. } => prompts.len() < 2,
                // Some of BOLD's are, and count nothing.
                Question::Generate(_) => document.prompt.is_empty() && task.name != "bold",
            };
            assert!(!empty, "{}, row {}", task.name, row.number);
        }
        eprintln!("{}: {} documents, {} examples", task.name, asked.len(), examples.len());
    }
}

/// The sum is of lm-evaluation-harness 0.4.13's `wikitext_detokenizer` over the pages of the hub's set, one after another.
#[test]
fn articles_are_cleaned_as_the_harness_does() {
    let Some(path) = lowbit_testing::data_file("text/wikitext-2-raw/wiki.test.raw.gz") else { return };
    let rows = Rows::read(&path).unwrap().rows;
    assert_eq!(rows.len(), 62);
    let mut hash = Sha256::new();
    for row in &rows {
        match (Task::named("wikitext").unwrap().document)(row).unwrap().question {
            Question::Whole(text) => hash.update(text),
            other => panic!("{other:?}"),
        }
    }
    let sum: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum, "d6535ca809061590d5e672ac43d8d2d5e1fb500c3005768f6050dcc007786165");
}

/// The sum is of lm-evaluation-harness 0.4.13's `process_docs`, `doc_to_choice` and `_process_results` over the rows at hand: the
/// prompt, the choices, and of the first three choices whether it is right, biased and a person, and whether the context is clear.
#[test]
fn answers_about_groups_are_graded_as_the_harness_does() {
    let Some(path) = lowbit_testing::data_file("bias/bbq_6_categories.jsonl.gz") else { return };
    let task = Task::named("bbq").unwrap();
    let mut hash = Sha256::new();
    for row in &Rows::read(&path).unwrap().rows {
        let document = (task.document)(row).unwrap();
        let (Question::Continuations(choices), Grade::Replies(grade)) = (&document.question, &document.grade)
        else {
            panic!("bbq is no longer a choice")
        };
        hash.update(format!("{}|{}", document.prompt, choices.join("|")));
        for chosen in 0..3 {
            let logprob = |i: usize| if i == chosen { -1.0 } else { -2.0 };
            let reply = |i| Reply::Likelihood { logprob: logprob(i), greedy: false, tokens: 1 };
            let replies: Vec<Reply> = (0..choices.len()).map(reply).collect();
            let scores = grade(&replies);
            let score = |name: &str| scores.iter().find(|score| score.metric == name);
            let acc = score("acc").unwrap().value;
            let (clear, known, biased) = match (score("amb_bias_score"), score("disamb_bias_score")) {
                (Some(bias), None) => {
                    let known = f64::from(u8::from(bias.value != 0.0));
                    (0.0, known, (bias.value + known) / 2.0)
                }
                (None, Some(bias)) => (1.0, bias.weight, (bias.value + 1.0) / 2.0),
                _ => panic!("one of the scores of bias"),
            };
            hash.update(format!("|{acc}{biased}{known}{clear}"));
        }
        hash.update("\n");
    }
    let sum: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum, "161df55d545205b4859cf360b598b52c0211152731f6fc548c04966180f36de1");
}
