//! Figures of a comparison against those that numpy and scipy give for the same logits.

use lowbit_eval::{Pairs, Row};
use serde_json::Value;

#[test]
fn figures_are_those_of_numpy() {
    let golden: Value = serde_json::from_str(include_str!("golden/pairs.json")).unwrap();
    let logits = |name: &str| -> Vec<f32> {
        golden[name].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap() as f32).collect()
    };
    let (reference, other) = (logits("reference"), logits("other"));
    let tokens: Vec<u32> =
        golden["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
    let (vocab, windows) =
        (golden["vocab"].as_u64().unwrap() as usize, golden["windows"].as_u64().unwrap() as usize);
    let mut pairs = Pairs::default();
    let rows = reference.chunks_exact(vocab).zip(other.chunks_exact(vocab)).zip(&tokens);
    for (i, ((reference, other), token)) in rows.enumerate() {
        pairs.add(Row::of(reference, other, *token).unwrap());
        if (i + 1).is_multiple_of(tokens.len() / windows) {
            pairs.end_window();
        }
    }
    let (mut compared, mut wrong) = (0, Vec::new());
    let found = serde_json::to_value(pairs.figures()).unwrap();
    agree("figures", &found, &golden["figures"], &mut compared, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(compared, 20);
}

/// Compares every number. Both sides compute in double precision, in sums of some thirty terms.
fn agree(name: &str, found: &Value, expected: &Value, compared: &mut usize, wrong: &mut Vec<String>) {
    if let Value::Object(fields) = expected {
        let found = found.as_object().unwrap();
        assert_eq!(found.len(), fields.len(), "{name}");
        for (field, expected) in fields {
            agree(&format!("{name}.{field}"), &found[field], expected, compared, wrong);
        }
        return;
    }
    *compared += 1;
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    if (found - expected).abs() > 1e-9 * expected.abs() {
        wrong.push(format!("{name}: {found}, expected {expected}"));
    }
}
