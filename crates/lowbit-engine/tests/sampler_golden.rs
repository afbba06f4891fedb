//! Sampling against distributions computed from the definitions by `golden/sampler.py`.

use std::borrow::Cow;

use lowbit_engine::sampler::{Sampler, SamplingParams, Vocab};

#[derive(serde::Deserialize)]
struct Case {
    params: SamplingParams,
    logits: Vec<f32>,
    history: Vec<u32>,
    expected: Vec<(u32, f64)>,
}

/// Tokens named "A", "B", "C" and so on.
struct Letters(usize);

impl Vocab for Letters {
    fn size(&self) -> usize {
        self.0
    }

    fn piece(&self, id: u32) -> Cow<'_, [u8]> {
        vec![b'A' + id as u8].into()
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(|letter| u32::from(letter - b'A')).collect()
    }
}

#[test]
fn distributions_agree_with_their_definitions() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/sampler.json")).unwrap();
    assert!(cases.len() >= 60);
    let mut failures = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let mut sampler = Sampler::new(&case.params, &Letters(case.logits.len())).unwrap();
        case.history.iter().for_each(|&token| sampler.accept(token));
        let mut found = sampler.distribution(&case.logits).unwrap();
        found.sort_by_key(|(id, _)| *id);
        // Logits are kept in f32: penalties and temperature round values up to 50 to 24 bits, an error of 3e-6 in
        // the exponent, and at most a few of them add up.
        let agrees = found.len() == case.expected.len()
            && found.iter().zip(&case.expected).all(|(f, e)| f.0 == e.0 && (f.1 - e.1).abs() <= 2e-5 * e.1);
        if !agrees {
            failures.push(format!(
                "case {index} {:?}\n  found {found:?}\n  expected {:?}",
                case.params, case.expected
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
