//! `study`: a recipe from its models to the report.

use super::{Place, text};
use std::{fs, process::Stdio};

const RECIPE: &str = r#"
title = "A tiny study"
models = ["base.gguf"]
methods = ["rtn", { method = "gptq", label = "gptq-damped", set = { damp = 0.05 } }]
formats = ["int4-sym-g32", "int3-asym-g32"]
tasks = ["piqa"]
limit = 6
calib = "calib.txt"
samples = 2
length = 64
chunks = 1
"#;

fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("recipe.toml"), RECIPE).unwrap();
    fs::write(place.path("calib.txt"), "some text to look at. ".repeat(60)).unwrap();
    fs::write(place.path("text.txt"), "the quick brown fox ".repeat(40)).unwrap();
    fs::create_dir(place.path("data")).unwrap();
    let rows: String = (0..8)
        .map(|i| {
            format!(
                "{{\"goal\": \"goal {i}\", \"sol1\": \"one\", \"sol2\": \"two\", \"label\": {}}}\n",
                i % 2
            )
        })
        .collect();
    fs::write(place.path("data/piqa.jsonl"), rows).unwrap();
    place
}

const ARGS: [&str; 9] =
    ["study", "recipe.toml", "--out", "out", "--data", "data", "--text", "text.txt", "--json"];

#[test]
fn a_study_measures_everything_once_and_writes_a_report() {
    let place = place();
    let first = place.run(&ARGS);
    let said = text(&first.stderr);
    assert!(first.status.success(), "{said}");
    assert!(
        said.contains("lowbit quantize base.gguf --method gptq") && said.contains("--set damp=0.05"),
        "{said}"
    );
    let json: serde_json::Value = serde_json::from_str(&text(&first.stdout)).unwrap();
    let measured = json["measured"].as_array().unwrap();
    assert_eq!(measured.len(), 1 + 2 * 2);
    assert_eq!(measured[0]["method"], serde_json::Value::Null);
    for cell in &measured[1..] {
        assert!(cell["kl"][0].as_f64().unwrap() > 0.0, "{cell}");
        assert!((3.0..5.0).contains(&cell["block_bits"].as_f64().unwrap()), "{cell}");
        assert_eq!(cell["tasks"][0]["documents"], 6);
    }
    let page = fs::read_to_string(place.path("out/report.html")).unwrap();
    for part in ["A tiny study", "gptq-damped", "<svg", "lowbit compare", "recovery"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(place.path("out/base.gguf-kl-bits.svg").exists());
    // Models are gone, results are not.
    assert_eq!(fs::read_dir(place.path("out/models")).unwrap().count(), 0);
    assert_eq!(
        place.json(&["results", "--results", "out/results.sqlite", "--json"]).as_array().unwrap().len(),
        5
    );

    // A second time nothing is run.
    let again = place.run(&ARGS);
    assert!(again.status.success() && !text(&again.stderr).contains("lowbit "), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), text(&first.stdout));
    // What is missing is made again, and only that.
    fs::remove_file(place.path("out/steps/base.gguf.rtn.int4-sym-g32.compare.json")).unwrap();
    let mended = text(&place.run(&ARGS).stderr);
    assert!(mended.contains("lowbit quantize") && mended.contains("lowbit compare"), "{mended}");
    assert!(!mended.contains("gptq") && !mended.contains("lowbit eval"), "{mended}");
    // The report alone, of what is there.
    fs::remove_file(place.path("out/report.html")).unwrap();
    place.stdout(&[
        "study",
        "recipe.toml",
        "--out",
        "out",
        "--data",
        "data",
        "--text",
        "text.txt",
        "--report",
    ]);
    assert!(place.path("out/report.html").exists());
}

#[test]
fn a_model_that_cannot_be_made_is_told_and_the_others_are_measured() {
    let place = place();
    // Rows of 32 weights hold no group of 64.
    let recipe = RECIPE.replace("int3-asym-g32", "int3-asym-g64");
    fs::write(place.path("recipe.toml"), recipe).unwrap();
    let output = place.run(&ARGS);
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(
        said.contains("2 failed: base.gguf.rtn.int3-asym-g64, base.gguf.gptq-damped.int3-asym-g64"),
        "{said}"
    );
    let json: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(json["measured"].as_array().unwrap().len(), 3);
}

#[test]
fn what_is_wrong_with_a_study_is_said_before_it_begins() {
    let place = place();
    fs::write(place.path("bad.toml"), "title = \"t\"\nmodels = []\nmethods = []\nformats = []\n").unwrap();
    let no_calib = RECIPE.replace("calib = \"calib.txt\"", "");
    fs::write(place.path("no-calib.toml"), no_calib).unwrap();
    for (recipe, said) in [
        ("methods-by-bit", "methods-by-bits is close"),
        ("bad.toml", "models is empty"),
        ("no-calib.toml", "gptq-damped looks at data; name a text with --calib"),
    ] {
        let error = place.error(&["study", recipe, "--out", "out"]);
        assert!(error.contains(said), "{recipe}: {error}");
    }
    let error = place.error(&["study", "recipe.toml", "--out", "out", "--models", "smollm2"]);
    assert!(error.contains("--models smollm2: the recipe has base.gguf"), "{error}");
}

#[test]
fn two_studies_do_not_work_in_one_folder() {
    let place = place();
    fs::create_dir(place.path("out")).unwrap();
    let file = fs::File::create(place.path("out/lock")).unwrap();
    file.lock().unwrap();
    let error = place.error(&ARGS);
    assert!(error.contains("a study is at work in"), "{error}");
    drop(file);
    assert!(place.run(&["study", "recipe.toml", "--out", "out", "--report"]).status.success());
}

#[test]
fn a_step_ends_when_what_started_it_is_gone() {
    let place = place();
    let mut command = place.command(&["serve", "base.gguf", "--port", "0"]);
    command.env("LOWBIT_END_WITH_INPUT", "1").stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
