//! The command as a user meets it: exit status, what goes where, JSON with the promised fields. No network: the models
//! are tiny ones made here, and the folders of models are empty ones.

mod calibrate;
mod code;
mod compare;
mod convert;
mod eval;
mod roofline;
#[cfg(target_os = "linux")]
mod sandbox;
mod serve;
mod study;

use lowbit_testing::{Template, tiny_gguf};
use serde_json::Value;
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// A folder with a model that has a chat template and one that has none.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny_gguf(Template::Chat).write(&folder.path().join("chat.gguf")).unwrap();
        tiny_gguf(Template::None).write(&folder.path().join("base.gguf")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lowbit"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for variable in
            ["LOWBIT_THREADS", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH", "HF_ENDPOINT"]
        {
            command.env_remove(variable);
        }
        command
            .env("LOWBIT_HOME", self.path("home"))
            .env("HF_HOME", self.path("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .env("LOWBIT_PYTHON", self.path("no-python"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a run that must succeed.
    fn stdout(&self, args: &[&str]) -> String {
        text(&success(self.run(args)).stdout)
    }

    fn json(&self, args: &[&str]) -> Value {
        let stdout = self.stdout(args);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {stdout}"))
    }

    /// Standard error of a run that must fail, with nothing on standard output.
    fn error(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeded: {}", text(&output.stdout));
        assert_eq!(text(&output.stdout), "", "{args:?}");
        text(&output.stderr)
    }

    fn piped(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn success(output: Output) -> Output {
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    output
}

#[test]
fn an_answer_goes_to_stdout_and_its_speed_to_stderr() {
    let output = success(Place::new().run(&["run", "chat.gguf", "hello", "-n", "4"]));
    assert!(text(&output.stdout).ends_with('\n'));
    assert!(text(&output.stderr).contains("tokens/s"), "{}", text(&output.stderr));
}

#[test]
fn an_answer_as_json_has_the_promised_fields() {
    let args = ["run", "chat.gguf", "hello", "-n", "4", "--json", "--seed", "5", "--logprobs", "3"];
    let json = Place::new().json(&args);
    assert!(json["answer"].is_string() && json["finish"].is_string(), "{json}");
    assert_eq!(json["seed"], 5);
    let tokens = json["tokens"].as_array().unwrap();
    assert!((1..=4).contains(&tokens.len()), "{json}");
    assert!(json["timing"]["prompt_tokens_per_s"].as_f64().unwrap() > 0.0);
    assert!(json["timing"]["generated_tokens_per_s"].is_number());
    assert!(!json["logprobs"].as_array().unwrap().is_empty());
    for step in json["logprobs"].as_array().unwrap() {
        let top: Vec<f64> =
            step["top"].as_array().unwrap().iter().map(|t| t["logprob"].as_f64().unwrap()).collect();
        assert_eq!(top.len(), 3);
        assert!(top.is_sorted_by(|a, b| a >= b) && top[0] <= 0.0, "{step}");
    }
}

#[test]
fn the_same_seed_gives_the_same_text_with_one_thread_and_with_two() {
    let place = Place::new();
    let answer = |seed: &str, threads: &str| {
        place.stdout(&["run", "chat.gguf", "go", "-n", "24", "--temp", "2", "--seed", seed, "-t", threads])
    };
    let one = answer("11", "1");
    assert_eq!(one, answer("11", "2"));
    assert_ne!(one, answer("12", "1"));
}

#[test]
fn a_single_answer_without_sampling_options_is_the_same_each_time() {
    let place = Place::new();
    let args = ["run", "chat.gguf", "tell me", "-n", "24"];
    assert_eq!(place.stdout(&args), place.stdout(&args));
}

#[test]
fn an_answer_that_is_guessed_ahead_is_the_same() {
    let place = Place::new();
    let answer = |more: &[&str]| {
        let args = ["run", "base.gguf", "again and again and again and", "--raw", "-n", "40", "--json"];
        place.json(&[&args[..], more].concat())
    };
    let plain = answer(&[]);
    assert_eq!(plain["timing"]["guessed_tokens"], 0);
    for draft in ["ngram", "chat.gguf"] {
        let guessed = answer(&["--draft", draft, "--draft-max", "4"]);
        assert_eq!(guessed["answer"], plain["answer"], "{draft}");
        let count = |name: &str| guessed["timing"][name].as_u64().unwrap();
        assert!(0 < count("guessed_right") && count("guessed_right") <= count("guessed_tokens"), "{guessed}");
    }
    let error = place.error(&["run", "base.gguf", "x", "--draft", "n-gram"]);
    assert!(error.contains("n-gram"), "{error}");
    let error = place.error(&["run", "base.gguf", "x", "--draft-max", "4"]);
    assert!(error.contains("--draft"), "{error}");
}

#[test]
fn piped_text_is_the_prompt_or_follows_it() {
    let place = Place::new();
    let prompt_tokens = |output: Output| {
        let json: Value = serde_json::from_slice(&success(output).stdout).unwrap();
        json["prompt_tokens"].as_u64().unwrap()
    };
    let alone = ["run", "chat.gguf", "--json", "-n", "1"];
    let dash = ["run", "chat.gguf", "-", "--json", "-n", "1"];
    let beside = ["run", "chat.gguf", "first", "--json", "-n", "1"];
    let given = ["run", "chat.gguf", "first\n\nsecond", "--json", "-n", "1"];
    let expected = prompt_tokens(place.run(&given));
    assert_eq!(prompt_tokens(place.piped(&alone, b"first\n\nsecond\n")), expected);
    assert_eq!(prompt_tokens(place.piped(&dash, b"first\n\nsecond")), expected);
    assert_eq!(prompt_tokens(place.piped(&beside, b"second\n")), expected);
    assert!(prompt_tokens(place.run(&beside)) < expected);
    let error = text(&place.piped(&alone, b" \n").stderr);
    assert!(error.contains("the prompt is empty"), "{error}");
    let error = text(&place.piped(&alone, b"\xff\xfe").stderr);
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_model_without_a_template_continues_plain_text_and_says_so() {
    let place = Place::new();
    let output = success(place.run(&["run", "base.gguf", "once", "-n", "4"]));
    assert!(text(&output.stderr).contains("no chat template"), "{}", text(&output.stderr));
    let raw = success(place.run(&["run", "base.gguf", "once", "-n", "4", "--raw"]));
    assert!(!text(&raw.stderr).contains("no chat template"));
    assert_eq!(output.stdout, raw.stdout);
    assert!(place.error(&["run", "base.gguf", "once", "--system", "be brief"]).contains("--system"));
}

#[test]
fn one_argument_that_names_no_model_is_a_prompt_for_the_default_model() {
    let place = Place::new();
    // The default model cannot be fetched here, and the error shows that it was the one asked for.
    for prompt in ["What is the capital of France?", "Hello", "smolm2"] {
        let error = place.error(&["run", prompt]);
        assert!(error.contains("smollm2 could not be fetched from any of its"), "{prompt}: {error}");
    }
    assert!(place.error(&["run", "smolm2"]).contains("did you mean smollm2?"));
}

#[test]
fn what_is_written_as_a_model_and_is_none_is_an_error_with_the_nearest_name() {
    let place = Place::new();
    let error = place.error(&["run", "./smollm2.gguf"]);
    assert!(error.starts_with("error: ./smollm2.gguf does not exist"), "{error}");
    let error = place.error(&["run", "smolm2", "hello"]);
    assert!(error.contains("no model is called \"smolm2\" (did you mean smollm2?)"), "{error}");
    let error = place.error(&["run", "user/model"]);
    assert!(error.contains("user/model") && error.contains("HF_HUB_OFFLINE"), "{error}");
    assert!(place.error(&["pull", "qwen2.5-coder-05b"]).contains("qwen2.5-coder-0.5b"));
    assert!(place.error(&["inspect", "gemma-270m"]).contains("gemma3-270m"));
}

#[test]
fn a_file_that_is_no_model_is_refused_by_name() {
    let place = Place::new();
    std::fs::write(place.path("bad.gguf"), b"GGUF and then nothing").unwrap();
    for args in [&["run", "bad.gguf", "x"][..], &["inspect", "bad.gguf"], &["bench", "bad.gguf"]] {
        let error = place.error(args);
        assert!(error.starts_with("error: ") && error.contains("bad.gguf"), "{args:?}: {error}");
    }
}

#[test]
fn a_file_whose_activations_must_be_rotated_is_refused_rather_than_run_wrong() {
    let place = Place::new();
    let rotated = tiny_gguf(Template::Chat).with("prism.hadamard.block_size", 32u32);
    rotated.write(&place.path("rotated.gguf")).unwrap();
    let error = place.error(&["run", "rotated.gguf", "x"]);
    assert!(error.contains("rotated.gguf") && error.contains("prism.hadamard.block_size"), "{error}");
}

#[test]
fn bad_options_are_refused_by_name() {
    let place = Place::new();
    for (args, expected) in [
        (&["run", "chat.gguf", "x", "--top-p", "1.5"][..], "top_p is 1.5"),
        (&["run", "chat.gguf", "x", "--samplers", "top_q"], "top_q"),
        (&["run", "chat.gguf", "x", "--logprobs", "3"], "--json"),
        (&["run", "chat.gguf", "x", "--mirostat-tau", "3"], "--mirostat"),
        (&["run", "chat.gguf", "x", "--stop", ""], "stop string 0"),
        (&["run", "chat.gguf", "x", "-t", "0"], "1 to 1024"),
        (&["run", "chat.gguf", "x", "-c", "100000"], "100000"),
        (&["run", "chat.gguf", "x", "--raw", "--system", "y"], "--system"),
        (&["run", "chat.gguf", "x", "--tempp", "1"], "--temp"),
        (&["bench", "chat.gguf", "-p", "0", "-n", "0"], "-p and -n"),
        (&["perplexity", "chat.gguf", "--text", "t", "--preset", "gptq"], "llama.cpp"),
        (&["perplexity", "chat.gguf", "--text", "none.txt"], "none.txt"),
        (&["inspect", "chat.gguf", "-c", "100000"], "100000"),
        (&["lsit"], "list"),
    ] {
        let error = place.error(args);
        assert!(error.starts_with("error: ") && error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn environment_variables_are_checked_and_lower_the_instructions() {
    let place = Place::new();
    let run = |args: &[&str], name: &str, value: &str| place.command(args).env(name, value).output().unwrap();
    let few = ["run", "chat.gguf", "x", "-n", "1"];
    for (name, value, expected) in
        [("LOWBIT_ISA", "sse9", "expected one of scalar, "), ("LOWBIT_THREADS", "many", "1 to 1024")]
    {
        let output = run(&few, name, value);
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains(name) && text(&output.stderr).contains(expected));
    }
    success(run(&few, "LOWBIT_ISA", "scalar"));
    let doctor = success(run(&["doctor", "--json"], "LOWBIT_ISA", "scalar"));
    let json: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(json["isa"]["chosen"], "scalar");
    assert!(json["read_bandwidth"][0]["median_gb_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn every_listing_is_text_and_json() {
    let place = Place::new();
    for (topic, field, known) in [
        ("models", "name", "smollm2"),
        ("formats", "label", "int2-asym-g128"),
        ("architectures", "name", "llama"),
        ("samplers", "name", "top_k"),
        ("knobs", "name", "LOWBIT_HOME"),
    ] {
        let json = place.json(&["list", topic, "--json"]);
        let items = json.as_array().unwrap();
        assert!(items.iter().any(|item| item[field] == known), "{topic}: {json}");
        let table = place.stdout(&["list", topic]);
        assert_eq!(table.lines().count(), items.len() + 1, "{topic}");
        assert!(table.contains(known), "{table}");
    }
    assert_eq!(place.stdout(&["list"]), place.stdout(&["list", "models"]));
}

#[test]
fn methods_are_listed_and_shown_with_parts_settings_and_published_figures() {
    let place = Place::new();
    let all = place.json(&["methods", "--json"]);
    for entry in all.as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        assert_eq!(*entry, place.json(&["methods", name, "--json"]));
        assert!(!entry["parts"].as_array().unwrap().is_empty(), "{name}");
        let shown = place.stdout(&["methods", name]);
        assert!(shown.contains(entry["summary"].as_str().unwrap()), "{shown}");
    }
    assert!(place.stdout(&["methods"]).contains("column by column"));
    let gptq = place.stdout(&["methods", "gptq"]);
    assert!(gptq.contains("column sweep") && gptq.contains("damp=0.01"), "{gptq}");
    assert!(gptq.contains("rtn 37.28"), "{gptq}");
    assert!(place.error(&["methods", "gtpq"]).contains("did you mean `gptq`?"));
}

#[test]
fn inspect_shows_every_tensor_and_what_loading_takes() {
    let place = Place::new();
    let json = place.json(&["inspect", "chat.gguf", "--json", "--load", "-c", "64"]);
    assert_eq!(json["architecture"], "llama");
    assert_eq!(json["tensors"].as_array().unwrap().len(), tiny_gguf(Template::Chat).tensors.len());
    assert_eq!(json["tensors"][0]["format"], "f32");
    // Keys and values of two blocks, 16 elements each in 2 bytes, for 64 tokens.
    assert_eq!(json["memory"]["kv_bytes_f16"], 2 * 2 * 16 * 2 * 64);
    assert_eq!(json["file_bytes"], std::fs::metadata(place.path("chat.gguf")).unwrap().len());
    assert!(json["load_s"].as_f64().unwrap() > 0.0);
    if cfg!(target_os = "linux") {
        assert!(json["peak_rss_bytes"].as_u64().unwrap() > 100_000, "{json}");
    }
    let text = place.stdout(&["inspect", "chat.gguf"]);
    assert!(text.contains("blk.1.ffn_down.weight") && text.contains("bits/weight"), "{text}");
}

#[test]
fn bench_runs_at_a_depth_and_tells_where_the_time_goes() {
    let args = ["bench", "chat.gguf", "-p", "4", "-n", "3", "-d", "0,9", "-t", "2", "-r", "2", "--profile"];
    let place = Place::new();
    let json = place.json(&[&args[..], &["--json"]].concat());
    let tests = json["tests"].as_array().unwrap();
    let names: Vec<&str> = tests.iter().map(|test| test["test"].as_str().unwrap()).collect();
    assert_eq!(names, ["pp4", "tg3", "pp4 @ d9", "tg3 @ d9"]);
    for test in tests {
        let profile = &test["profile"];
        let parts = profile["parts"].as_array().unwrap();
        let sum: f64 = parts.iter().map(|part| part["share"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-6 && parts.iter().any(|part| part["part"] == "attention"), "{test}");
        assert_eq!(profile["tokens"].as_u64().unwrap(), 2 * test["tokens"].as_u64().unwrap());
        assert!(profile["fork_join_ns"].as_f64().unwrap() > 0.0, "{test}");
    }
    let text = place.stdout(&args);
    assert!(text.contains("tg3 @ d9 with 2 threads") && text.contains("gate/up"), "{text}");
}

#[test]
fn bench_reports_both_tests_for_every_number_of_threads() {
    let args = ["bench", "chat.gguf", "-p", "16", "-n", "8", "-t", "1,2", "-r", "3", "--json"];
    let json = Place::new().json(&args);
    let tests = json["tests"].as_array().unwrap();
    let names: Vec<(&str, u64)> = tests
        .iter()
        .map(|test| (test["test"].as_str().unwrap(), test["threads"].as_u64().unwrap()))
        .collect();
    assert_eq!(names, [("pp16", 1), ("tg8", 1), ("pp16", 2), ("tg8", 2)]);
    for test in tests {
        let rate = |field: &str| test[field].as_f64().unwrap();
        assert!(0.0 < rate("slowest_tokens_per_s"), "{test}");
        assert!(rate("slowest_tokens_per_s") <= rate("tokens_per_s"), "{test}");
        assert!(rate("tokens_per_s") <= rate("fastest_tokens_per_s"), "{test}");
        assert_eq!(test["bandwidth_share"].is_number(), test["kind"] == "generate");
    }
    assert!(json["load_s"].is_number() && json["bytes_per_token"].as_u64().unwrap() > 0);
}

#[test]
fn bench_of_kernels_measures_what_a_file_defines_and_keeps_the_rows() {
    let place = Place::new();
    let definitions = r#"
        tokens = [1, 3]
        activations = ["int8", "int16"]
        formats = ["int2-sym-g32", "q4_0", "q4_k"]
        [[shapes]]
        name = "small"
        source = "nothing"
        nk = [[48, 96]]
    "#;
    std::fs::write(place.path("small.toml"), definitions).unwrap();
    let args = ["bench", "--kernels", "--definitions", "small.toml", "-t", "1,2", "-r", "1", "--energy"];
    let json = place.json(&[&args[..], &["--json", "--record", "kept"]].concat());
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(
        rows.len(),
        2 * 2 * 2 * 2,
        "formats, tokens, activations, threads; K is no whole block of q4_k"
    );
    assert!(json["left_out"][0].as_str().unwrap().contains("q4_k"), "{json}");
    for row in rows {
        assert!(row["min_us"].as_f64() <= row["median_us"].as_f64() && row["cache"] == "warm", "{row}");
        assert!(row["nmse"].as_f64().unwrap() < 1e-3, "{row}");
        assert_eq!(row["joules"].is_null(), !json["no_energy"].is_null());
    }
    let of_processor = std::fs::read_dir(place.path("kept")).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read_dir(of_processor).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_to_string(kept).unwrap().lines().count(), 1 + rows.len());
    let text = place.stdout(&[&args[..], &["--format", "ternary-row", "--tokens", "2"]].concat());
    assert!(text.contains("48x96") && text.contains("ternary-row"), "{text}");
    for wrong in [&["bench", "chat.gguf", "--cold"][..], &["bench", "--kernels", "-p", "4"], &["bench"]] {
        assert!(!place.run(wrong).status.success(), "{wrong:?}");
    }
}

#[test]
fn perplexity_scores_what_the_preset_says_and_refuses_what_does_not_fit() {
    let place = Place::new();
    // Every byte is a token and the begin token makes one more, so these are two windows of 512.
    let written: String = (0..1030u32).map(|i| char::from(b'a' + (i * i % 23) as u8)).collect();
    std::fs::write(place.path("t.txt"), &written).unwrap();
    std::fs::write(place.path("short.txt"), &written[..100]).unwrap();
    let score = |more: &[&str]| {
        let args = [&["perplexity", "chat.gguf", "--text", "t.txt", "--preset", "llama.cpp", "--json"], more]
            .concat();
        place.json(&args)
    };
    let all = score(&[]);
    assert_eq!((&all["chunks"], &all["scored_tokens"]), (&2.into(), &510.into()));
    assert!(all["perplexity"].as_f64().unwrap() > 1.0 && all["stderr"].as_f64().unwrap() > 0.0);
    assert_eq!(score(&["--chunks", "1"])["scored_tokens"], 255);
    assert_eq!(all["activations"], "gguf");
    assert_eq!(score(&["--activations", "int8"])["activations"], "int8");
    assert_eq!(score(&["-t", "1"])["perplexity"], score(&["-t", "2"])["perplexity"]);
    assert!(place.stdout(&["perplexity", "chat.gguf", "--text", "t.txt"]).starts_with("perplexity "));
    let error = place.error(&["perplexity", "chat.gguf", "--text", "short.txt"]);
    assert!(error.contains("101 tokens") && error.contains("512"), "{error}");
    let error = place.error(&["perplexity", "chat.gguf", "--text", "t.txt", "--preset", "paper"]);
    assert!(error.contains("2048") && error.contains("600"), "{error}");
    assert!(place.error(&["perplexity", "chat.gguf", "--text", "t.txt", "--chunks", "0"]).contains("chunks"));
}

#[test]
fn pull_of_a_path_prints_it() {
    let place = Place::new();
    assert_eq!(place.stdout(&["pull", "chat.gguf"]), "chat.gguf\n");
    assert_eq!(place.json(&["pull", "chat.gguf", "--json"])["path"], "chat.gguf");
}

#[test]
fn completions_help_and_version_are_there() {
    let place = Place::new();
    assert!(place.stdout(&["completions", "bash"]).contains("lowbit"));
    let help = place.stdout(&["--help"]);
    for command in ["run", "pull", "list", "inspect", "bench", "perplexity", "doctor"] {
        assert!(help.contains(command), "{help}");
    }
    assert!(place.stdout(&["--version"]).starts_with("lowbit "));
}

#[test]
#[cfg(unix)]
fn a_reader_that_leaves_gets_no_error_message() {
    let place = Place::new();
    // The reader is gone before the program starts, so that its first write finds nobody.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.command(&["list", "formats"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("", Some(141)));
}

#[test]
fn a_model_of_random_weights_is_made_inspected_and_measured() {
    let place = Place::new();
    let make = |format: &str, out: &str| {
        let args = ["synth", "--like", "smollm2-135m", "--layers", "1", "--vocab", "50", "--format", format];
        place.json(&[&args[..], &["--out", out, "--seed", "3", "--json"]].concat())
    };
    for (format, out, kind) in [("q8_0", "a.gguf", "gguf"), ("int2-asym-g32", "a.lowbit", "lowbit")] {
        let json = make(format, out);
        assert_eq!((json["kind"].as_str(), json["blocks"].as_u64()), (Some(kind), Some(1)), "{json}");
        assert_eq!(json["bytes"].as_u64().unwrap(), std::fs::metadata(place.path(out)).unwrap().len());
        let bits = json["bits_per_weight"].as_f64().unwrap();
        assert!((2.5..9.0).contains(&bits), "{json}");
        let inspected = place.json(&["inspect", out, "--json"]);
        assert_eq!(inspected["weights"], json["weights"]);
        let formats = inspected["tensors"].as_array().unwrap().iter();
        assert_eq!(formats.filter(|t| t["format"] == format).count(), 8, "{inspected}");
        let measured = place.json(&["bench", out, "-p", "4", "-n", "2", "-r", "1", "-t", "1", "--json"]);
        assert!(measured.is_object(), "{measured}");
        let error = place.error(&["run", out, "hello"]);
        assert!(error.contains(out) && error.contains("no tokenizer"), "{error}");
        std::fs::write(place.path("text"), "some text").unwrap();
        let error = place.error(&["perplexity", out, "--text", "text"]);
        assert!(error.contains("no tokenizer"), "{error}");
    }
    let refused = |like: &str, format: &str, out: &str| {
        place.error(&["synth", "--like", like, "--format", format, "--out", out])
    };
    let error = refused("smollm2-135n", "q8_0", "b.gguf");
    assert!(error.contains("did you mean smollm2-135m?"), "{error}");
    let error = refused("smollm2-135m", "int2sym", "b.lowbit");
    assert!(error.contains("unknown weight format `int2sym`"), "{error}");
    let error = refused("smollm2-135m", "q8_0", "b.lowbit");
    assert!(error.contains("q8_0 is written to a .gguf file"), "{error}");
    assert!(!place.path("b.lowbit").exists());
}

#[test]
fn a_choice_of_kernels_is_explained_with_every_refusal() {
    let place = Place::new();
    let listed = place.json(&["kernels", "--json"]);
    let listed = listed.as_array().unwrap();
    assert!(listed.iter().all(|kernel| !kernel["formats"].as_array().unwrap().is_empty()), "{listed:?}");
    let explained =
        place.json(&["kernels", "--explain", "4096", "4096", "q4_0", "-m", "3", "-t", "2", "--json"]);
    let (candidates, refused) =
        (explained["candidates"].as_array().unwrap(), explained["refused"].as_array().unwrap());
    assert_eq!(candidates.len() + refused.len(), listed.len());
    assert!(candidates.iter().any(|candidate| candidate["kernel"] == explained["choice"]), "{explained}");
    assert!(refused.iter().all(|kernel| !kernel["reason"].as_str().unwrap().is_empty()), "{explained}");
    // What is several matrices, or another one to kernels, is said of each.
    for (format, expected) in [
        ("int3-asym-g64+rank8-f16+sparse9x1-f16", vec!["int3-asym-g64", "f16", "f16"]),
        ("int4-asym-c128", vec!["int4-sym-tensor"]),
    ] {
        let explained = place.json(&["kernels", "--explain", "256", "128", format, "--json"]);
        let matrices = explained["matrices"].as_array().unwrap();
        let formats: Vec<&str> = matrices.iter().map(|one| one["format"].as_str().unwrap()).collect();
        assert_eq!(formats, expected, "{explained}");
        let said = text(&place.run(&["kernels", "--explain", "256", "128", format]).stdout);
        assert!(said.contains("is multiplied as"), "{said}");
    }
    let error = place.error(&["kernels", "--explain", "64", "64", "q4_9"]);
    assert!(error.contains("did you mean `q4_0`"), "{error}");
    let error = place.error(&["kernels", "--explain", "64", "33", "q4_0"]);
    assert!(error.contains("expected a multiple of the 32"), "{error}");
    let error = place.error(&["tune", "chat.gguf"]);
    assert!(error.contains("no quantized weights"), "{error}");
}

#[test]
fn what_was_tuned_is_kept_and_chosen_by() {
    let place = Place::new();
    let synth = [
        "synth",
        "--like",
        "smollm2-135m",
        "--layers",
        "1",
        "--vocab",
        "64",
        "--format",
        "int2-sym-g64",
        "-o",
        "m.lowbit",
    ];
    place.stdout(&synth);
    let tuned = place.json(&["tune", "m.lowbit", "-t", "1", "--json"]);
    assert_eq!(tuned["complete"], true);
    let products = tuned["products"].as_array().unwrap();
    assert!(
        !products.is_empty() && std::path::Path::new(tuned["path"].as_str().unwrap()).is_file(),
        "{tuned}"
    );
    let (n, k) = (products[0]["n"].to_string(), products[0]["k"].to_string());
    let explained = place.json(&["kernels", "--explain", &n, &k, "int2-sym-g64", "-t", "1", "--json"]);
    assert_eq!(explained["choice"], products[0]["choice"]);
    assert_eq!(explained["candidates"][0]["source"], "measured");
}

#[test]
fn a_quantized_model_runs_keeps_its_template_and_is_the_same_file_with_any_number_of_threads() {
    let place = Place::new();
    let quantize = |out: &str, threads: &str| {
        let formats = ["--format", "int4-asym-g32", "--role", "down=int8-sym-g32", "--embedding", "f16"];
        place.json(&[&["quantize", "chat.gguf", "--json", "-o", out, "-t", threads], &formats[..]].concat())
    };
    let json = quantize("a.lowbit", "1");
    quantize("b.lowbit", "3");
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!(bytes("a.lowbit"), bytes("b.lowbit"));
    assert_eq!(json["bytes"], bytes("a.lowbit").len());
    let tensors = json["tensors"].as_array().unwrap();
    // Seven a block and the embedding.
    assert_eq!(tensors.len(), 15);
    for tensor in tensors {
        let (role, format) = (tensor["role"].as_str().unwrap(), tensor["format"].as_str().unwrap());
        let (expected, most) = match role {
            "down" => ("int8-sym-g32", 1e-4),
            "embedding" => ("f16", 1e-6),
            _ => ("int4-asym-g32", 1e-2),
        };
        assert_eq!(format, expected, "{tensor}");
        assert!(tensor["nmse"].as_f64().unwrap() < most, "{tensor}");
    }
    let output = success(place.run(&["run", "a.lowbit", "hello", "-n", "4", "--temp", "0"]));
    assert!(text(&output.stdout).ends_with('\n'));
    let inspected = place.stdout(&["inspect", "a.lowbit"]);
    assert!(inspected.contains("int4-asym-g32"), "{inspected}");
}

#[test]
fn blocks_of_gguf_are_made_and_go_over_to_a_gguf_file_as_they_are() {
    let place = Place::new();
    for (method, format) in [("rtn", "q8_0"), ("mse", "q4_0"), ("rtn", "q5_1")] {
        let (made, gguf) = (format!("{format}.lowbit"), format!("{format}.gguf"));
        place.stdout(&["quantize", "chat.gguf", "--method", method, "--format", format, "-o", &made]);
        place.stdout(&["convert", &made, "--to", "gguf", "-o", &gguf]);
        for file in [&made, &gguf] {
            let inspected = place.stdout(&["inspect", file]);
            assert!(inspected.to_lowercase().contains(format), "{inspected}");
        }
        let said = |file: &str| place.stdout(&["run", file, "hello", "-n", "8", "--temp", "0"]);
        assert_eq!(said(&made), said(&gguf), "{format}");
    }
}

#[test]
fn what_cannot_be_quantized_is_refused_by_name_and_leaves_no_file() {
    let place = Place::new();
    let error = |args: &[&str]| place.error(&[&["quantize", "chat.gguf", "-o", "x.lowbit"], args].concat());
    for (args, parts) in [
        (&["--format", "int4-sim-g32"][..], &["did you mean `int4-sym-g32`"][..]),
        (&["--method", "hqqq"], &["did you mean `hqq`", "known are rtn"]),
        (&["--method", "hqq", "--format", "int4-sym-g32"], &["blk.0.attn_q.weight", "asym and fzero"]),
        (&["--method", "mse", "--set", "gird=3"], &["settings of mse", "unknown field `gird`"]),
        (&["--format", "int4-sym-g128"], &["blk.0.attn_q.weight", "[32, 32]", "groups of 128", "--tensor"]),
        (&["--format", "iq2_s"], &["iq2_s", "does not write them"]),
        (&["--format", "q4_k"], &["blk.0.attn_q.weight", "[32, 32]", "groups of 256", "--tensor"]),
        (&["--method", "hqq", "--format", "q4_0"], &["asym and fzero"]),
        (&["--role", "dwn=int4-sym-g32"], &["did you mean `down`"]),
        (&["--tensor", "nothing*=int4-sym-g32", "--format", "int4-sym-g32"], &["nothing*", "lowbit inspect"]),
    ] {
        let error = error(args);
        for part in parts {
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
    assert!(!place.path("x.lowbit").exists());
    let error = place.error(&["quantize", "chat.gguf", "-o", "x.gguf"]);
    assert!(error.contains(".lowbit"), "{error}");
}
