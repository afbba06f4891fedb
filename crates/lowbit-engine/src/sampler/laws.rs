//! Laws that hold for every stage of the list, and for the sampler as a whole.

use super::testing::{logits_of, plain, sampler_after};
use super::{Effect, STAGES, SamplerError, SamplingParams, StageEntry};

const VOCAB: usize = 400;

/// Distinct logits with the long tail of a language model's, in an order that follows from `seed`.
fn some_logits(seed: u64) -> Vec<f32> {
    let mut rng = super::rng::Rng::from_seed(seed);
    (0..VOCAB).map(|id| (-(rng.uniform().ln()) * 3.0 + id as f64 * 1e-4) as f32).collect()
}

/// A history with repetitions, so that penalties and DRY have something to do.
fn some_history(seed: u64) -> Vec<u32> {
    let mut rng = super::rng::Rng::from_seed(seed ^ 0x5eed);
    (0..60).map(|_| (rng.uniform() * 12.0) as u32).collect()
}

/// Parameters under which `entry` and no other stage acts.
fn alone(entry: &StageEntry) -> SamplingParams {
    let mut json = serde_json::to_value(plain()).unwrap();
    let example: serde_json::Map<String, serde_json::Value> = serde_json::from_str(entry.example).unwrap();
    for (field, value) in example {
        json[field] = value;
    }
    serde_json::from_value(json).unwrap()
}

fn distribution(params: &SamplingParams, logits: &[f32], history: &[u32]) -> Vec<(u32, f64)> {
    let mut tokens = sampler_after(params, logits.len(), history).distribution(logits).unwrap();
    tokens.sort_by_key(|(id, _)| *id);
    tokens
}

fn best(tokens: &[(u32, f64)]) -> u32 {
    tokens.iter().fold((0, f64::MIN), |best, token| if token.1 > best.1 { *token } else { best }).0
}

#[test]
fn every_example_changes_the_distribution() {
    for entry in STAGES {
        let changed = (0..10).any(|seed| {
            let (logits, history) = (some_logits(seed), some_history(seed));
            distribution(&alone(entry), &logits, &history) != distribution(&plain(), &logits, &history)
        });
        assert!(changed, "{}", entry.name);
    }
}

#[test]
fn what_every_stage_leaves_is_a_distribution() {
    for entry in STAGES {
        for seed in 0..20 {
            let tokens = distribution(&alone(entry), &some_logits(seed), &some_history(seed));
            let sum: f64 = tokens.iter().map(|(_, p)| p).sum();
            // Weights are used as they are, so only the order of summation differs: 400 roundings of 2^-53.
            assert!((sum - 1.0).abs() < 400.0 * f64::EPSILON, "{} seed {seed}: {sum}", entry.name);
            assert!(tokens.iter().all(|(_, p)| (0.0..=1.0).contains(p)), "{} seed {seed}", entry.name);
            assert!(tokens.windows(2).all(|pair| pair[0].0 < pair[1].0), "{} seed {seed}", entry.name);
        }
    }
}

#[test]
fn stages_that_promise_it_keep_the_best_token() {
    for entry in STAGES.iter().filter(|entry| matches!(entry.effect, Effect::TruncatesTail | Effect::Scales))
    {
        for seed in 0..20 {
            let (logits, history) = (some_logits(seed), some_history(seed));
            let before = best(&distribution(&plain(), &logits, &history));
            assert_eq!(
                best(&distribution(&alone(entry), &logits, &history)),
                before,
                "{} seed {seed}",
                entry.name
            );
        }
    }
}

#[test]
fn truncation_keeps_the_proportions_of_what_it_keeps() {
    for entry in STAGES.iter().filter(|entry| entry.effect.truncates()) {
        let (logits, history) = (some_logits(3), some_history(3));
        let before = distribution(&plain(), &logits, &history);
        let after = distribution(&alone(entry), &logits, &history);
        let kept: f64 = after.iter().map(|(id, _)| before[*id as usize].1).sum();
        for (id, p) in after {
            let expected = before[id as usize].1 / kept;
            // Each weight is an exponential with 2 ULP of f32, in numerator and sum, before and after.
            assert!((p / expected - 1.0).abs() < 8.0 * f64::from(f32::EPSILON), "{} token {id}", entry.name);
        }
    }
}

#[test]
fn renaming_the_tokens_renames_the_distribution() {
    // 7 has no factor in common with 400, so this is a permutation.
    let renamed = |id: u32| (id * 7 + 11) % VOCAB as u32;
    for entry in STAGES {
        for seed in 0..10 {
            let (logits, history) = (some_logits(seed), some_history(seed));
            let mut other_logits = vec![0.0; VOCAB];
            for (id, &logit) in (0u32..).zip(&logits) {
                other_logits[renamed(id) as usize] = logit;
            }
            let other_history: Vec<u32> = history.iter().copied().map(renamed).collect();
            let mut expected: Vec<(u32, f64)> = distribution(&alone(entry), &logits, &history)
                .into_iter()
                .map(|(id, p)| (renamed(id), p))
                .collect();
            expected.sort_by_key(|(id, _)| *id);
            let found = distribution(&alone(entry), &other_logits, &other_history);
            assert_eq!(found.len(), expected.len(), "{} seed {seed}", entry.name);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.0, expected.0, "{} seed {seed}", entry.name);
                // Sums run in another order; dynamic temperature rounds its logits to f32 after that.
                let tolerance = 1e-5 * expected.1;
                assert!((found.1 - expected.1).abs() <= tolerance, "{} seed {seed} {found:?}", entry.name);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_reset_goes_back() {
    for entry in STAGES {
        let draw = |seed: u64| {
            let mut sampler = sampler_after(&SamplingParams { seed, ..alone(entry) }, VOCAB, &[]);
            let mut run =
                || -> Vec<u32> { (0..50).map(|i| sampler.sample(&some_logits(i)).unwrap().id).collect() };
            let first = run();
            sampler.reset();
            let again: Vec<u32> = (0..50).map(|i| sampler.sample(&some_logits(i)).unwrap().id).collect();
            assert_eq!(first, again, "{}", entry.name);
            first
        };
        assert_eq!(draw(1), draw(1), "{}", entry.name);
        assert_ne!(draw(1), draw(2), "{}", entry.name);
    }
}

#[test]
fn tokens_are_drawn_as_often_as_the_distribution_says() {
    let logits = logits_of(&[0.02, 0.3, 0.08, 0.15, 0.05, 0.2, 0.1, 0.04, 0.05, 0.01]);
    for params in [plain(), SamplingParams { temperature: 1.5, top_k: 8, ..plain() }] {
        let mut sampler = sampler_after(&params, logits.len(), &[]);
        let expected = sampler.distribution(&logits).unwrap();
        let draws = 100_000;
        let mut counts = vec![0u32; logits.len()];
        for _ in 0..draws {
            counts[sampler.sample(&logits).unwrap().id as usize] += 1;
        }
        let chi_square: f64 = expected
            .iter()
            .map(|&(id, p)| {
                (f64::from(counts[id as usize]) - p * f64::from(draws)).powi(2) / (p * f64::from(draws))
            })
            .sum();
        // 9 and 7 degrees of freedom: 27.88 and 24.32 are exceeded with probability 0.001.
        let limit = if expected.len() == 10 { 27.88 } else { 24.32 };
        assert!(chi_square < limit, "{chi_square}");
    }
}

#[test]
fn xtc_acts_as_often_as_it_is_told_to() {
    let xtc = super::Xtc { probability: 0.25, threshold: 0.1 };
    let logits = logits_of(&[0.6, 0.3, 0.1 - 1e-3, 1e-3]);
    let mut sampler = sampler_after(&SamplingParams { xtc, ..plain() }, 4, &[]);
    let steps = 10_000;
    let acted = (0..steps).filter(|_| sampler.distribution(&logits).unwrap().len() == 3).count();
    // Standard deviation sqrt(10000 · 0.25 · 0.75) = 43; four of them.
    assert!((acted as f64 - 2500.0).abs() < 174.0, "{acted}");
}

#[test]
fn greedy_is_the_largest_logit_whatever_truncates() {
    for entry in STAGES.iter().filter(|entry| entry.effect == Effect::TruncatesTail) {
        let params = SamplingParams { temperature: 0.0, ..alone(entry) };
        for seed in 0..20 {
            let logits = some_logits(seed);
            let drawn = sampler_after(&params, VOCAB, &[]).sample(&logits).unwrap().id;
            let largest = (0..VOCAB).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            assert_eq!(drawn as usize, largest, "{} seed {seed}", entry.name);
        }
    }
}

#[test]
fn logprobs_are_those_of_the_model_whatever_the_settings() {
    let mut params = SamplingParams { temperature: 0.2, top_k: 1, top_logprobs: 3, ..plain() };
    params.logit_bias.insert(1, -100.0);
    let logits = logits_of(&[0.25, 0.5, 0.125, 0.125]);
    let sampled = sampler_after(&params, 4, &[]).sample(&logits).unwrap();
    assert_eq!(sampled.id, 0);
    assert!((sampled.logprob - 0.25f32.ln()).abs() < 1e-6, "{sampled:?}");
    let ids: Vec<u32> = sampled.top.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [1, 0, 2], "equal probabilities by lowest id");
    for ((_, logprob), p) in sampled.top.iter().zip([0.5f32, 0.25, 0.125]) {
        assert!((logprob - p.ln()).abs() < 1e-6, "{sampled:?}");
    }
}

#[test]
fn logits_that_are_no_numbers_are_errors_and_leave_the_history_alone() {
    let mut sampler = sampler_after(&SamplingParams::default(), 20, &[4]);
    for (bad, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        for place in [0, 9, 19] {
            let mut logits = vec![0.5; 20];
            logits[place] = bad;
            let expected = SamplerError::BadLogit { id: place as u32, value: text.to_owned() };
            assert_eq!(sampler.sample(&logits), Err(expected));
        }
    }
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY; 20]), Err(SamplerError::NoCandidates));
    assert_eq!(sampler.sample(&[0.0; 19]), Err(SamplerError::LogitCount { found: 19, expected: 20 }));
    assert_eq!(sampler.history(), [4]);
}

#[test]
fn a_token_at_negative_infinity_is_never_drawn() {
    let mut logits = vec![f32::NEG_INFINITY; 20];
    (logits[3], logits[17]) = (0.0, -1.0);
    for entry in STAGES {
        let mut sampler = sampler_after(&alone(entry), 20, &[3, 3, 17]);
        for _ in 0..50 {
            assert!([3, 17].contains(&sampler.sample(&logits).unwrap().id), "{}", entry.name);
        }
    }
}

#[test]
fn banning_everything_is_an_error() {
    let mut params = plain();
    params.logit_bias.extend([(0, -100.0), (1, -100.0)]);
    assert_eq!(sampler_after(&params, 2, &[]).sample(&[0.0; 2]), Err(SamplerError::NoCandidates));
}

#[test]
fn the_order_of_stages_is_the_one_given() {
    let logits = logits_of(&[0.4, 0.3, 0.2, 0.1]);
    let with_order = |names: [&str; 2]| {
        let order = Some(names.map(str::to_owned).to_vec());
        let params = SamplingParams { temperature: 10.0, min_p: 0.6, order, ..plain() };
        // Top-p is off and stays out of the order; top-k, too.
        distribution(&params, &logits, &[]).len()
    };
    assert_eq!(with_order(["min_p", "temperature"]), 2);
    assert_eq!(with_order(["temperature", "min_p"]), 4);
}

#[test]
fn settings_that_would_be_ignored_are_refused() {
    let refusal = |json: &str| {
        let params: SamplingParams = serde_json::from_str(json).unwrap();
        super::Sampler::new(&params, &super::testing::Words(&["a", "b", "c"])).err()
    };
    let not_in_order =
        refusal(r#"{"order": ["temperature"], "dry": {"multiplier": 1, "sequence_breakers": []}}"#);
    assert_eq!(not_in_order, Some(SamplerError::StageNotInOrder { name: "dry" }));
    let beside = refusal(r#"{"mirostat": {}, "min_p": 0.3}"#);
    assert_eq!(beside, Some(SamplerError::MirostatWithTruncation { name: "min_p" }));
    let named = refusal(r#"{"mirostat": {}, "order": ["temperature", "top_k"]}"#);
    assert_eq!(named, Some(SamplerError::MirostatWithTruncation { name: "top_k" }));
    assert_eq!(refusal(r#"{"mirostat": {}}"#), None, "defaults are not a wish");
    assert_eq!(refusal(r#"{"order": []}"#), None);
}

#[test]
fn drawing_from_the_models_own_distribution_is_drawing_from_all_its_candidates() {
    let params = SamplingParams { seed: 5, ..SamplingParams::unmodified() };
    let mut short = sampler_after(&params, VOCAB, &[]);
    let mut long = sampler_after(&params, VOCAB, &[]);
    for seed in 0..200 {
        let logits = some_logits(seed);
        assert_eq!(short.sample(&logits), long.sample_among(&logits, |_| true));
    }
    let mut logits = vec![f32::NEG_INFINITY; VOCAB];
    logits[3] = -5.0;
    assert_eq!(short.sample(&logits).unwrap().id, 3);
}
