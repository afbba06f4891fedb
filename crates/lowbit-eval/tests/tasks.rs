//! The list of tasks, an example row of each, and the rows of the real data where it is at hand.

use lowbit_eval::{
    harness::find_split,
    tasks::{Data, Question, Split, TASKS, Task},
};
use lowbit_io::texts::{Row, Rows};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, path::Path};

/// Files and folders of the tasks that are no task.
const PARTS: [&str; 6] = ["document", "made", "metric", "mod", "pattern", "program"];

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
            let known = task.metrics.len();
            assert!(known > 0 && !matches!(&document.question, Question::Whole(text) if text.is_empty()));
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
