//! `compare`, and what comes with it: texts of several kinds, and the verification of a quantized model.

use super::{Place, success, text};
use serde_json::Value;
use std::process::Output;

/// Text of bytes that the tiny models have tokens for: two windows of 512 with the begin token.
fn two_windows(place: &Place) -> &'static str {
    let written: String = (0..1030u32).map(|i| char::from(b'a' + (i * i % 23) as u8)).collect();
    std::fs::write(place.path("t.txt"), &written).unwrap();
    "t.txt"
}

#[test]
fn a_model_compared_with_itself_is_apart_by_exactly_nothing_and_with_fewer_bits_by_more() {
    let place = Place::new();
    let text = two_windows(&place);
    let compare = |other: &str, more: &[&str]| {
        place.json(&[&["compare", "chat.gguf", other, "--text", text, "--json"], more].concat())
    };
    let same = compare("chat.gguf", &[]);
    for figure in ["/kl/mean", "/kl/max", "/mean_abs_delta_log_p", "/difference/nats", "/difference/z"] {
        assert_eq!(same.pointer(figure).unwrap().as_f64(), Some(0.0), "{figure}: {same}");
    }
    assert_eq!((same["top1_agreement"].as_f64(), same["scored_tokens"].as_u64()), (Some(1.0), Some(510)));
    assert_eq!(same["layers"].as_array().unwrap().len(), 2);
    assert!(same["layers"].as_array().unwrap().iter().all(|layer| layer["worst"].as_f64() == Some(0.0)));
    // The perplexity is the one that the command of that name gives.
    let alone = place.json(&["perplexity", "chat.gguf", "--text", text, "--json"]);
    assert_eq!(same["reference"]["perplexity"], alone["perplexity"]);
    assert_eq!(same["text_sha256"], alone["text_sha256"]);

    let mut before = 0.0;
    for bits in ["8", "4", "2"] {
        let (format, out) = (format!("int{bits}-asym-g32"), format!("{bits}.lowbit"));
        place.stdout(&["quantize", "chat.gguf", "--format", &format, "-o", &out, "--verify", "none"]);
        let found = compare(&out, &["--svg", "figure.svg", "--activations", "float"]);
        let kl = found["kl"]["mean"].as_f64().unwrap();
        assert!(kl > before && found["top1_agreement"].as_f64().unwrap() < 1.0, "{bits} bits: {found}");
        let errors =
            found["layers"].as_array().unwrap().iter().map(|layer| layer["relative_error"].as_f64().unwrap());
        assert!(errors.clone().all(|error| error > 0.0) && errors.count() == 2, "{found}");
        let one_thread = compare(&out, &["--activations", "float", "-t", "1"]);
        for figure in ["reference", "other", "kl", "difference", "layers"] {
            assert_eq!(found[figure], one_thread[figure], "{figure}");
        }
        before = kl;
    }
    let svg = std::fs::read_to_string(place.path("figure.svg")).unwrap();
    assert!(svg.contains("2.lowbit against chat.gguf") && svg.matches("<circle").count() == 2, "{svg}");
    let text = place.stdout(&["compare", "chat.gguf", "2.lowbit", "--text", text, "--chunks", "1"]);
    assert!(text.contains("1 window of 512 tokens") && text.contains("worst token"), "{text}");
}

#[test]
fn models_of_other_vocabularies_are_not_compared() {
    let place = Place::new();
    let text = two_windows(&place);
    lowbit_testing::swapped_gguf().write(&place.path("swapped.gguf")).unwrap();
    let error = place.error(&["compare", "chat.gguf", "swapped.gguf", "--text", text]);
    assert!(error.contains("swapped.gguf") && error.contains("token 5 is"), "{error}");
    let error = place.error(&["compare", "chat.gguf", "base.gguf", "--text", "none.txt"]);
    assert!(error.contains("none.txt"), "{error}");
}

#[test]
fn a_file_of_lines_is_a_text_and_its_field_can_be_named() {
    let place = Place::new();
    let (one, two) = ("a".repeat(600), "b".repeat(600));
    std::fs::write(place.path("t.jsonl"), format!("{{\"body\": {one:?}}}\n{{\"body\": {two:?}}}\n")).unwrap();
    let args = ["perplexity", "base.gguf", "--text", "t.jsonl"];
    let error = place.error(&args);
    assert!(error.contains("t.jsonl: line 1, field \"text\"") && error.contains("found \"body\""), "{error}");
    let found = place.json(&[&args[..], &["--text-field", "body", "--json"]].concat());
    // 1,200 letters, a blank line and the begin token.
    assert_eq!(found["text_tokens"], 1203);
}

#[test]
fn a_quantized_model_is_verified_and_says_so_in_its_file() {
    let place = Place::new();
    std::fs::write(place.path("v.txt"), "the quick brown fox ".repeat(60)).unwrap();
    let quantize = |more: &[&str]| {
        success(place.run(&[&["quantize", "base.gguf", "-o", "x.lowbit", "--json"], more].concat()))
    };
    let json = |output: &Output| -> Value { serde_json::from_slice(&output.stdout).unwrap() };
    let eight = quantize(&["--format", "int8-asym-g32"]);
    let found = json(&eight)["verification"].clone();
    assert!(found["mean_kl"].as_f64().unwrap() < 0.1 && found["scored_tokens"] == 8 * 224, "{found}");
    assert_eq!(json(&eight)["bytes"], std::fs::metadata(place.path("x.lowbit")).unwrap().len());
    let file = || String::from_utf8_lossy(&std::fs::read(place.path("x.lowbit")).unwrap()).into_owned();
    assert!(file().contains("lowbit.x-verification") && file().contains("built in"));
    let first = std::fs::read(place.path("x.lowbit")).unwrap();
    quantize(&["--format", "int8-asym-g32", "-t", "1"]);
    assert!(first == std::fs::read(place.path("x.lowbit")).unwrap(), "the file depends on the threads");

    let ternary = quantize(&["--format", "ternary-g32", "--method", "absmean", "--verify-text", "v.txt"]);
    assert!(text(&ternary.stderr).contains("rounding to ternary breaks"), "{}", text(&ternary.stderr));
    assert!(json(&ternary)["verification"]["mean_kl"].as_f64() > found["mean_kl"].as_f64());
    let none = quantize(&["--verify", "none", "--format", "int2-asym-g32"]);
    assert!(text(&none.stderr).contains("two bits without calibration"), "{}", text(&none.stderr));
    assert!(json(&none)["verification"].is_null() && !file().contains("x-verification"));
    let error = place.error(&["quantize", "base.gguf", "-o", "y.lowbit", "--verify-text", "absent"]);
    assert!(error.contains("absent") && !place.path("y.lowbit").exists(), "{error}");
}
