//! `lowbit roofline`.

use super::Place;

#[test]
fn a_machine_of_the_table_bounds_a_model_that_it_does_not_run() {
    let place = Place::new();
    let args = ["roofline", "base.gguf", "--hardware", "h100-sxm", "-c", "64", "--json"];
    let json = place.json(&args);
    assert_eq!(json["machine"]["name"], "h100-sxm");
    let passes = json["passes"].as_array().unwrap();
    assert_eq!(
        passes.iter().map(|pass| pass["pass"].as_str().unwrap()).collect::<Vec<_>>(),
        ["decode", "prefill"]
    );
    for pass in passes {
        let ops = pass["operators"].as_array().unwrap();
        let sum: f64 =
            ops.iter().map(|op| op["least_s"].as_f64().unwrap() * op["times"].as_f64().unwrap()).sum();
        assert!((sum / pass["least_s"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{pass}");
        assert!(pass["predicted_s"].is_null() && pass["measured_s"].is_null(), "{pass}");
    }
    // What inspect says, norms apart: five of 32 floats.
    let inspected = place.json(&["inspect", "base.gguf", "--json"]);
    let bytes = inspected["memory"]["weight_bytes"].as_f64().unwrap();
    assert_eq!(json["weight_bytes"].as_f64().unwrap() + 5.0 * 32.0 * 4.0, bytes);
    let text = place.stdout(&args[..6]);
    assert!(text.contains("at least") && text.contains("prefill") && !text.contains("predicted"), "{text}");
}

#[test]
fn this_machine_is_measured_predicted_checked_and_drawn() {
    let place = Place::new();
    let args = ["roofline", "base.gguf", "-c", "16", "-t", "1", "--check", "--json", "--svg", "roof.svg"];
    let json = place.json(&args);
    assert_eq!(
        (json["machine"]["name"].as_str(), json["machine"]["threads"].as_u64()),
        (Some("measured"), Some(1))
    );
    for pass in json["passes"].as_array().unwrap() {
        for field in ["least_s", "predicted_s", "measured_s"] {
            assert!(pass[field].as_f64().unwrap() > 0.0, "{field}: {pass}");
        }
    }
    let svg = std::fs::read_to_string(place.path("roof.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("decode") && svg.contains("head"), "{svg}");
}

#[test]
fn a_shape_needs_no_file_and_other_formats_no_other_file() {
    let place = Place::new();
    let bytes = |weights: &str| {
        let args = [
            "roofline",
            "--like",
            "llama-2-7b",
            "--weights",
            weights,
            "--hardware",
            "raspberry-pi-5",
            "--json",
        ];
        place.json(&args)["passes"][0]["weight_bytes"].as_f64().unwrap()
    };
    // 6.6 thousand million weights; scales of two bytes for every 64.
    let (four, two) = (bytes("int4-sym-g64"), bytes("int2-sym-g64"));
    assert!((four / two - 4.25 / 2.25).abs() < 1e-3, "{four} {two}");
    assert!((3.4e9..3.6e9).contains(&four), "{four}");
}

#[test]
fn machines_are_listed_and_unknown_ones_answered_with_the_nearest() {
    let place = Place::new();
    let listed = place.stdout(&["list", "hardware"]);
    assert!(listed.contains("a100-80gb") && listed.contains("raspberry-pi-5"), "{listed}");
    assert_eq!(place.stdout(&["roofline", "--hardware", "list"]), listed);
    assert!(place.json(&["list", "hardware", "--json"])[0]["source"].is_string());
    let error = place.error(&["roofline", "base.gguf", "--hardware", "rtx-4900"]);
    assert!(error.contains("did you mean rtx-4090?"), "{error}");
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_reason() {
    let place = Place::new();
    let cases: [(&[&str], &str); 6] = [
        (&["--check", "--weights", "q8_0"], "as it is stored"),
        (&["--check", "--hardware", "a100-80gb"], "measured machine"),
        (&["--check", "--batch", "2"], "one sequence"),
        (&["--weights", "q4_k"], "256 weights"),
        (&["--weights", "q4k"], "q4_k"),
        (&["-c", "601"], "made for 600"),
    ];
    for (args, expected) in cases {
        let all = [&["roofline", "base.gguf"], args].concat();
        let error = place.error(&all);
        assert!(error.contains(expected), "{args:?}: {error}");
    }
    assert!(place.error(&["roofline", "base.gguf", "--cache-type", "f8"]).contains("int8, int4"));
    assert!(place.error(&["roofline", "--like", "llama-2-7b"]).contains("--weights"));
}
