//! `quantize` with calibration: what is read, what is refused, and going on after a kill.

use super::Place;
use std::{
    process::Stdio,
    time::{Duration, Instant},
};

/// Some 4,000 tokens: the tiny models have tokens for bytes.
fn write_text(place: &Place) -> &'static str {
    let written: String = (0..4000u32).map(|i| char::from(b'a' + (i * i % 23) as u8)).collect();
    std::fs::write(place.path("calib.txt"), &written).unwrap();
    "calib.txt"
}

#[test]
fn methods_that_need_a_text_say_so_and_the_others_refuse_one() {
    let place = Place::new();
    let text = write_text(&place);
    let error = |args: &[&str]| {
        let format = if args.contains(&"--format") { &[][..] } else { &["--format", "int4-asym-g32"] };
        place.error(&[&["quantize", "chat.gguf", "-o", "x.lowbit"], format, args].concat())
    };
    for (args, parts) in [
        (&["--method", "gptq"][..], &["gptq", "--calib FILE"][..]),
        (&["--method", "rtn", "--calib", text], &["rtn", "weights alone"]),
        (&["--method", "gptq", "--samples", "4"], &["--samples", "--calib"]),
        (&["--method", "gptq", "--calib", "absent.txt"], &["absent.txt"]),
        (&["--method", "gptq", "--calib", "c5"], &["c5", "c4, wikitext2", "a file"]),
        // The tests are offline.
        (&["--method", "gptq", "--calib", "wikitext2"], &["HF_HUB_OFFLINE", "wikitext-2-raw-v1/train"]),
        (
            &[
                "--method",
                "quarot",
                "--calib",
                text,
                "--format",
                "int4-asym-g8",
                "--set",
                "activations=int4-token",
            ],
            &["int4-asym-g8", "groups of a multiple of 16"],
        ),
        (&["--method", "quarot", "--calib", text, "--set", "activations=int5"], &["quarot", "int5"]),
        (
            &["--method", "gptq", "--calib", text, "--length", "8", "--samples", "100000"],
            &["calib.txt", "--samples 100000"],
        ),
        (&["--method", "gptq", "--calib", text, "--length", "100000"], &["--length 100000", "tokens"]),
        (
            &["--method", "gptq", "--calib", text, "--length", "8", "--samples", "4", "--memory", "1kB"],
            &["1000 bytes", "too few"],
        ),
        (&["--method", "gptq", "--calib", text, "--set", "act_order=maybe"], &["gptq", "maybe"]),
        (&["--target-bpw", "0"], &["--target-bpw 0"]),
    ] {
        let error = error(args);
        for part in parts {
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
    assert!(!place.path("x.lowbit").exists() && !place.path("x.lowbit.partial").exists());
}

#[test]
fn a_recipe_file_says_what_the_command_line_would() {
    let place = Place::new();
    let text = write_text(&place);
    let options = ["--method", "awq", "--format", "int4-asym-g32", "--set", "grid=5", "--calib", text];
    let options =
        [&options[..], &["--samples", "6", "--length", "16", "--role", "down=int8-sym-g32"]].concat();
    place.stdout(&[&["quantize", "chat.gguf", "-o", "a.lowbit"], &options[..]].concat());
    let recipe = "method = 'awq'\nformat = 'int4-asym-g32'\n[settings]\ngrid = 5\n[roles]\ndown = 'int8-sym-g32'\n\
        [calibration]\ntext = 'calib.txt'\nsamples = 6\nlength = 16\n";
    std::fs::write(place.path("r.toml"), recipe).unwrap();
    place.stdout(&["quantize", "chat.gguf", "-o", "b.lowbit", "--recipe", "r.toml"]);
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("a.lowbit") == bytes("b.lowbit"));
    std::fs::write(place.path("r.toml"), "metod = 'awq'").unwrap();
    let error = place.error(&["quantize", "chat.gguf", "-o", "c.lowbit", "--recipe", "r.toml"]);
    assert!(error.contains("r.toml") && error.contains("metod"), "{error}");
}

#[test]
fn what_is_made_runs_and_rotated_and_smoothed_models_do_too() {
    let place = Place::new();
    let text = write_text(&place);
    // 15 levels of a row of 32 random activations are few: such models are only told from broken ones.
    let few = &["--set", "activations=int4-token"][..];
    for (method, format, set, most) in [
        ("gptq", "int4-asym-g32", &[][..], 0.2),
        ("quarot", "int4-asym-g16", &[], 0.2),
        ("quarot", "int4-asym-g16", few, 1.0),
        ("smoothquant", "int8-sym-row", &[], 0.2),
        ("smoothquant", "int8-sym-row", few, 1.0),
        ("dgq", "int4-asym-g16-int8-row", &[], 0.2),
        ("qoq", "int4-asym-g16-int8-row", &[], 0.3),
        ("smoothquant_plus", "int4-asym-g32", &[], 0.2),
        ("eora", "int4-asym-g32", &["--set", "rank=4"], 0.2),
        ("spqr", "int4-asym-g16", &[], 0.2),
        ("slim_llm", "int4-asym-g16", &[], 0.2),
        ("fast_2bit", "int4-asym-g16", &[], 0.2),
        ("mixllm", "int4-asym-g16", &[], 0.2),
        ("imatrix", "int8-asym-g32", &[], 0.2),
    ] {
        let options =
            ["--method", method, "--format", format, "--calib", text, "--samples", "8", "--length", "32"];
        let options = [&options[..], set].concat();
        let json =
            place.json(&[&["quantize", "chat.gguf", "-o", "m.lowbit", "--json"], &options[..]].concat());
        assert_eq!(json["method"], method);
        let estimate = &json["estimate"];
        assert_eq!((&estimate["samples"], &estimate["length"]), (&8.into(), &32.into()));
        for field in ["seconds", "passes_seconds", "statistics_seconds", "rounding_seconds", "memory_bytes"] {
            assert!(estimate[field].as_f64().unwrap() >= 0.0, "{method} {estimate}");
        }
        assert!(estimate["seconds"].as_f64().unwrap() > 0.0 && json["seconds"].as_f64().unwrap() > 0.0);
        let found = place.json(&["compare", "chat.gguf", "m.lowbit", "--text", text, "--json"]);
        let kl = found["kl"]["mean"].as_f64().unwrap();
        assert!(kl > 0.0 && kl < most, "{method} {set:?} {kl}");
        place.stdout(&["run", "m.lowbit", "hello", "-n", "4", "--temp", "0"]);
    }
}

#[test]
fn columns_are_a_text_like_lines_and_the_names_of_texts_are_listed() {
    let place = Place::new();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../lowbit-io/tests/golden/parquet/snappy.parquet");
    let lines: String = ["one", "", "zwei, drüben", "three\nlines\nlong", "one"]
        .repeat(20)
        .iter()
        .map(|text| format!("{}\n", serde_json::json!({ "text": text })))
        .collect();
    std::fs::write(place.path("calib.jsonl"), lines).unwrap();
    let options = ["--method", "imatrix", "--format", "int4-asym-g32", "--samples", "4", "--length", "16"];
    let options = [&options[..], &["--verify", "none", "--json"]].concat();
    let tensors = |text: &str| {
        let files = ["quantize", "chat.gguf", "-o", "m.lowbit", "--calib", text];
        place.json(&[&files, &options[..]].concat())["tensors"].clone()
    };
    assert_eq!(tensors(golden), tensors("calib.jsonl"));
    let error = place.error(&["perplexity", "chat.gguf", "--text", golden, "--text-field", "id"]);
    assert!(error.contains("column \"id\"") && error.contains("INT64"), "{error}");
    let names = place.json(&["list", "calib", "--json"]);
    assert_eq!(names[0]["name"], "c4");
    assert!(place.stdout(&["list", "calib"]).contains("wikitext2"));
}

/// The number of samples may be the machine's choice: what an unfinished run was begun with counts, and it is not what the
/// default would be here.
#[test]
fn a_resumed_run_takes_as_many_samples_as_it_was_begun_with() {
    let place = Place::new();
    let text = write_text(&place);
    let run = |out: &'static str, more: &[&'static str]| {
        let options = ["--method", "gptq", "--format", "int4-asym-g32", "--length", "16", "--verify", "none"];
        place.command(&[&["quantize", "chat.gguf", "-o", out, "--calib", text], &options[..], more].concat())
    };
    assert!(run("whole.lowbit", &["--samples", "500"]).output().unwrap().status.success());
    let mut child =
        run("k.lowbit", &["--samples", "500"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !place.path("k.lowbit.partial/block-00000.json").exists() && !place.path("k.lowbit").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if place.path("k.lowbit.partial").exists() {
        let other = run("k.lowbit", &["--resume", "--samples", "400"]).output().unwrap();
        assert!(String::from_utf8_lossy(&other.stderr).contains("calibration"));
        assert!(run("k.lowbit", &["--resume"]).output().unwrap().status.success());
    }
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("k.lowbit") == bytes("whole.lowbit"));
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let place = Place::new();
    let text = write_text(&place);
    let options = ["--method", "gptq", "--format", "int4-asym-g32", "--calib", text, "--verify", "none"];
    // Enough to be killed in: some tenths of a second.
    let options = [&options[..], &["--samples", "40", "--length", "64"]].concat();
    let run = |out: &'static str, more: &[&'static str]| {
        place.command(&[&["quantize", "chat.gguf", "-o", out], &options[..], more].concat())
    };
    let start = Instant::now();
    assert!(run("whole.lowbit", &[]).output().unwrap().status.success());
    let whole_time = start.elapsed();
    let mut killed = 0;
    for tenth in 1..10u32 {
        let resume: &[&str] = if place.path("k.lowbit.partial").exists() { &["--resume"] } else { &[] };
        let mut child = run("k.lowbit", resume).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole_time.mul_f64(f64::from(tenth) / 10.0).max(Duration::from_millis(1)));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        if place.path("k.lowbit").exists() {
            break;
        }
    }
    assert!(killed > 0, "it was never killed");
    if !place.path("k.lowbit").exists() {
        let resume: &[&str] = if place.path("k.lowbit.partial").exists() { &["--resume"] } else { &[] };
        assert!(run("k.lowbit", resume).output().unwrap().status.success());
    }
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("k.lowbit") == bytes("whole.lowbit"));
}
