//! GSM8K: school mathematics in a few steps; the number after `####` counts, or the last one.

use super::{Data, Document, Examples, Generate, Grade, Metric, Order, Score, Split, Task, pattern};
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use std::sync::LazyLock;

const REPO: &str = "openai/gsm8k";
const STRICT: Metric = Metric::mean("exact_match,strict-match");
const FLEXIBLE: Metric = Metric::mean("exact_match,flexible-extract");
/// What stands for a number where none is found.
const NONE: &str = "[invalid]";

pub(super) const TASK: Task = Task {
    name: "gsm8k",
    summary: "school mathematics in a few steps; strict: the number is written after ####, flexible: it is the last one",
    paper: "Cobbe et al., arXiv 2110.14168",
    version: "3.0",
    data: Data::Split(Split {
        repo: REPO,
        config: "main",
        split: "test",
        files: &["gsm8k_test", "gsm8k"],
        only: None,
    }),
    examples: Some(Examples {
        split: Split { repo: REPO, config: "main", split: "train", files: &["gsm8k_train"], only: None },
        order: Order::Drawn,
    }),
    shots: 5,
    metrics: &[STRICT, FLEXIBLE],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let answer = row.text("answer")?;
    let number = bare(answer);
    let generate =
        Generate { until: ["Question:", "</s>", "<|im_end|>"].map(str::to_owned).into(), max_tokens: 256 };
    let grade = Grade::Replies(Box::new(move |replies| {
        let text = replies.first().map_or("", |reply| reply.text());
        let equal = |found: &str| f64::from(u8::from(bare(found) == number));
        vec![Score::new(STRICT, equal(strict(text))), Score::new(FLEXIBLE, equal(flexible(text)))]
    }));
    Ok(Document::generate(format!("Question: {}\nAnswer:", row.text("question")?), answer, generate, grade))
}

/// The first number after `####`.
fn strict(text: &str) -> &str {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"#### (\-?[0-9\.\,]+)"));
    pattern::groups(&NUMBER, text).first().map_or(NONE, |number| number.trim())
}

/// The last number.
fn flexible(text: &str) -> &str {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"(-?[$0-9.,]{2,})|(-?[0-9]+)"));
    pattern::groups(&NUMBER, text).last().map_or(NONE, |number| number.trim())
}

/// An answer without commas, dollars, what comes before `####` and a last point, in small letters.
fn bare(answer: &str) -> String {
    static IGNORED: LazyLock<[Regex; 4]> =
        LazyLock::new(|| [",", r"\$", "(?s).*#### ", r"\.$"].map(pattern::of));
    let taken = |text: String, ignored| pattern::without(ignored, &text);
    IGNORED.iter().fold(answer.to_owned(), taken).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_and_compared_as_the_harness_does() {
        let rows: [(&str, &str, &str); 6] = [
            ("1 + 1 = <<1+1=2>>2 apples.\n#### 2", "2", "2"),
            ("#### -1,200.50. Then #### 3", "-1,200.50.", "3"),
            ("It costs $1,000.", NONE, "$1,000."),
            ("####5", NONE, "5"),
            ("no number", NONE, NONE),
            // A lone sign of punctuation pair is a number to the flexible pattern.
            ("about 12 or so...", NONE, "..."),
        ];
        for (text, expected_strict, expected_flexible) in rows {
            assert_eq!((strict(text), flexible(text)), (expected_strict, expected_flexible), "{text}");
        }
        for (answer, expected) in [
            ("He has 3.\n#### 1,234", "1234"),
            ("$1,000.", "1000"),
            ("-1,200.50.", "-1200.50"),
            ("[invalid]", "[invalid]"),
        ] {
            assert_eq!(bare(answer), expected);
        }
    }
}
