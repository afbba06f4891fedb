//! The harness against plain passes over the same tokens, on the tiny model, whose tokens are bytes.

use lowbit_engine::{LoadOptions, Model, Session};
use lowbit_eval::{
    EvalError,
    harness::{Answer, Bench, Lm, LmOptions, Settings, Style, TaskData, evaluate, find_split},
    tasks::{Reply, Task},
};
use lowbit_kernels::{Ctx, Isa};
use lowbit_model::{KvElement, Logits};
use lowbit_testing::{Template, tiny_gguf};
use std::{ops::ControlFlow, path::PathBuf, sync::Arc};

struct Place {
    folder: tempfile::TempDir,
    lm: Lm,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        tiny_gguf(Template::Chat).write(&path).unwrap();
        let ctx = Arc::new(Ctx::new(Isa::detect(), 2));
        let model = Arc::new(Model::load(&ctx, &path, LoadOptions::default()).unwrap());
        Self { folder, lm: Lm::start(model, ctx, LmOptions::default()).unwrap() }
    }

    fn data(&self, task: &Task, shots: usize, files: &[(&str, &str)]) -> TaskData {
        for (name, content) in files {
            std::fs::write(self.folder.path().join(name), content).unwrap();
        }
        TaskData::read(task, shots, |split| {
            Ok::<PathBuf, EvalError>(find_split(self.folder.path(), split)?.expect("the file was written"))
        })
        .unwrap()
    }

    fn answers(&self, task: &Task, data: &TaskData, settings: &Settings) -> Vec<Answer> {
        let bench = Bench { lm: &self.lm, execute: None };
        let mut answers = Vec::new();
        evaluate(&bench, task, data, settings, &|_| false, &mut |answer| {
            answers.push(answer);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        answers.sort_by_key(|answer| answer.place);
        answers
    }

    /// Logarithm of the probability of `continuation` after `context`, of one pass over both.
    fn logprob(&self, context: &str, continuation: &str) -> f64 {
        let ctx = Ctx::new(Isa::detect(), 1);
        let mut session = Session::new(self.lm.model(), &ctx, 0, KvElement::F16).unwrap();
        let tokens = self.lm.model().encode(&format!("{context}{continuation}")).unwrap();
        let from = tokens.len() - continuation.len();
        let vocab = self.lm.model().spec().vocab;
        let logits = session.feed(&tokens, Logits::All).unwrap();
        let rows = logits.chunks_exact(vocab).enumerate().skip(from - 1).take(continuation.len());
        rows.map(|(i, row)| {
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            f64::from(row[tokens[i + 1] as usize]) - sum.ln()
        })
        .sum()
    }
}

const PIQA: &str = r#"{"goal": "to wash", "sol1": "water", "sol2": "sand, lots of it", "label": 0}
{"goal": "to dry", "sol1": "rain", "sol2": "a towel", "label": 1}
{"goal": "to sit", "sol1": "a chair", "sol2": "a ceiling", "label": 0}
{"goal": "to wash", "sol1": "water", "sol2": "soap", "label": 1}
"#;

#[test]
fn likelihoods_are_those_of_one_pass_over_prompt_and_choice() {
    let place = Place::new();
    let task = Task::named("piqa").unwrap();
    let data = place.data(task, 0, &[("piqa.jsonl", PIQA)]);
    let answers = place.answers(task, &data, &Settings::of(task));
    assert_eq!(answers.len(), 4);
    for answer in &answers {
        for ((context, continuation), reply) in answer.asked.iter().zip(&answer.replies) {
            assert!(context.starts_with("Question: to ") && context.ends_with("\nAnswer:"), "{context:?}");
            let Reply::Likelihood { logprob, tokens, .. } = reply else { panic!("a text") };
            assert_eq!(*tokens, continuation.len());
            let expected = place.logprob(context, continuation);
            assert!((logprob - expected).abs() < 1e-4 * expected.abs(), "{logprob} {expected}");
        }
        let (one, two) = (answer.replies[0].logprob(), answer.replies[1].logprob());
        let right = data.rows.rows[answer.place].number("label").unwrap();
        let acc = f64::from(u8::from((two > one) == (right == 1)));
        assert_eq!(answer.scores[0].value, acc);
    }
    // Again, with everything in the cache, and only some.
    let limited = Settings { limit: Some(2), ..Settings::of(task) };
    assert_eq!(place.answers(task, &data, &limited), answers[..2]);
    let bench = Bench { lm: &place.lm, execute: None };
    let mut places = Vec::new();
    evaluate(&bench, task, &data, &Settings::of(task), &|place| place % 2 == 0, &mut |answer| {
        places.push(answer.place);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    places.sort();
    assert_eq!(places, [1, 3]);
}

#[test]
fn names_in_the_sentence_are_scored_by_what_follows_them() {
    let place = Place::new();
    let task = Task::named("winogrande").unwrap();
    let row = r#"{"sentence": "Ann hit Bo as _ was mad.", "option1": "Ann", "option2": "Bo", "answer": "1"}"#;
    let data = place.data(task, 0, &[("winogrande.jsonl", row)]);
    let answer = &place.answers(task, &data, &Settings::of(task))[0];
    let asked = |context: &str| (context.to_owned(), " was mad.".to_owned());
    assert_eq!(answer.asked, [asked("Ann hit Bo as Ann"), asked("Ann hit Bo as Bo")]);
}

#[test]
fn examples_are_drawn_by_the_seed_and_whatever_came_before() {
    let place = Place::new();
    let task = Task::named("arc_easy").unwrap();
    let row =
        |i: usize| format!(r#"{{"question": "Q{i}", "choices": ["a{i}", "b{i}"], "answer": {}}}"#, i % 2);
    let rows = |range: std::ops::Range<usize>| range.map(row).collect::<Vec<_>>().join("\n");
    let files = [("arc_easy_test.jsonl", rows(0..4)), ("arc_easy_train.jsonl", rows(10..40))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, rows)| (*name, rows.as_str())).collect();
    let data = place.data(task, 3, &files);
    let settings = Settings { shots: 3, ..Settings::of(task) };
    let answers = place.answers(task, &data, &settings);
    // `random.Random(1234)`: `sample(range(30), 3)` four times.
    let drawn = [[24, 14, 3], [0, 2, 29], [25, 18, 1], [21, 22, 2]];
    for (answer, drawn) in answers.iter().zip(drawn) {
        let example = |i: usize| {
            let i = i + 10;
            format!("Question: Q{i}\nAnswer: {}{i}\n\n", if i.is_multiple_of(2) { "a" } else { "b" })
        };
        let expected: String = drawn.iter().map(|i| example(*i)).collect();
        assert_eq!(answer.asked[0].0, format!("{expected}Question: Q{}\nAnswer:", answer.place));
    }
    // The same ones for a document, whether those before it are asked or not.
    let bench = Bench { lm: &place.lm, execute: None };
    evaluate(&bench, task, &data, &settings, &|place| place < 3, &mut |answer| {
        assert_eq!(answer, answers[3]);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    let other = Settings { seed: 1, ..settings };
    assert_ne!(place.answers(task, &data, &other)[0].asked, answers[0].asked);
    let many = Settings { shots: 31, ..settings };
    let error = evaluate(&bench, task, &data, &many, &|_| false, &mut |_| unreachable!()).unwrap_err();
    assert!(error.to_string().contains("31 examples were asked for, 30 are there"), "{error}");
}

#[test]
fn examples_of_a_subject_are_its_first_ones() {
    let place = Place::new();
    let task = Task::named("mmlu").unwrap();
    let row = |subject: &str, i: usize| {
        format!(
            r#"{{"subject": "{subject}", "question": " Q{i} ", "choices": ["w", "x", "y", "z"], "answer": 2}}"#
        )
    };
    let dev = [row("law", 1), row("art_history", 2), row("law", 3), row("art_history", 4)].join("\n");
    let data = place.data(task, 1, &[("mmlu_test.jsonl", &row("art_history", 9)), ("mmlu_dev.jsonl", &dev)]);
    let answer = &place.answers(task, &data, &Settings { shots: 1, ..Settings::of(task) })[0];
    assert_eq!(answer.group.as_deref(), Some("art_history"));
    assert_eq!(
        answer.asked[3],
        (
            "The following are multiple choice questions (with answers) about art history.\n\n\
             Q2\nA. w\nB. x\nC. y\nD. z\nAnswer: C\n\nQ9\nA. w\nB. x\nC. y\nD. z\nAnswer:"
                .to_owned(),
            " D".to_owned()
        )
    );
}

#[test]
fn by_a_chat_template_examples_are_turns_and_nothing_stands_before_the_choice() {
    let place = Place::new();
    let task = Task::named("mmlu").unwrap();
    let row = r#"{"subject": "law", "question": "Q", "choices": ["w", "x", "y", "z"], "answer": 1}"#;
    let data = place.data(task, 1, &[("mmlu_test.jsonl", row), ("mmlu_dev.jsonl", row)]);
    let settings = Settings { shots: 1, style: Style::Chat, ..Settings::of(task) };
    let answer = &place.answers(task, &data, &settings)[0];
    let question = "Q\nA. w\nB. x\nC. y\nD. z\nAnswer:";
    let system = "The following are multiple choice questions (with answers) about law.\n\n";
    let expected =
        format!("[system] {system}\n[user] {question}\n[assistant] B\n[user] {question}\n[assistant]");
    assert_eq!(answer.asked[0], (expected, "A".to_owned()));
}

#[test]
fn what_is_longer_than_the_context_loses_its_beginning_and_that_is_counted() {
    let place = Place::new();
    let task = Task::named("piqa").unwrap();
    let row = format!(r#"{{"goal": "{}", "sol1": "a", "sol2": "b", "label": 0}}"#, "long ".repeat(200));
    let data = place.data(task, 0, &[("piqa.jsonl", &row)]);
    let answer = &place.answers(task, &data, &Settings::of(task))[0];
    let context = place.lm.model().spec().longest();
    // Of each choice: the begin token, the bytes of both.
    let tokens = 1 + answer.asked[0].0.len() + answer.asked[0].1.len();
    assert_eq!(answer.cut_tokens, 2 * (tokens - context));
    assert!(answer.replies.iter().all(|reply| reply.logprob() < 0.0));
}
