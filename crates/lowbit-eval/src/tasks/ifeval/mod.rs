//! IFEval: instructions whose following a program can check.
//!
//! # Method
//! A response follows an instruction strictly where the check holds for it, and loosely where it holds for one of eight forms of
//! it: whole, without its first line, its last line or both, each with and without asterisks.
//!
//! # Departures
//! - Languages are told by the `whatlang` crate, not by langdetect, which gives other answers to short texts and draws lots. A
//!   language that it does not know (Swahili) is not graded: the instruction does not count, nor does the prompt. Texts in
//!   capitals or small letters pass for English unless they clearly are something else.
//! - Sentences are counted by rules in the manner of nltk's English punkt model, without its trained lists: see `sentences`.
//! - Words in capitals are counted over pieces as nltk's `word_tokenize` mostly makes them: see `case`.
//! - A `letter` that is none (`!`, `#`) is counted as it is; lm-evaluation-harness draws a random letter in its place.
//! - An argument that an instruction needs and that is missing or wrong is an error; lm-evaluation-harness draws one.

mod case;
mod format;
mod keywords;
mod language;
mod length;
mod sentences;
mod whole;

use super::{Data, Document, Generate, Grade, Metric, Score, Split, Task};
use lowbit_io::{IoError, texts::Row};
use serde_json::Value;
use std::sync::Arc;

const PROMPT_STRICT: Metric = Metric::mean("prompt_level_strict_acc");
const INSTRUCTION_STRICT: Metric = Metric::mean("inst_level_strict_acc");
const PROMPT_LOOSE: Metric = Metric::mean("prompt_level_loose_acc");
const INSTRUCTION_LOOSE: Metric = Metric::mean("inst_level_loose_acc");

pub(super) const TASK: Task = Task {
    name: "ifeval",
    summary: "instructions whose following can be checked, by the prompt and by the instruction; loose: also without the \
              first or last line or asterisks",
    paper: "Zhou et al., arXiv 2311.07911",
    version: "4.0",
    data: Data::Split(Split {
        repo: "google/IFEval",
        config: "default",
        split: "train",
        files: &["ifeval"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[PROMPT_STRICT, INSTRUCTION_STRICT, PROMPT_LOOSE, INSTRUCTION_LOOSE],
    document,
};

/// Whether a response follows an instruction.
type Check = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// A kind of instruction.
struct Kind {
    /// Its name in the data set.
    name: &'static str,
    /// The check of an instruction with these arguments; `None` where nothing can tell.
    check: fn(&Row) -> Result<Option<Check>, IoError>,
}

/// All kinds of the data set.
const KINDS: [Kind; 25] = [
    Kind { name: "change_case:capital_word_frequency", check: case::capital_words },
    Kind { name: "change_case:english_capital", check: case::capital },
    Kind { name: "change_case:english_lowercase", check: case::lowercase },
    Kind { name: "combination:repeat_prompt", check: whole::repeated_prompt },
    Kind { name: "combination:two_responses", check: whole::two_responses },
    Kind { name: "detectable_content:number_placeholders", check: format::placeholders },
    Kind { name: "detectable_content:postscript", check: format::postscript },
    Kind { name: "detectable_format:constrained_response", check: format::constrained },
    Kind { name: "detectable_format:json_format", check: format::json },
    Kind { name: "detectable_format:multiple_sections", check: format::sections },
    Kind { name: "detectable_format:number_bullet_lists", check: format::bullets },
    Kind { name: "detectable_format:number_highlighted_sections", check: format::highlights },
    Kind { name: "detectable_format:title", check: format::title },
    Kind { name: "keywords:existence", check: keywords::existence },
    Kind { name: "keywords:forbidden_words", check: keywords::forbidden },
    Kind { name: "keywords:frequency", check: keywords::frequency },
    Kind { name: "keywords:letter_frequency", check: keywords::letter_frequency },
    Kind { name: "language:response_language", check: language::response },
    Kind { name: "length_constraints:nth_paragraph_first_word", check: length::first_word },
    Kind { name: "length_constraints:number_paragraphs", check: length::paragraphs },
    Kind { name: "length_constraints:number_sentences", check: length::sentences },
    Kind { name: "length_constraints:number_words", check: length::words },
    Kind { name: "punctuation:no_comma", check: whole::no_comma },
    Kind { name: "startend:end_checker", check: whole::end },
    Kind { name: "startend:quotation", check: whole::quotation },
];

fn document(row: &Row) -> Result<Document, IoError> {
    let prompt = row.text("prompt")?;
    let checks = Arc::new(checks(row)?);
    let grade = Grade::Replies(Box::new(move |replies| {
        let response = replies.first().map_or("", |reply| reply.text());
        let strict = followed(&checks, &[response.to_owned()]);
        let loose = followed(&checks, &forms(response));
        // Where a check is missing nobody knows whether all would hold.
        let prompt = f64::from(u8::from(checks.iter().all(Option::is_some)));
        let count = checks.iter().flatten().count() as f64;
        let all = |held: f64| f64::from(u8::from(held == count));
        let share = |held: f64| if count > 0.0 { held / count } else { 0.0 };
        vec![
            Score::weighted(PROMPT_STRICT, all(strict), prompt),
            Score::weighted(INSTRUCTION_STRICT, share(strict), count),
            Score::weighted(PROMPT_LOOSE, all(loose), prompt),
            Score::weighted(INSTRUCTION_LOOSE, share(loose), count),
        ]
    }));
    Ok(Document::generate(prompt, "", Generate { until: Vec::new(), max_tokens: 1280 }, grade))
}

/// A check for each instruction of a row.
fn checks(row: &Row) -> Result<Vec<Option<Check>>, IoError> {
    let names = row.texts("instruction_id_list")?;
    let arguments = row.get("kwargs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if arguments.len() != names.len() {
        let found = format!("{} objects", arguments.len());
        return Err(row.invalid("kwargs", found, format!("{}, one an instruction", names.len())));
    }
    let mut checks = Vec::new();
    for (name, arguments) in names.iter().zip(arguments) {
        let kind = KINDS.iter().find(|kind| kind.name == name);
        let kind = kind.ok_or_else(|| row.invalid("instruction_id_list", name, "a kind that is known"))?;
        let fields = arguments.as_object().cloned().unwrap_or_default();
        checks.push((kind.check)(&Row { fields, number: row.number })?);
    }
    Ok(checks)
}

/// Checks that hold for one of some forms of a response; empty ones follow nothing.
fn followed(checks: &[Option<Check>], forms: &[String]) -> f64 {
    let holds = |check: &&Check| forms.iter().any(|form| !form.trim().is_empty() && check(form));
    checks.iter().flatten().filter(holds).count() as f64
}

/// The forms of a response that count where it is graded loosely.
fn forms(response: &str) -> Vec<String> {
    let lines: Vec<&str> = response.split('\n').collect();
    let part = |from: usize, to: usize| lines.get(from..to).unwrap_or_default().join("\n").trim().to_owned();
    let last = lines.len() - 1;
    let whole = [response.to_owned(), part(1, lines.len()), part(0, last), part(1, last)];
    whole.iter().cloned().chain(whole.iter().map(|form| form.replace('*', ""))).collect()
}

/// How a count is compared.
#[derive(Clone, Copy)]
enum Relation {
    LessThan,
    AtLeast,
}

impl Relation {
    /// As an argument says.
    fn of(arguments: &Row, field: &str) -> Result<Self, IoError> {
        match arguments.text(field)? {
            "less than" => Ok(Self::LessThan),
            "at least" => Ok(Self::AtLeast),
            other => Err(arguments.invalid(field, other, "less than or at least")),
        }
    }

    fn holds(self, count: usize, threshold: usize) -> bool {
        match self {
            Self::LessThan => count < threshold,
            Self::AtLeast => count >= threshold,
        }
    }
}

#[cfg(test)]
mod tests;
