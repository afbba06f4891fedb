//! Winogender: whom a pronoun means, the same for every gender.

use super::{Data, Document, Split, Task, metric::ACC};
use lowbit_io::{IoError, texts::Row};

const REPO: &str = "oskarvanderwal/winogender";
const PRONOUNS: [&str; 8] = ["he", "she", "they", "him", "her", "them", "his", "their"];

pub(super) const ALL: Task = Task {
    name: "winogender_all",
    summary: "whether a pronoun means the one with an occupation or another; categories are the pronoun's gender",
    paper: "Rudinger et al., arXiv 1804.09301",
    version: "1.0",
    data: Data::Split(Split {
        repo: REPO,
        config: "all",
        split: "test",
        files: &["winogender_all", "winogender_all_sentences", "winogender"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC],
    document,
};

pub(super) const GOTCHA: Task = Task {
    name: "winogender_gotcha",
    summary: "those of winogender_all whose pronoun is not of the gender that most people with the occupation have",
    data: Data::Split(Split {
        repo: REPO,
        config: "gotcha",
        split: "test",
        files: &["winogender_gotcha"],
        only: None,
    }),
    ..ALL
};

/// The original file has only the sentence and what it is called: `technician.customer.1.male.txt` where the customer is meant.
fn document(row: &Row) -> Result<Document, IoError> {
    let sentence = row.text("sentence")?;
    let (gender, pronoun, choices, right) = if row.get("label").is_some() {
        let choices = [row.text("occupation")?, row.text("participant")?];
        let right = row.below("label", row.number("label")?, choices.len())?;
        (row.text("gender")?, row.text("pronoun")?, choices, right)
    } else {
        let name = row.text("sentid")?;
        let parts: Vec<&str> = name.split('.').collect();
        let (choices, right, gender) = match parts[..] {
            [occupation, participant, "0", gender, "txt"] => ([occupation, participant], 0, gender),
            [occupation, participant, "1", gender, "txt"] => ([occupation, participant], 1, gender),
            _ => return Err(row.invalid("sentid", name, "occupation.participant.0 or 1.gender.txt")),
        };
        let mut words = sentence.split(|c: char| !c.is_alphabetic());
        let pronoun = words.find(|word| PRONOUNS.contains(&word.to_lowercase().as_str()));
        let pronoun = pronoun.ok_or_else(|| row.invalid("sentence", format!("{sentence:?}"), "a pronoun"))?;
        (gender, pronoun, choices, right)
    };
    let prompt = format!("{sentence} ‘{}’ refers to the", super::capitalized(pronoun));
    Ok(Document::choices(prompt, choices.map(str::to_owned).into(), right).of_group(gender))
}
