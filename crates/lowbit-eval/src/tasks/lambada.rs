//! LAMBADA: the last word of a passage, which only the whole passage tells.

use super::{Aggregate, Data, Document, Metric, Score, Split, Task, metric::ACC};
use lowbit_io::{IoError, texts::Row};

const PERPLEXITY: Metric = Metric::mean("perplexity").of(Aggregate::Perplexity);

pub(super) const TASK: Task = Task {
    name: "lambada_openai",
    summary: "the last word of a passage: whether it is the likeliest, and how likely it is",
    paper: "Paperno et al., arXiv 1606.06031; OpenAI's form of it",
    version: "1.0",
    data: Data::Split(Split {
        repo: "EleutherAI/lambada_openai",
        config: "default",
        split: "test",
        files: &["lambada_openai_test", "lambada_test", "lambada_openai"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[ACC, PERPLEXITY],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let text = row.text("text")?;
    let (passage, word) = text
        .rsplit_once(' ')
        .ok_or_else(|| row.invalid("text", format!("{text:?}"), "several words with spaces between"))?;
    let document = Document::choices(passage, vec![format!(" {word}")], 0).delimiter("");
    Ok(document.graded(|replies| {
        let right = replies.iter().all(super::Reply::is_greedy);
        let logprob: f64 = replies.iter().map(super::Reply::logprob).sum();
        vec![Score::new(ACC, f64::from(u8::from(right))), Score::new(PERPLEXITY, logprob)]
    }))
}
