//! WikiText-2: how well whole articles are predicted.

use super::{Aggregate, Data, Document, Metric, Question, Reply, Score, Split, Task, pattern};
use lowbit_io::{IoError, texts::Row};
use regex_automata::meta::Regex;
use std::sync::LazyLock;

const WORD: Metric = Metric::mean("word_perplexity").of(Aggregate::Perplexity);
const BYTE: Metric = Metric::mean("byte_perplexity").of(Aggregate::Perplexity);
const BITS: Metric = Metric::mean("bits_per_byte").of(Aggregate::Bits);

pub(super) const TASK: Task = Task {
    name: "wikitext",
    summary: "how well articles of Wikipedia are predicted, by the word and byte of the text as it was before it was cleaned",
    paper: "Merity et al., arXiv 1609.07843",
    version: "2.0",
    data: Data::Split(Split {
        repo: "EleutherAI/wikitext_document_level",
        config: "wikitext-2-raw-v1",
        split: "test",
        files: &["wikitext_test", "wiki.test"],
        only: None,
    }),
    examples: None,
    shots: 0,
    metrics: &[WORD, BYTE, BITS],
    document,
};

fn document(row: &Row) -> Result<Document, IoError> {
    let page = row.text("page")?;
    let (words, bytes) = (words(page), page.len() as f64);
    let document = Document::choices("", Vec::new(), 0).graded(move |replies| {
        let logprob: f64 = replies.iter().map(Reply::logprob).sum();
        vec![
            Score::weighted(WORD, logprob / words, words),
            Score::weighted(BYTE, logprob / bytes, bytes),
            Score::weighted(BITS, logprob / bytes, bytes),
        ]
    });
    Ok(Document { question: Question::Whole(cleaned(page)), ..document })
}

/// Pieces between spaces of any kind and number; what is before the first and after the last counts, though it may be empty.
fn words(page: &str) -> f64 {
    static SPACES: LazyLock<Regex> = LazyLock::new(|| pattern::of(r"\s+"));
    pattern::split(&SPACES, page).len() as f64
}

/// Text as people write it: what WikiText set apart with spaces or `@` is put together again.
fn cleaned(page: &str) -> String {
    static APART: [(&str, &str); 10] = [
        ("s '", "s'"),
        (" @-@ ", "-"),
        (" @,@ ", ","),
        (" @.@ ", "."),
        (" : ", ": "),
        (" ; ", "; "),
        (" . ", ". "),
        (" ! ", "! "),
        (" ? ", "? "),
        (" , ", ", "),
    ];
    static AROUND: LazyLock<[(Regex, [&str; 2]); 5]> = LazyLock::new(|| {
        [
            (r"\(\s*([^\)]*?)\s*\)", ["(", ")"]),
            (r"\[\s*([^\]]*?)\s*\]", ["[", "]"]),
            (r"\{\s*([^}]*?)\s*\}", ["{", "}"]),
            (r#""\s*([^"]*?)\s*""#, ["\"", "\""]),
            (r"'\s*([^']*?)\s*'", ["'", "'"]),
        ]
        .map(|(around, marks)| (pattern::of(around), marks))
    });
    static AFTER: [(&str, &str); 8] = [
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" ° ", "°"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ];
    let replace = |text: String, (apart, together): &(&str, &str)| text.replace(apart, together);
    let text = APART.iter().fold(page.to_owned(), replace);
    let text = AROUND.iter().fold(text, |text, (around, [open, close])| {
        pattern::replaced(around, &text, |inner| format!("{open}{inner}{close}"))
    });
    AFTER.iter().fold(text, replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_apart_is_put_together() {
        for (page, expected) in [
            (" = A ( b ) = \n \n = = C = = \n x @-@ y , z .\n", " = A (b) =\n\n== C ==\nx-y, z .\n"),
            ("1 @,@ 000 @.@ 5 ; 3 ° C", "1,000.5; 3°C"),
            // An apostrophe looks like a quotation mark.
            ("the boys ' \" quoted  text \" , it 's N of", "the boys'\"quoted  text\", it's 1 of"),
            ("' single ' [ 1 ] { a }", "'single' [1] {a}"),
        ] {
            assert_eq!(cleaned(page), expected);
        }
    }

    #[test]
    fn spaces_at_both_ends_make_empty_words_that_count() {
        assert_eq!(words(" a b\n \n c "), 5.0);
        assert_eq!(words("a"), 1.0);
    }
}
