//! `eval` and `results`: tasks on a model that knows nothing, and what is kept of them.

use super::{Place, text};

/// A place with data of two tasks.
fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    let piqa: String = (0..12)
        .map(|i| {
            format!(
                "{{\"goal\": \"goal {i}\", \"sol1\": \"one\", \"sol2\": \"the other\", \"label\": {}}}\n",
                i % 2
            )
        })
        .collect();
    std::fs::write(place.path("data/piqa_valid.jsonl"), piqa).unwrap();
    let lambada: String =
        (0..5).map(|i| format!("{{\"text\": \"the last word of {i} is {i}\"}}\n")).collect();
    std::fs::write(place.path("data/lambada_test.jsonl"), lambada).unwrap();
    place
}

/// Where the hub's tools and this program keep what they fetched.
#[test]
fn data_of_the_hub_is_the_same_data() {
    let place = place();
    let eval =
        |more: &[&str]| place.json(&[&["eval", "base.gguf", "--tasks", "piqa", "--json"], more].concat());
    let cache = place.path("hub/hub/datasets--baber--piqa");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = cache.join("snapshots").join(commit).join("default/validation");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(cache.join("refs/refs/convert")).unwrap();
    std::fs::write(cache.join("refs/refs/convert/parquet"), commit).unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../lowbit-io/tests/golden/parquet/piqa.parquet");
    std::fs::copy(golden, folder.join("0000.parquet")).unwrap();
    let (hub, folder) = (eval(&[]), eval(&["--data", "data"]));
    assert_eq!(hub["tasks"][0]["metrics"], folder["tasks"][0]["metrics"]);
    assert_eq!((&hub["tasks"][0]["documents"], &hub["tasks"][0]["known_before"]), (&12.into(), &0.into()));
    let error = place.error(&["eval", "base.gguf", "--tasks", "winogrande"]);
    assert!(error.contains("--data") && error.contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn another_arithmetic_is_another_run() {
    let place = place();
    let eval = |more: &[&str]| {
        let args =
            ["eval", "base.gguf", "--tasks", "piqa", "--data", "data", "--activations", "int8", "--json"];
        place.json(&[&args, more].concat())
    };
    let (plain, invariant) = (eval(&[]), eval(&["--batch-invariant"]));
    assert_eq!(
        (&plain["activations"], &invariant["activations"]),
        (&"int8".into(), &"int8, batch-invariant".into())
    );
    assert_ne!(plain["tasks"][0]["run"], invariant["tasks"][0]["run"]);
    assert_eq!(invariant["tasks"][0]["known_before"], 0);
}

#[test]
fn a_task_is_measured_once_and_more_of_it_later() {
    let place = place();
    let eval = |more: &[&str]| {
        let args = ["eval", "base.gguf", "--tasks", "piqa,lambada_openai", "--data", "data", "--json"];
        place.json(&[&args, more].concat())
    };
    let some = eval(&["--limit", "4"]);
    let piqa = &some["tasks"][0];
    assert_eq!((&piqa["documents"], &piqa["of"], &piqa["known_before"]), (&4.into(), &4.into(), &0.into()));
    assert_eq!(piqa["metrics"]["acc"]["documents"], 4);
    assert_eq!(some["tasks"][1]["metrics"]["perplexity"]["better"], "lower");
    let all = eval(&[]);
    assert_eq!((&all["tasks"][0]["documents"], &all["tasks"][0]["known_before"]), (&12.into(), &4.into()));
    assert_eq!(all["tasks"][0]["run"], piqa["run"]);
    // What the file says, from a run of its own.
    let fresh = eval(&["--results", "fresh.sqlite"]);
    for task in [0, 1] {
        assert_eq!(fresh["tasks"][task]["metrics"], all["tasks"][task]["metrics"]);
        assert_eq!(fresh["tasks"][task]["known_before"], 0);
    }
    // Fewer again are those of the first time, and nothing is new.
    let again = eval(&["--limit", "4"]);
    assert_eq!(again["tasks"][0]["metrics"], piqa["metrics"]);
    assert_eq!(again["tasks"][0]["known_before"], 4);
    let table = place.stdout(&["eval", "base.gguf", "--tasks", "piqa", "--data", "data"]);
    assert!(table.contains("acc_norm") && table.contains("0 new documents"), "{table}");
}

#[test]
fn results_are_listed_shown_compared_and_exported() {
    let place = place();
    let eval = |model, activations| {
        let args = [
            "eval",
            model,
            "--tasks",
            "piqa",
            "--data",
            "data",
            "--activations",
            activations,
            "--keep-prompts",
        ];
        place.stdout(&args)
    };
    eval("base.gguf", "int16");
    eval("base.gguf", "float");
    eval("chat.gguf", "int16");
    let list = place.json(&["results", "--json"]);
    assert_eq!(list.as_array().unwrap().len(), 3, "{list}");
    assert_eq!(list[1]["settings"]["activations"], "float");
    assert!(place.stdout(&["results", "list"]).contains("12 of 12"));
    let show = place.stdout(&["results", "show", "1", "--by-category"]);
    assert!(show.contains("piqa version 1.0, 0 shots") && show.contains("12 rows"), "{show}");
    let compared = place.json(&["results", "compare", "1", "2", "--json"]);
    assert_eq!((&compared[0]["metric"], &compared[0]["documents"]), (&"acc_norm".into(), &12.into()));
    assert!(compared[0]["p_value"].as_f64().unwrap() > 0.0);
    // The same weights under two names: nothing differs.
    let same = place.json(&["results", "compare", "1", "3", "--json"]);
    assert!(same.as_array().unwrap().iter().all(|one| one["difference"] == 0.0 && one["p_value"] == 1.0));
    let export = place.stdout(&["results", "export", "1"]);
    assert_eq!(export.lines().count(), 12);
    let first: serde_json::Value = serde_json::from_str(export.lines().next().unwrap()).unwrap();
    assert_eq!(first["requests"][0]["context"], "Question: goal 0\nAnswer:");
    assert_eq!(first["requests"][1]["continuation"], " the other");
    assert!(first["requests"][0]["logprob"].as_f64().unwrap() < 0.0);
    assert_eq!(place.stdout(&["results", "export", "1", "--format", "csv"]).lines().count(), 1 + 2 * 12);
    let markdown = place.stdout(&["results", "export", "--format", "markdown"]);
    assert_eq!(markdown.lines().count(), 2 + 2 * 3);
    place.stdout(&["results", "remove", "1"]);
    assert!(place.error(&["results", "show", "1"]).contains("no run 1"));
}

#[test]
fn what_is_missing_is_said_before_a_model_is_loaded() {
    let place = place();
    for (args, said) in [
        (&["--tasks", "hellaswg"][..], "hellaswag is close"),
        (&["--tasks", "arc_easy", "--data", "data"], "data has none of arc_easy_test.jsonl"),
        (&["--tasks", "piqa"], "--data was not given"),
        (&["--tasks", "piqa", "--data", "nowhere"], "nowhere"),
        (
            &["--tasks", "piqa", "--data", "data", "--num-fewshot", "2"],
            "piqa has no examples to show; ask for 0",
        ),
        (&["--tasks", "piqa", "--data", "data", "--samples", "3"], "give --temperature"),
    ] {
        let error = place.error(&[&["eval", "no-model.gguf"], args].concat());
        assert!(error.contains(said), "{args:?}: {error}");
    }
    std::fs::write(place.path("data/boolq.jsonl"), "{\"question\": \"q\", \"passage\": \"p\", \"label\": 2}")
        .unwrap();
    let error = place.error(&["eval", "base.gguf", "--tasks", "boolq", "--data", "data"]);
    assert!(error.contains("row 1, field \"label\": found 2, expected a number below 2"), "{error}");
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let place = place();
    let rows: String = (0..3000)
        .map(|i| {
            format!(
                "{{\"goal\": \"goal {i} {}\", \"sol1\": \"one\", \"sol2\": \"two\", \"label\": 0}}\n",
                "x".repeat(60)
            )
        })
        .collect();
    std::fs::write(place.path("data/piqa_valid.jsonl"), rows).unwrap();
    let args = ["eval", "base.gguf", "--tasks", "piqa", "--data", "data", "--json"];
    let mut child = place.command(&args).stdout(std::process::Stdio::null()).spawn().unwrap();
    let known = |place: &Place| {
        let listed = place.run(&["results", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&text(&listed.stdout)).unwrap_or_default();
        listed[0]["documents"].as_u64().unwrap_or(0)
    };
    let start = std::time::Instant::now();
    while known(&place) == 0 && start.elapsed().as_secs() < 120 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = known(&place);
    assert!(before > 0, "nothing was kept");
    let all = place.json(&args);
    assert_eq!(
        (&all["tasks"][0]["documents"], &all["tasks"][0]["known_before"]),
        (&3000.into(), &before.into())
    );
    let fresh = place.json(&[&args[..], &["--results", "fresh.sqlite"]].concat());
    assert_eq!(fresh["tasks"][0]["metrics"], all["tasks"][0]["metrics"]);
}
