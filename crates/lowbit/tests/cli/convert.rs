//! `convert`: the same model in another kind of file.

use super::{Place, success, text};
use lowbit_io::{Access, Checkpoint};
use lowbit_testing::{GgufFile, seeded_values};
use std::process::{Command, Stdio};

/// What a model answers, greedily, and the log-probabilities: equal only where all logits are.
fn answer(place: &Place, model: &str) -> serde_json::Value {
    let args = ["run", model, "hello there", "-n", "12", "--temp", "0", "--raw", "--json", "--logprobs", "5"];
    let mut answer = place.json(&args);
    assert!(answer["tokens"].as_array().is_some_and(|tokens| !tokens.is_empty()), "{answer}");
    serde_json::json!([answer["tokens"].take(), answer["logprobs"].take()])
}

#[test]
fn a_quantized_model_as_gguf_gives_the_same_tokens() {
    let place = Place::new();
    for (format, blocks) in [
        ("int4-sym-g32", "q4_0"),
        ("int3-asym-g32", "q4_0"),
        ("int4-asym-g32", "q5_0"),
        ("int5-sym-g32", "q5_0"),
        ("int8-sym-g32", "q8_0"),
    ] {
        let quantize = ["quantize", "base.gguf", "-o", "x.lowbit", "--format", format, "--verify", "none"];
        place.stdout(&quantize);
        let made = place.json(&["convert", "x.lowbit", "--to", "gguf", "-o", "x.gguf", "--json"]);
        let tensors = made["tensors"].as_array().unwrap();
        let rounded = tensors.iter().filter(|tensor| tensor["from"] == format);
        assert_eq!(rounded.clone().count(), 14, "{made}");
        rounded.for_each(|tensor| assert_eq!(tensor["to"], blocks, "{format}"));
        assert!(tensors.iter().all(|tensor| tensor["inexact"].is_null()), "{made}");
        assert_eq!(made["bytes"], std::fs::metadata(place.path("x.gguf")).unwrap().len());
        // As floats, so that the layout of weights does not round activations differently.
        let floats = |model| {
            let args = ["perplexity", model, "--text", "t.txt", "--activations", "float", "--json"];
            place.json(&args)["perplexity"].as_f64().unwrap()
        };
        std::fs::write(place.path("t.txt"), "the quick brown fox ".repeat(40)).unwrap();
        let (before, after) = (floats("x.lowbit"), floats("x.gguf"));
        // Sums are made in another order; 1e-5 is a hundred roundings of single precision.
        assert!((before - after).abs() < 1e-5 * before, "{format}: {before} and {after}");
        assert_eq!(answer(&place, "x.lowbit")[0], answer(&place, "x.gguf")[0], "{format}");
    }
}

#[test]
fn a_gguf_file_is_the_same_model_in_a_container_and_back() {
    let place = Place::new();
    let text = place.stdout(&["convert", "chat.gguf", "--to", "lowbit", "-o", "c.lowbit"]);
    assert!(text.contains("exactly as they were"), "{text}");
    assert_eq!(answer(&place, "chat.gguf"), answer(&place, "c.lowbit"));
    place.stdout(&["convert", "c.lowbit", "--to", "gguf", "-o", "again.gguf"]);
    assert_eq!(answer(&place, "chat.gguf"), answer(&place, "again.gguf"));
    place.stdout(&["convert", "again.gguf", "--to", "lowbit", "-o", "d.lowbit"]);
    place.stdout(&["convert", "d.lowbit", "--to", "gguf", "-o", "third.gguf"]);
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("again.gguf") == bytes("third.gguf"), "a second round changes the file");
}

#[test]
fn what_gguf_cannot_say_is_refused_by_name_or_decoded_and_said() {
    let place = Place::new();
    place.stdout(&[
        "quantize",
        "base.gguf",
        "-o",
        "x.lowbit",
        "--format",
        "int4-asym-g16",
        "--verify",
        "none",
    ]);
    let error = place.error(&["convert", "x.lowbit", "--to", "gguf", "-o", "x.gguf"]);
    for part in ["blk.0.", "int4-asym-g16", "groups of 16 weights", "--format int4-sym-g32", "--lossy f16"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!place.path("x.gguf").exists());
    for (lossy, most) in [("f32", 1e-5), ("f16", 1e-2)] {
        let args = ["convert", "x.lowbit", "--to", "gguf", "-o", "x.gguf", "--lossy", lossy];
        let output = success(place.run(&args));
        let said = text(&output.stderr);
        assert_eq!(said.matches("was decoded from int4-asym-g16").count(), 14, "{said}");
        assert!(text(&output.stdout).contains("14 of them decoded"), "{}", text(&output.stdout));
        std::fs::write(place.path("t.txt"), "the quick brown fox ".repeat(40)).unwrap();
        let perplexity = |model| {
            let args = ["perplexity", model, "--text", "t.txt", "--activations", "float", "--json"];
            place.json(&args)["perplexity"].as_f64().unwrap()
        };
        let (before, after) = (perplexity("x.lowbit"), perplexity("x.gguf"));
        assert!((before - after).abs() < most * before, "{lossy}: {before} and {after}");
    }
    let error = place.error(&["convert", "base.gguf", "--to", "lowbit", "-o", "x.lowbit", "--lossy", "f16"]);
    assert!(error.contains("leave the option out"), "{error}");
    let error = place.error(&["convert", "base.gguf", "--to", "gguf", "-o", "x.lowbit"]);
    assert!(error.contains("a .gguf file is written"), "{error}");
}

#[test]
fn the_reference_package_decodes_what_was_written_to_the_same_weights() {
    // The interpreter that is named, else the one on the path.
    let python = std::env::var("LOWBIT_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import gguf, numpy"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        eprintln!("skipped: {python} has no package gguf; LOWBIT_TEST_PYTHON may name one that has");
        return;
    }
    let place = Place::new();
    // Version 0.19 of the package decodes neither Q1_0 nor Q2_0.
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/decode_gguf.py");
    for (source, format, types) in [
        (wide_gguf(), "ternary-g256", "TQ2_0"),
        (wide_gguf(), "int4-sym-g64", "Q4_0"),
        (wide_gguf(), "int5-sym-g32", "Q5_0"),
        (wide_gguf(), "int8-sym-g32", "Q8_0"),
    ] {
        source.write(&place.path("wide.gguf")).unwrap();
        let method = if format.starts_with("ternary") { "absmean" } else { "rtn" };
        let quantize = ["quantize", "wide.gguf", "-o", "x.lowbit", "--format", format, "--method", method];
        place.stdout(&[&quantize[..], &["--verify", "none"]].concat());
        place.stdout(&["convert", "x.lowbit", "--to", "gguf", "-o", "x.gguf"]);
        let mut command = Command::new(&python);
        let output =
            success(command.arg(script).args([place.path("x.gguf"), place.path("x.f32")]).output().unwrap());
        assert_eq!(
            text(&output.stdout).matches(&format!(" {types}\n")).count(),
            7,
            "{}",
            text(&output.stdout)
        );
        let bytes = std::fs::read(place.path("x.f32")).unwrap();
        let found = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b) + 0.0);
        let container = Checkpoint::open(&place.path("x.lowbit"), Access::Read).unwrap();
        let mut names: Vec<_> = container.tensors().iter().map(|info| info.name.as_str()).collect();
        names.sort_unstable();
        let expected = names.iter().flat_map(|name| container.vector(name).unwrap());
        // Bit for bit, the sign of zero apart.
        assert!(found.map(f32::to_bits).eq(expected.map(|x| (x + 0.0).to_bits())), "{format}");
    }
}

#[test]
fn a_folder_is_the_same_model_and_a_container_of_it_too() {
    let place = Place::new();
    std::fs::write(place.path("t.txt"), "the quick brown fox ".repeat(40)).unwrap();
    let floats = |model| {
        let args = ["perplexity", model, "--text", "t.txt", "--activations", "float", "--json"];
        place.json(&args)["perplexity"].as_f64().unwrap()
    };
    let text = place.stdout(&["convert", "chat.gguf", "--to", "hf", "-o", "folder"]);
    assert!(text.contains("exactly as they were"), "{text}");
    let (before, after) = (floats("chat.gguf"), floats("folder"));
    // Sums are made in another order; 1e-5 is a hundred roundings of single precision.
    assert!((before - after).abs() < 1e-5 * before, "{before} and {after}");
    // A container of the folder keeps its texts.
    place.stdout(&["convert", "folder", "--to", "lowbit", "-o", "c.lowbit"]);
    place.stdout(&["convert", "c.lowbit", "--to", "hf", "-o", "again"]);
    for name in ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        let bytes = |folder: &str| std::fs::read(place.path(&format!("{folder}/{name}"))).unwrap();
        assert!(bytes("folder") == bytes("again"), "{name}");
    }
    let error = place.error(&["convert", "chat.gguf", "--to", "hf", "-o", "folder"]);
    assert!(error.contains("something of that name already"), "{error}");
    let error = place.error(&["convert", "chat.gguf", "--to", "gguf", "-o", "x.gguf", "--dtype", "f16"]);
    assert!(error.contains("leave the option out"), "{error}");
    let error = place.error(&["convert", "chat.gguf", "--to", "hf", "-o", "x", "--lossy", "f16"]);
    assert!(error.contains("--dtype"), "{error}");
    assert!(!place.path("x").exists());
}

#[test]
fn folders_of_integers_are_the_same_model_in_the_layouts_of_two_libraries() {
    let place = Place::new();
    std::fs::write(place.path("t.txt"), "the quick brown fox ".repeat(40)).unwrap();
    let floats = |model: &str| {
        let args = ["perplexity", model, "--text", "t.txt", "--activations", "float", "--json"];
        place.json(&args)["perplexity"].as_f64().unwrap()
    };
    for (kind, format) in [
        ("gptq", "int4-sym-g16"),
        ("gptq", "int4-asym-g16"),
        ("gptq", "int8-sym-row"),
        ("gptq", "ternary-g16"),
        ("compressed-tensors", "int4-asym-g16"),
        ("compressed-tensors", "int3-sym-g32"),
        ("compressed-tensors", "int8-asym-row"),
    ] {
        let method = if format.starts_with("ternary") { "absmean" } else { "rtn" };
        let quantize = ["quantize", "base.gguf", "-o", "x.lowbit", "--format", format, "--method", method];
        place.stdout(&[&quantize[..], &["--verify", "none"]].concat());
        let out = format!("{kind}-{format}");
        let made = place.json(&["convert", "x.lowbit", "--to", kind, "-o", &out, "--json"]);
        let tensors = made["tensors"].as_array().unwrap();
        assert_eq!(tensors.iter().filter(|tensor| tensor["from"] == format).count(), 14, "{made}");
        assert!(tensors.iter().all(|tensor| tensor["inexact"].is_null()), "{made}");
        // Rows of query and key lie in another order there. Sums are made in another order too; 1e-5 is a hundred
        // roundings of single precision.
        let (before, after) = (floats("x.lowbit"), floats(&out));
        assert!((before - after).abs() < 1e-5 * before, "{out}: {before} and {after}");
        // And the folder as a source: from one library's layout to the other's, and back to floats.
        let other = if kind == "gptq" { "compressed-tensors" } else { "hf" };
        place.stdout(&["convert", &out, "--to", other, "-o", "again"]);
        let again = floats("again");
        assert!((before - again).abs() < 1e-5 * before, "{out} as {other}: {before} and {again}");
        std::fs::remove_dir_all(place.path("again")).unwrap();
    }
}

#[test]
fn what_a_folder_of_integers_cannot_say_is_refused_by_name_or_decoded_and_said() {
    let place = Place::new();
    let quantize =
        ["quantize", "base.gguf", "-o", "x.lowbit", "--format", "int4-sym-g16", "--verify", "none"];
    place.stdout(&[&quantize[..], &["--tensor", "blk.0.ffn_up.weight=int4-fzero-g16"]].concat());
    for kind in ["gptq", "compressed-tensors"] {
        let error = place.error(&["convert", "x.lowbit", "--to", kind, "-o", "x"]);
        for part in ["blk.0.ffn_up.weight", "int4-fzero-g16", "zero points are floats", "--lossy f32"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!place.path("x").exists());
        let output = success(place.run(&["convert", "x.lowbit", "--to", kind, "-o", "x", "--lossy", "f32"]));
        let said = text(&output.stderr);
        let expected = "model.layers.0.mlp.up_proj.weight was decoded from int4-fzero-g16 to f32";
        assert!(said.contains(expected), "{said}");
        assert!(text(&output.stdout).contains("1 of them decoded"), "{}", text(&output.stdout));
        let error = place.error(&["convert", "x.lowbit", "--to", kind, "-o", "x", "--lossy", "f32"]);
        assert!(error.contains("something of that name already"), "{error}");
        std::fs::remove_dir_all(place.path("x")).unwrap();
        // Half-precision scales fit a folder of that type, which rounds all else and says so.
        let args = ["convert", "x.lowbit", "--to", kind, "-o", "x", "--lossy", "f16", "--dtype", "f16"];
        let said = text(&success(place.run(&args)).stderr);
        assert!(said.contains("numbers are rounded"), "{said}");
        std::fs::remove_dir_all(place.path("x")).unwrap();
        let error = place.error(&["convert", "base.gguf", "--to", kind, "-o", "x"]);
        assert!(error.contains("no layer of integers"), "{error}");
    }
}

/// A Llama of one block whose rows are long enough for every block format.
fn wide_gguf() -> GgufFile {
    let mut file = GgufFile::new("llama")
        .with("llama.block_count", 1u32)
        .with("llama.context_length", 64u32)
        .with("llama.embedding_length", 256u32)
        .with("llama.feed_forward_length", 256u32)
        .with("llama.attention.head_count", 4u32)
        .with("llama.attention.layer_norm_rms_epsilon", 1e-5f32)
        .with("tokenizer.ggml.model", "no_vocab")
        .with("llama.vocab_size", 8u32);
    let matrix = |file: GgufFile, name: &str, n: u64| {
        file.with_f32(name, &[256, n], &seeded_values(name, 256 * n as usize, 0.5, 0.0))
    };
    file = matrix(file, "token_embd.weight", 8);
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
        file = matrix(file, &format!("blk.0.{name}.weight"), 256);
    }
    for norm in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
        file = file.with_f32(&format!("{norm}.weight"), &[256], &[1.0; 256]);
    }
    file
}
