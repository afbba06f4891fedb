//! A needle in a haystack: a number that one sentence of a long text tells.
//!
//! The text is made: sentences of a small grammar that say nothing of numbers, so no data set is needed and no model has read it.
//! Rows come in order of length, so that `--limit` keeps the shorter ones; a text that is longer than the context loses its
//! beginning, and with it a needle that was there.

use super::{
    Data, Document, Generate, Grade, Metric, Score, Task,
    made::{self, one, place},
    pattern,
};
use crate::harness::PythonRandom;
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use serde_json::{Value, json};
use std::sync::LazyLock;

const EXACT: Metric = Metric::mean("exact_match");
/// Lengths of the text; a word takes about 1.3 tokens.
const WORDS: [usize; 5] = [250, 500, 1000, 2000, 4000];
/// Where the needle is, in percent of the sentences.
const DEPTHS: [usize; 5] = [0, 25, 50, 75, 100];
/// Texts of each length and depth.
const EACH: usize = 2;
/// Numbers have seven digits.
const NUMBERS: std::ops::Range<u32> = 1_000_000..10_000_000;

pub(super) const TASK: Task = Task {
    name: "needle",
    summary: "a number of seven digits that one sentence of a long text tells; categories are length and depth",
    paper: "after Kamradt 2023 and RULER (Hsieh et al., arXiv 2404.06654), with texts of our own",
    version: "1",
    data: Data::Generated(rows),
    examples: None,
    shots: 0,
    metrics: &[EXACT],
    document,
};

const COLOURS: [&str; 12] = [
    "amber", "azure", "copper", "crimson", "green", "grey", "ivory", "olive", "purple", "silver", "violet",
    "yellow",
];
const THINGS: [&str; 16] = [
    "anchor", "basket", "bottle", "candle", "compass", "kettle", "ladder", "lantern", "mirror", "needle",
    "parcel", "pillow", "ribbon", "saddle", "teapot", "wagon",
];
const PEOPLE: [&str; 14] = [
    "The baker",
    "A neighbour",
    "The old captain",
    "My aunt",
    "The gardener",
    "A traveller",
    "The miller",
    "Her brother",
    "The librarian",
    "A fisherman",
    "The shepherd",
    "Our teacher",
    "The postman",
    "A painter",
];
const DID: [&str; 14] = [
    "carried",
    "looked for",
    "mended",
    "sold",
    "remembered",
    "borrowed",
    "described",
    "hid",
    "admired",
    "found",
    "painted",
    "forgot",
    "wrapped",
    "bought",
];
const WHERE: [&str; 14] = [
    "behind the barn",
    "near the harbour",
    "at the market",
    "under the bridge",
    "in the attic",
    "beside the well",
    "along the river",
    "by the window",
    "in the orchard",
    "on the hill",
    "at the crossroads",
    "across the square",
    "in the workshop",
    "outside the inn",
];
const WHEN: [&str; 14] = [
    "before breakfast",
    "in the early spring",
    "when the rain had stopped",
    "as everyone expected",
    "without a word",
    "for no clear reason",
    "while the bells rang",
    "after a long silence",
    "as soon as it grew dark",
    "in spite of the wind",
    "long after the others had left",
    "with great care",
    "as if nothing had happened",
    "until the light faded",
];

fn rows(seed: u64) -> Vec<Row> {
    let mut random = PythonRandom::new(seed);
    let mut all = Vec::new();
    for words in WORDS {
        for depth in DEPTHS.repeat(EACH) {
            all.push(row(&mut random, words, depth));
        }
    }
    made::rows(all)
}

fn row(random: &mut PythonRandom, words: usize, depth: usize) -> Value {
    let key = format!("{} {}", one(random, &COLOURS), one(random, &THINGS));
    let number = NUMBERS.start + random.below(NUMBERS.end - NUMBERS.start) as u32;
    let (mut sentences, mut count) = (Vec::new(), 0);
    while count < words {
        let thing = format!("the {} {}", one(random, &COLOURS), one(random, &THINGS));
        let (who, did) = (one(random, &PEOPLE), one(random, &DID));
        let sentence = format!("{who} {did} {thing} {} {}.", one(random, &WHERE), one(random, &WHEN));
        count += sentence.split(' ').count();
        sentences.push(sentence);
    }
    let needle = format!("The special number of the {key} is {number}.");
    sentences.insert(place(depth, sentences.len()), needle);
    json!({ "text": sentences.join(" "), "key": key, "number": number, "words": words, "depth": depth })
}

fn document(row: &Row) -> Result<Document, IoError> {
    let (key, number) = (row.text("key")?, row.number("number")?.to_string());
    let prompt = format!(
        "A special number is hidden in the text below. Remember it: you will be asked for it afterwards.\n\n{}\n\n\
         Question: What is the special number of the {key}?\nAnswer: The special number of the {key} is",
        row.text("text")?
    );
    let group = format!("{} words, depth {} %", row.number("words")?, row.number("depth")?);
    let expected = number.clone();
    let grade = Grade::Replies(Box::new(move |replies| {
        let said = replies.first().is_some_and(|reply| first_number(reply.text()) == Some(&expected));
        vec![Score::new(EXACT, f64::from(u8::from(said)))]
    }));
    let generate = Generate { until: vec!["\n".to_owned()], max_tokens: 24 };
    Ok(Document::generate(prompt, number, generate, grade).of_group(group))
}

/// The first digits of a text.
fn first_number(text: &str) -> Option<&str> {
    static DIGITS: LazyLock<Regex> = LazyLock::new(|| pattern::of("[0-9]+"));
    pattern::all(&DIGITS, text).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rows_come_of_the_same_seed_and_others_of_another() {
        let (first, again, other) = (rows(1), rows(1), rows(2));
        assert_eq!(first.len(), WORDS.len() * DEPTHS.len() * EACH);
        assert!(first == again && first != other);
    }

    #[test]
    fn the_needle_is_there_once_and_where_it_has_to_be() {
        for row in rows(7) {
            let (text, words) = (row.text("text").unwrap(), row.number("words").unwrap());
            let (number, depth) = (row.number("number").unwrap().to_string(), row.number("depth").unwrap());
            assert_eq!(text.matches("special number").count(), 1);
            assert!((words..words + 40).contains(&text.split(' ').count()), "{words}");
            let at = text.find(&number).unwrap() as f64 / text.len() as f64;
            assert!((at - depth as f64 / 100.0).abs() < 0.06, "{words} words: {depth} % is at {at}");
        }
    }

    #[test]
    fn the_first_number_counts() {
        assert_eq!(first_number(" 1234567, not 7654321"), Some("1234567"));
        assert_eq!(first_number(" 12345678."), Some("12345678"));
        assert_eq!(first_number("unknown"), None);
    }
}
