//! Whole models through methods that look at what layers read: tiny ones of every shape that architectures have.

use lowbit_format::WeightSpec;
use lowbit_kernels::{Ctx, Isa};
use lowbit_quant::{
    Calibration, Formats, METHODS, MethodEntry, QuantError, Report, Request, Resume, quantize, stats::Inputs,
};
use lowbit_testing::{SplitMix64, golden_case};
use serde_json::json;
use std::{
    cell::Cell,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// Fused layers, experts in tensors of their own, norms after and around, more query heads than value heads and as many.
const CASES: [&str; 8] =
    ["llama-gqa", "llama-mha", "qwen2", "phi3-window", "mixtral", "gemma3", "olmo2", "qwen3-moe"];

struct Place {
    folder: tempfile::TempDir,
    source: PathBuf,
    vocab: u64,
}

impl Place {
    fn new(case: &str) -> Self {
        let case = golden_case(case);
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        case.write_folder(&source, 1).unwrap();
        let vocab = case.config["vocab_size"].as_u64().unwrap();
        Self { folder, source, vocab }
    }

    fn calibration(&self) -> Calibration {
        let mut rng = SplitMix64::new(7);
        let window = |len: usize| (0..len).map(|_| rng.next_below(self.vocab) as u32).collect();
        let windows: Vec<Vec<u32>> = [24, 24, 17].into_iter().map(window).collect();
        Calibration::new(windows, json!({"text": "seeded"})).unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Methods that need calibration.
fn methods() -> impl Iterator<Item = &'static MethodEntry> {
    METHODS.iter().filter(|entry| (entry.recipe)(&json!({})).unwrap().needs().inputs != Inputs::None)
}

/// A format whose groups fit into any row: one level of scales, or two for methods that make only such.
fn small_groups(method: &MethodEntry) -> WeightSpec {
    let recipe = (method.recipe)(&json!({})).unwrap();
    let specs = ["int3-asym-g4", "int3-asym-g4-int8-row", "int1-sym-g4"]
        .map(|label| WeightSpec::parse(label).unwrap());
    let makes = |spec: &WeightSpec| matches!(spec, WeightSpec::Grouped(spec) if recipe.accepts(spec).is_ok());
    specs.into_iter().find(makes).unwrap_or_else(|| panic!("{} makes none of them", method.card.name))
}

struct Run<'a> {
    method: &'static MethodEntry,
    settings: serde_json::Value,
    target: Option<f64>,
    calibration: Option<&'a Calibration>,
    memory: Option<u64>,
    resume: Resume,
    threads: usize,
}

impl<'a> Run<'a> {
    fn new(method: &'static MethodEntry, calibration: &'a Calibration) -> Self {
        let calibration = Some(calibration);
        let resume = Resume::Refuse;
        Self { method, settings: json!({}), target: None, calibration, memory: None, resume, threads: 1 }
    }

    /// Stops when `steps` steps were reported.
    fn run(&self, source: &Path, out: &Path, steps: usize) -> Result<Report, QuantError> {
        let request = Request {
            source,
            method: self.method,
            settings: self.settings.clone(),
            formats: Formats { default: small_groups(self.method), roles: Vec::new(), tensors: Vec::new() },
            target: self.target,
            calibration: self.calibration,
            memory: self.memory,
            resume: self.resume,
            threads: self.threads,
        };
        let left = Cell::new(steps);
        let ctx = Ctx::new(Isa::detect(), self.threads);
        quantize(&ctx, &request, out, &|progress| {
            assert!((0.0..=1.0).contains(&progress.done));
            left.set(left.get().saturating_sub(1));
            if left.get() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

#[test]
fn every_calibrated_method_makes_every_kind_of_model_and_threads_change_no_byte() {
    for case in CASES {
        let place = Place::new(case);
        let calibration = place.calibration();
        for method in methods() {
            let name = method.card.name;
            let (one, three) = (place.out("one.lowbit"), place.out("three.lowbit"));
            let run = Run::new(method, &calibration);
            let report = match run.run(&place.source, &one, usize::MAX) {
                // A sum has one base and one of each term for all rows of a tensor.
                Err(QuantError::Refused { why, .. }) if why.contains("experts in one tensor") => {
                    assert!(["mixtral", "qwen3-moe"].contains(&case), "{name} {why}");
                    continue;
                }
                Err(QuantError::Forward(error)) if error.to_string().contains("gradient") => {
                    assert!(["mixtral", "qwen3-moe"].contains(&case), "{name} {error}");
                    continue;
                }
                made => made.unwrap_or_else(|e| panic!("{case} {name} {e}")),
            };
            Run { threads: 3, ..run }.run(&place.source, &three, usize::MAX).unwrap();
            assert!(std::fs::read(&one).unwrap() == std::fs::read(&three).unwrap(), "{case} {name}");
            assert!(report.nmse > 0.0 && report.nmse < 0.5, "{case} {name} {}", report.nmse);
            for tensor in &report.tensors {
                let tokens =
                    tensor.calibration_tokens.unwrap_or_else(|| panic!("{case} {name} {}", tensor.name));
                assert!(tokens <= calibration.tokens());
            }
            assert!(!place.out("one.lowbit.partial").exists());
        }
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_goes_on_to_the_same_file() {
    let place = Place::new("qwen2");
    let calibration = place.calibration();
    for method in methods() {
        let whole = place.out("whole.lowbit");
        Run::new(method, &calibration).run(&place.source, &whole, usize::MAX).unwrap();
        let whole = std::fs::read(whole).unwrap();
        let out = place.out(&format!("{}-stopped.lowbit", method.card.name));
        let mut steps = 1;
        let mut resume = Resume::Refuse;
        // Every time a little further than before, until it gets through.
        loop {
            let run = Run { resume, threads: 1 + steps % 2, ..Run::new(method, &calibration) };
            match run.run(&place.source, &out, steps) {
                Ok(_) => break,
                Err(QuantError::Interrupted) => assert!(!out.exists()),
                Err(error) => panic!("{} {error}", method.card.name),
            }
            let begun = place.out(&format!("{}-stopped.lowbit.partial", method.card.name)).exists();
            resume = if begun { Resume::Continue } else { Resume::Refuse };
            steps += 3;
        }
        assert!(steps > 6, "it was never stopped");
        assert!(std::fs::read(&out).unwrap() == whole, "{}", method.card.name);
    }
}

#[test]
fn an_unfinished_run_is_not_lost_by_chance_and_not_continued_as_another() {
    let place = Place::new("llama-gqa");
    let (calibration, out) = (place.calibration(), place.out("out.lowbit"));
    let method = lowbit_quant::method("gptq").unwrap();
    let run = Run::new(method, &calibration);
    assert!(matches!(run.run(&place.source, &out, 9), Err(QuantError::Interrupted)));
    let error = run.run(&place.source, &out, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("out.lowbit.partial") && error.contains("--resume"), "{error}");
    let other =
        Run { settings: json!({"damp": 0.1}), resume: Resume::Continue, ..Run::new(method, &calibration) };
    let error = other.run(&place.source, &out, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("settings"), "{error}");
    Run { resume: Resume::Discard, ..other }.run(&place.source, &out, usize::MAX).unwrap();
}

#[test]
fn less_memory_changes_how_it_is_done_and_not_what_comes_of_it() {
    let place = Place::new("qwen2");
    let calibration = place.calibration();
    let method = lowbit_quant::method("gptq").unwrap();
    let make = |name: &str, memory: Option<u64>| {
        let out = place.out(name);
        Run { memory, ..Run::new(method, &calibration) }.run(&place.source, &out, usize::MAX)?;
        Ok::<_, QuantError>(std::fs::read(out).unwrap())
    };
    let usual = make("usual.lowbit", None).unwrap();
    let QuantError::Memory { least, .. } = make("none.lowbit", Some(1)).unwrap_err() else {
        panic!("one byte was enough")
    };
    assert!(usual == make("least.lowbit", Some(least)).unwrap());
}

#[test]
fn calibration_that_is_absent_empty_or_another_models_is_refused() {
    let place = Place::new("llama-gqa");
    let method = lowbit_quant::method("awq").unwrap();
    let calibration = place.calibration();
    let run = Run { calibration: None, ..Run::new(method, &calibration) };
    let error = run.run(&place.source, &place.out("x.lowbit"), usize::MAX).unwrap_err().to_string();
    assert!(error.contains("awq") && error.contains("--calib"), "{error}");
    assert!(
        Calibration::new(vec![vec![]], json!(null)).is_err()
            && Calibration::new(vec![], json!(null)).is_err()
    );
    let other = Calibration::new(vec![vec![0, 1_000_000]], json!(null)).unwrap();
    let error = Run::new(method, &other).run(&place.source, &place.out("x.lowbit"), usize::MAX);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("1000000"), "{error}");
}

#[test]
fn bits_are_chosen_within_the_target_and_a_stopped_choice_goes_on() {
    let place = Place::new("llama-gqa");
    let calibration = place.calibration();
    for name in ["rtn", "gptq"] {
        let method = lowbit_quant::method(name).unwrap();
        let run = Run { target: Some(8.5), ..Run::new(method, &calibration) };
        let whole = place.out(&format!("{name}.lowbit"));
        let report = run.run(&place.source, &whole, usize::MAX).unwrap();
        // Of groups of four every weight has four bits of scale and more of zero points.
        let bits = report.quantized_bits_per_weight;
        assert!(bits <= 8.5 && bits > 8.2, "{name} {bits}");
        let mut formats: Vec<&str> = report.tensors.iter().map(|t| t.format.as_str()).collect();
        formats.sort_unstable();
        formats.dedup();
        assert!(formats.len() > 1, "{name} {formats:?}");
        let out = place.out(&format!("{name}-stopped.lowbit"));
        for steps in [2, 9] {
            let resume = if steps == 2 { Resume::Refuse } else { Resume::Discard };
            let stopped = Run { target: Some(8.5), resume, ..Run::new(method, &calibration) };
            assert!(matches!(stopped.run(&place.source, &out, steps), Err(QuantError::Interrupted)));
        }
        let last = Run { target: Some(8.5), resume: Resume::Continue, ..Run::new(method, &calibration) };
        last.run(&place.source, &out, usize::MAX).unwrap();
        assert!(std::fs::read(out).unwrap() == std::fs::read(whole).unwrap(), "{name}");
        let least = Run { target: Some(1.0), ..Run::new(method, &calibration) };
        let error = least.run(&place.source, &place.out("x.lowbit"), usize::MAX).unwrap_err().to_string();
        assert!(error.contains("2 bits"), "{error}");
        // Nothing was done: nothing is left to go on with.
        assert!(!place.out("x.lowbit.partial").exists());
    }
}

#[test]
fn sizes_of_groups_are_chosen_by_matrix_and_a_stopped_choice_goes_on() {
    let place = Place::new("qwen2");
    let calibration = place.calibration();
    let method = lowbit_quant::method("finequant").unwrap();
    let settings = json!({"smallest": 4, "alpha": 0.943});
    let run = |resume, threads| Run {
        settings: settings.clone(),
        calibration: None,
        resume,
        threads,
        ..Run::new(method, &calibration)
    };
    let whole = place.out("whole.lowbit");
    let report = run(Resume::Refuse, 1).run(&place.source, &whole, usize::MAX).unwrap();
    let mut formats: Vec<&str> = report.tensors.iter().map(|t| t.format.as_str()).collect();
    formats.sort_unstable();
    formats.dedup();
    assert!(formats.len() > 1, "{formats:?}");
    let out = place.out("stopped.lowbit");
    let (mut steps, mut resume) = (1, Resume::Refuse);
    while let Err(error) = run(resume, 1 + steps % 3).run(&place.source, &out, steps) {
        assert!(matches!(error, QuantError::Interrupted), "{error}");
        let begun = place.out("stopped.lowbit.partial").exists();
        resume = if begun { Resume::Continue } else { Resume::Refuse };
        steps += 1;
    }
    assert!(steps > 3, "it was never stopped");
    assert!(std::fs::read(out).unwrap() == std::fs::read(whole).unwrap());
    let target = Run { target: Some(4.0), ..run(Resume::Refuse, 1) };
    let error = target.run(&place.source, &place.out("x.lowbit"), usize::MAX).unwrap_err().to_string();
    assert!(error.contains("finequant chooses formats itself"), "{error}");
}

#[test]
fn one_alpha_is_chosen_for_the_whole_model_and_the_file_says_which() {
    let place = Place::new("llama-mha");
    let calibration = place.calibration();
    let method = lowbit_quant::method("smoothquant_plus").unwrap();
    let out = place.out("out.lowbit");
    Run::new(method, &calibration).run(&place.source, &out, usize::MAX).unwrap();
    let file = std::fs::read(&out).unwrap();
    let text = String::from_utf8_lossy(&file);
    let (_, after) = text.split_once("alpha=").unwrap();
    let number: String = after.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let alpha: f32 = number.parse().unwrap();
    assert!((0.0..=1.0).contains(&alpha) && !after.contains("alpha="), "{alpha}");
}

#[test]
fn rows_of_the_whole_model_get_more_bits_and_a_stopped_choice_goes_on() {
    let place = Place::new("qwen2");
    let calibration = place.calibration();
    let method = lowbit_quant::method("mixllm").unwrap();
    let run = |settings, resume| Run { settings, resume, ..Run::new(method, &calibration) };
    let made = |name: &str, settings| {
        let out = place.out(name);
        let report = run(settings, Resume::Refuse).run(&place.source, &out, usize::MAX).unwrap();
        (std::fs::read(out).unwrap(), report)
    };
    let (whole, global) = made("whole.lowbit", json!({"base": "rtn", "share": 0.3}));
    let (_, apart) = made("apart.lowbit", json!({"base": "rtn", "share": 0.3, "global": false}));
    let (_, none) = made("none.lowbit", json!({"base": "rtn", "share": 0.0}));
    assert!(none.tensors.iter().all(|tensor| tensor.format == "int3-asym-g4"));
    assert!(apart.tensors.iter().all(|tensor| tensor.format.contains("+rows")));
    // Rows with more bits have 4 and a scale of 16 for every group of four, and a number each.
    for report in [&global, &apart] {
        let more = report.quantized_bits_per_weight - none.quantized_bits_per_weight;
        assert!(more > 0.22 * 8.0 && more < 0.3 * 8.0 + 0.2, "{more}");
        assert!(report.nmse < none.nmse);
    }
    let rows = |report: &Report| report.tensors.iter().map(|t| t.format.clone()).collect::<Vec<_>>();
    assert_ne!(rows(&global), rows(&apart));
    let out = place.out("stopped.lowbit");
    let settings = json!({"base": "rtn", "share": 0.3});
    let (mut steps, mut resume) = (1, Resume::Refuse);
    let mut chosen = false;
    while let Err(error) = run(settings.clone(), resume).run(&place.source, &out, steps) {
        assert!(matches!(error, QuantError::Interrupted), "{error}");
        let folder = place.out("stopped.lowbit.partial");
        chosen |= folder.join("rows.json").exists() && !folder.join("block-00000.json").exists();
        resume = if folder.exists() { Resume::Continue } else { Resume::Refuse };
        steps += 1;
    }
    assert!(chosen, "it was never stopped between choosing and the first block");
    assert!(std::fs::read(out).unwrap() == whole);
}
