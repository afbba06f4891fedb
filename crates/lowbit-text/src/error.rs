//! What can be wrong with a vocabulary, a piece of text or a template, each with the facts.

/// Everything this crate can refuse, one variant a cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A schema or grammar that is not understood, or asks for too much.
    #[error("the grammar cannot be followed: {why}")]
    Grammar {
        /// What is wrong with it.
        why: String,
    },
    /// No token ends an answer, so no grammar could.
    #[error("the vocabulary has no token that ends an answer, which a grammar needs")]
    NoEnd,
    /// `tokenizer.ggml.model` (or its like) names an algorithm that is not implemented.
    #[error("tokenizer model '{found}' is not supported, known are: {known}{}", suggestion(.nearest))]
    UnknownModel {
        /// The name in the file.
        found: String,
        /// The names that are implemented, comma separated.
        known: String,
        /// The known name closest to it, if any is close.
        nearest: Option<String>,
    },
    /// `tokenizer.ggml.pre` names a way to cut text into words that is not known.
    #[error("pre-tokenizer '{found}' is not known, known are: {known}{}", suggestion(.nearest))]
    UnknownPreTokenizer {
        /// The name in the file.
        found: String,
        /// The names that are known, comma separated.
        known: String,
        /// The known name closest to it, if any is close.
        nearest: Option<String>,
    },
    /// A byte-level vocabulary without the name of its pre-tokenizer.
    #[error(
        "the vocabulary names no pre-tokenizer (tokenizer.ggml.pre), so text would be cut wrongly; convert the model \
         again with a current converter or set the name by hand"
    )]
    MissingPreTokenizer,
    /// The vocabulary has no tokens.
    #[error("the vocabulary is empty, expected at least one token")]
    EmptyVocab,
    /// More tokens, or more bytes of token text, than any real vocabulary has.
    #[error("the vocabulary has {found} {what}, more than the limit of {limit}")]
    VocabTooLarge {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// An array that goes with the tokens has another length than they have.
    #[error("{array} has {found} entries but the vocabulary has {expected} tokens")]
    LengthMismatch {
        /// Which array.
        array: &'static str,
        /// Its length.
        found: usize,
        /// The number of tokens.
        expected: usize,
    },
    /// The algorithm needs an array that the vocabulary lacks.
    #[error("tokenizer model '{model}' needs {array}, which the vocabulary lacks")]
    MissingArray {
        /// The algorithm.
        model: &'static str,
        /// What is missing.
        array: &'static str,
    },
    /// A vocabulary that a `tokenizer.json` cannot hold.
    #[error("{why} cannot be written as a tokenizer.json")]
    NotWritable {
        /// What of it.
        why: String,
    },
    /// Two ids with the same text.
    #[error("token '{text}' is in the vocabulary twice, as ids {first} and {second}")]
    DuplicateToken {
        /// The text.
        text: String,
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A special token id that no token has.
    #[error("{role} token id {id} is out of range, the vocabulary has {vocab_len} tokens")]
    IdOutOfRange {
        /// What the id is for: `bos`, `eos` and so on; `token` when it came from the caller.
        role: &'static str,
        /// The id.
        id: u32,
        /// The number of tokens.
        vocab_len: usize,
    },
    /// The vocabulary asks for a token at the start or end of text but does not say which.
    #[error("the vocabulary asks to add a {role} token but gives no {role} id")]
    MissingSpecial {
        /// `bos` or `eos`.
        role: &'static str,
    },
    /// A token of kind byte whose text is not `<0x` and two hex digits and `>`.
    #[error("byte token {id} has the text '{text}', expected '<0xAB>' with two hex digits")]
    BadByteToken {
        /// Its id.
        id: u32,
        /// Its text.
        text: String,
    },
    /// A token kind that GGUF does not define.
    #[error("token {id} has kind {kind}, expected 0 to 6")]
    BadTokenKind {
        /// Its id.
        id: u32,
        /// The number in the file.
        kind: i32,
    },
    /// A score that is infinite or not a number.
    #[error("token {id} has the score {score}, expected a finite number")]
    BadScore {
        /// Its id.
        id: u32,
        /// The number in the file.
        score: f32,
    },
    /// A merge that is not two tokens with one space between.
    #[error("merge {index} is '{merge}', expected two tokens with a space between")]
    BadMerge {
        /// Its place in the list, from 0.
        index: usize,
        /// Its text.
        merge: String,
    },
    /// A merge of, or into, text that is not in the vocabulary.
    #[error("merge {index} '{merge}' needs the token '{token}', which is not in the vocabulary")]
    UnknownMergeToken {
        /// Its place in the list, from 0.
        index: usize,
        /// Its text.
        merge: String,
        /// The part, or the result, that is no token.
        token: String,
    },
    /// The normalization table of a unigram vocabulary is damaged.
    #[error("the precompiled character map is damaged: {0}")]
    BadCharsMap(&'static str),
    /// Text for which the vocabulary has neither a token nor byte tokens nor an unknown token.
    #[error("the vocabulary has no token for {text:?}, no byte tokens and no unknown token to stand for it")]
    Unencodable {
        /// The character or byte.
        text: String,
    },
    /// More text at once than ids and offsets can count.
    #[error("{found} bytes of text at once are more than the limit of {limit}, encode it in parts")]
    TextTooLong {
        /// Bytes given.
        found: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// A file that is not what it should be.
    #[error("{file} is not usable: {reason}")]
    BadFile {
        /// Which file, for example `tokenizer.json`.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer built from `tokenizer.json` refused the text.
    #[error("the tokenizer refused the text: {0}")]
    Encode(String),
    /// The model file carries no chat template.
    #[error(
        "the model has no chat template; it may be a base model: give it plain text to continue, or pass a template \
         of your own"
    )]
    NoTemplate,
    /// The template is not valid Jinja.
    #[error("the chat template does not parse: {0}")]
    TemplateSyntax(String),
    /// The template itself refused the messages through `raise_exception`.
    #[error("the chat template refuses these messages: {0}")]
    TemplateRefused(String),
    /// The template needs more work, output or nesting than is allowed.
    #[error("the chat template was stopped: {what} went over the limit of {limit}")]
    TemplateLimit {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The template failed while it was rendered.
    #[error("the chat template failed: {0}")]
    TemplateFailed(String),
}

/// The result of everything fallible here.
pub type Result<T, E = TextError> = std::result::Result<T, E>;

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}

/// The candidate with the smallest edit distance to `found`, if at most half of it is wrong.
pub(crate) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    // A hostile name may be megabytes long; nothing that long is a typing mistake.
    if found.len() > 64 {
        return None;
    }
    let (distance, name) =
        known.map(|name| (strsim::levenshtein(found, name), name)).min_by_key(|&(d, _)| d)?;
    (distance * 2 <= name.len()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_found_only_when_close() {
        let known = ["qwen2", "llama-bpe", "smollm"];
        assert_eq!(nearest("qwen3", known.into_iter()).as_deref(), Some("qwen2"));
        assert_eq!(nearest("lama-bpe", known.into_iter()).as_deref(), Some("llama-bpe"));
        assert_eq!(nearest("rwkv-world", known.into_iter()), None);
    }
}
