//! Retrieval from a table in the prompt: the value of one key among many, where keys and values mean nothing.
//!
//! Rows come in order of length, so that `--limit` keeps the shorter ones. A pair takes some 70 tokens.

use super::{
    Data, Document, Generate, Grade, Metric, Score, Task,
    made::{self, place},
};
use crate::harness::PythonRandom;
use lowbit_io::{IoError, texts::Row};
use serde_json::{Value, json};

const ACC: Metric = Metric::mean("acc");
/// The paper has 75, 140 and 300.
const PAIRS: [usize; 4] = [10, 25, 75, 140];
/// Where the pair is that is asked for, in percent.
const DEPTHS: [usize; 5] = [0, 25, 50, 75, 100];
/// Tables of each length and depth.
const EACH: usize = 2;

pub(super) const TASK: Task = Task {
    name: "kv_retrieval",
    summary: "the value of one key of a long JSON object; categories are its pairs and the place of the key",
    paper: "Liu et al., Lost in the Middle, arXiv 2307.03172, section 3",
    version: "1",
    data: Data::Generated(rows),
    examples: None,
    shots: 0,
    metrics: &[ACC],
    document,
};

fn rows(seed: u64) -> Vec<Row> {
    let mut random = PythonRandom::new(seed);
    let mut all = Vec::new();
    for pairs in PAIRS {
        for depth in DEPTHS.repeat(EACH) {
            all.push(row(&mut random, pairs, depth));
        }
    }
    made::rows(all)
}

fn row(random: &mut PythonRandom, pairs: usize, depth: usize) -> Value {
    let (keys, values): (Vec<String>, Vec<String>) = (0..pairs).map(|_| (uuid(random), uuid(random))).unzip();
    json!({ "asked": place(depth, pairs - 1), "depth": depth, "keys": keys, "values": values })
}

/// A random identifier of version 4 (RFC 9562).
fn uuid(random: &mut PythonRandom) -> String {
    let digits = [8, 4, 4, 4, 12].map(|length| (0..length).map(|_| random.below(16)).collect::<Vec<_>>());
    let part = |digits: &[usize]| digits.iter().map(|digit| format!("{digit:x}")).collect::<String>();
    let mut parts = digits.map(|digits| part(&digits));
    parts[2].replace_range(..1, "4");
    parts[3].replace_range(..1, ["8", "9", "a", "b"][random.below(4)]);
    parts.join("-")
}

fn document(row: &Row) -> Result<Document, IoError> {
    let (keys, values) = (row.texts("keys")?, row.texts("values")?);
    if keys.len() != values.len() {
        return Err(row.invalid("values", format!("{} values", values.len()), format!("{}", keys.len())));
    }
    let asked = row.below("asked", row.number("asked")?, keys.len())?;
    let (key, value) = (&keys[asked], values[asked].clone());
    let pairs = keys.iter().zip(&values).map(|(key, value)| format!("\"{key}\": \"{value}\""));
    let pairs: Vec<String> = pairs.collect();
    let prompt = format!(
        "Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n{{{}}}\n\n\
         Key: \"{key}\"\nCorresponding value:",
        pairs.join(",\n ")
    );
    let answer = format!("\"{value}\"");
    let grade = Grade::Replies(Box::new(move |replies| {
        let said = replies.first().is_some_and(|reply| reply.text().to_lowercase().contains(&value));
        vec![Score::new(ACC, f64::from(u8::from(said)))]
    }));
    let generate = Generate { until: vec!["\n".to_owned()], max_tokens: 64 };
    let group = format!("{} pairs, depth {} %", keys.len(), row.number("depth")?);
    Ok(Document::generate(prompt, answer, generate, grade).of_group(group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Reply;

    #[test]
    fn the_value_of_the_key_is_asked_for() {
        let rows = rows(3);
        assert_eq!(rows.len(), PAIRS.len() * DEPTHS.len() * EACH);
        for row in &rows {
            let document = document(row).unwrap();
            let key = document.prompt.rsplit_once("Key: ").unwrap().1.lines().next().unwrap().to_owned();
            assert_eq!(document.prompt.matches(&key).count(), 2);
            assert!(document.prompt.contains(&format!("{key}: {}", document.answer)));
            let Grade::Replies(grade) = document.grade else { panic!() };
            let score = |text: String| grade(&[Reply::Text { text, tokens: 9 }])[0].value;
            assert_eq!((score(document.answer), score(key)), (1.0, 0.0));
        }
    }

    #[test]
    fn keys_are_identifiers_of_version_4() {
        let uuid = uuid(&mut PythonRandom::new(5));
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert!(lengths == [8, 4, 4, 4, 12] && uuid.as_bytes()[14] == b'4', "{uuid}");
    }
}
