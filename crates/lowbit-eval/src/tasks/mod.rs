//! Tasks: what is asked and how the answers are graded, one file each.
//!
//! Names, prompts, normalizations and metrics are those of lm-evaluation-harness, whose version of a task is told with it. A
//! task reads the rows of its data set as the model hub has them; where a file at hand has them in another shape, that too.

mod advglue;
mod arc;
mod bbq;
mod bold;
mod boolq;
mod crows_pairs;
mod document;
mod email_leak;
mod ethics;
mod gsm8k;
mod hellaswag;
mod humaneval;
mod ifeval;
mod kv_retrieval;
mod lambada;
mod made;
mod mbpp;
mod metric;
mod mmlu;
mod multiple;
mod needle;
mod openbookqa;
mod pattern;
mod piqa;
mod sciq;
mod sst2;
mod stereoset;
mod toxigen;
mod truthfulqa;
mod wikitext;
mod winogender;
mod winogrande;

pub use document::{Assemble, Document, Generate, Grade, Judge, Question, Reply, largest};
pub use lowbit_sandbox::{Language, Program, Verdict};
pub use metric::{Aggregate, Better, Metric, Score, Summary};

use lowbit_io::{IoError, texts::Row};

/// A task.
pub struct Task {
    /// lm-evaluation-harness's name.
    pub name: &'static str,
    /// What it asks, in a line.
    pub summary: &'static str,
    /// Where it is described.
    pub paper: &'static str,
    /// lm-evaluation-harness's version of it.
    pub version: &'static str,
    /// What is asked about.
    pub data: Data,
    /// Where examples come from.
    pub examples: Option<Examples>,
    /// Examples where no other number is asked for.
    pub shots: usize,
    /// Its metrics, the one that is compared first.
    pub metrics: &'static [Metric],
    /// What is asked about a row.
    pub document: fn(&Row) -> Result<Document, IoError>,
}

/// Where the rows of a task come from.
#[derive(Clone, Copy, Debug)]
pub enum Data {
    /// A file of them.
    Split(Split),
    /// They are made, the same of the same seed.
    Generated(fn(u64) -> Vec<Row>),
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// `user/repo` on the hub; empty where the hub does not have it as one file.
    pub repo: &'static str,
    /// The configuration in it.
    pub config: &'static str,
    /// The split.
    pub split: &'static str,
    /// What files with it are called, without their endings: all of the name up to the first point.
    pub files: &'static [&'static str],
    /// Which rows of a file belong to it, where files hold others too.
    pub only: Option<Only>,
}

/// Rows whose number in a field is in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only {
    /// The field.
    pub field: &'static str,
    /// The smallest number.
    pub from: usize,
    /// The largest.
    pub to: usize,
}

/// Where examples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Examples {
    /// The rows.
    pub split: Split,
    /// Which of them.
    pub order: Order,
}

/// Which rows are examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Others for every document, drawn by the seed.
    Drawn,
    /// The first ones, of the document's group where it has one.
    First,
}

/// All tasks, by name.
pub const TASKS: &[&Task] = &[
    &advglue::TASK,
    &arc::CHALLENGE,
    &arc::EASY,
    &bbq::TASK,
    &bold::TASK,
    &boolq::TASK,
    &crows_pairs::TASK,
    &email_leak::TASK,
    &ethics::COMMONSENSE,
    &ethics::DEONTOLOGY,
    &ethics::JUSTICE,
    &ethics::UTILITARIANISM,
    &ethics::VIRTUE,
    &gsm8k::TASK,
    &hellaswag::TASK,
    &humaneval::TASK,
    &humaneval::INSTRUCT,
    &ifeval::TASK,
    &kv_retrieval::TASK,
    &lambada::TASK,
    &mbpp::TASK,
    &mmlu::TASK,
    &multiple::R,
    &multiple::RACKET,
    &multiple::RUST,
    &needle::TASK,
    &openbookqa::TASK,
    &piqa::TASK,
    &sciq::TASK,
    &sst2::TASK,
    &stereoset::TASK,
    &toxigen::TASK,
    &truthfulqa::MC1,
    &truthfulqa::MC2,
    &wikitext::TASK,
    &winogender::ALL,
    &winogender::GOTCHA,
    &winogrande::TASK,
];

impl Task {
    /// The task of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TASKS.iter().copied().find(|task| task.name == name)
    }

    /// The language of the programs that are run for it, as the first of its rows says; `None` where none are.
    ///
    /// # Errors
    /// Where the row cannot be read.
    pub fn language(&self, rows: &[Row]) -> Result<Option<Language>, IoError> {
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(match (self.document)(row)?.grade {
            Grade::Program(program) => Some(program("").language),
            Grade::Replies(_) => None,
        })
    }

    /// Whether it runs programs that the model writes.
    pub fn runs_programs(&self) -> bool {
        self.metrics.iter().any(|metric| metric.pass_at().is_some())
    }

    /// The metric of a name.
    pub fn metric(&self, name: &str) -> Option<&'static Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

/// The first character as a capital and all others small, as Python's `capitalize`.
fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + &characters.as_str().to_lowercase()
}
