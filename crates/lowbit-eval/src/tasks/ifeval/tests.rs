use super::*;
use crate::tasks::Reply;
use serde_json::json;

fn row(names: &[&str], arguments: &[Value]) -> Row {
    let object = json!({ "prompt": "Write.", "instruction_id_list": names, "kwargs": arguments });
    Row { fields: object.as_object().unwrap().clone(), number: 3 }
}

fn scores(row: &Row, response: &str) -> Vec<(f64, f64)> {
    let Grade::Replies(grade) = document(row).unwrap().grade else { panic!() };
    let replies = [Reply::Text { text: response.to_owned(), tokens: 5 }];
    grade(&replies).iter().map(|score| (score.value, score.weight)).collect()
}

/// `golden/ifeval.json` was made by lm-evaluation-harness's own checks: `golden/ifeval.py`.
#[test]
fn checks_say_what_those_of_the_harness_say() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ifeval.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for instruction in golden["instructions"].as_array().unwrap() {
        let name = instruction["name"].as_str().unwrap();
        let checks = checks(&row(&[name], &[instruction["kwargs"].clone()])).unwrap();
        for (i, response) in golden["responses"].as_array().unwrap().iter().enumerate() {
            let response = response.as_str().unwrap();
            for (form, forms) in [("strict", vec![response.to_owned()]), ("loose", forms(response))] {
                let expected = instruction[form].as_str().unwrap().as_bytes()[i] == b'1';
                if (followed(&checks, &forms) == 1.0) != expected {
                    wrong.push(format!(
                        "{name} {}, {form}, expected {expected}: {response:?}",
                        instruction["kwargs"]
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn instructions_count_each_and_prompts_as_a_whole() {
    let row = row(&["punctuation:no_comma", "startend:quotation"], &[json!({}), json!({})]);
    assert_eq!(scores(&row, "\"fine\""), [(1.0, 1.0), (1.0, 2.0), (1.0, 1.0), (1.0, 2.0)]);
    // Without the first line both hold.
    assert_eq!(scores(&row, "Sure, here:\n\"fine\""), [(0.0, 1.0), (0.0, 2.0), (1.0, 1.0), (1.0, 2.0)]);
    assert_eq!(scores(&row, "fine"), [(0.0, 1.0), (0.5, 2.0), (0.0, 1.0), (0.5, 2.0)]);
    assert_eq!(scores(&row, " \n")[1], (0.0, 2.0));
}

#[test]
fn what_nothing_can_tell_counts_neither_for_the_instruction_nor_for_the_prompt() {
    let names = ["punctuation:no_comma", "language:response_language"];
    let row = row(&names, &[json!({}), json!({ "language": "sw" })]);
    assert_eq!(scores(&row, "habari"), [(1.0, 0.0), (1.0, 1.0), (1.0, 0.0), (1.0, 1.0)]);
}

#[test]
fn instructions_that_are_not_understood_are_told() {
    for (names, arguments, said) in [
        (&["a:b"][..], vec![json!({})], "row 3, field \"instruction_id_list\": found a:b"),
        (&["punctuation:no_comma"], vec![], "found 0 objects, expected 1"),
        (&["length_constraints:number_words"], vec![json!({ "relation": "about" })], "found about"),
        (
            &["length_constraints:number_words"],
            vec![json!({ "relation": "at least" })],
            "field \"num_words\"",
        ),
        (&["keywords:existence"], vec![json!({ "keywords": ["("] })], "a regular expression"),
    ] {
        let error = document(&row(names, &arguments)).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn kinds_are_sorted_by_name() {
    assert!(KINDS.iter().is_sorted_by(|a, b| a.name < b.name));
}
