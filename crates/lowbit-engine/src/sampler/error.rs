//! What can go wrong while a sampler is set up or asked for a token.

/// Everything the sampler refuses, with the facts of the refusal.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// A parameter lies outside its range; NaN lies outside every range.
    #[error("{field} is {found}, expected {expected}")]
    OutOfRange {
        /// Path of the field in [`SamplingParams`](super::SamplingParams), as in `dry.base`.
        field: &'static str,
        /// The value that was given.
        found: String,
        /// The values that are allowed.
        expected: String,
    },
    /// The order names a stage that does not exist.
    #[error("unknown sampling stage {name:?}, did you mean {nearest:?}? known stages: {known}")]
    UnknownStage {
        /// The name as given.
        name: String,
        /// The known name nearest to it.
        nearest: &'static str,
        /// All known names.
        known: String,
    },
    /// The order names one stage twice.
    #[error("sampling stage {name:?} stands twice in the order, expected once")]
    RepeatedStage {
        /// The stage.
        name: &'static str,
    },
    /// A stage was given its own settings and then left out of the order, so that they would be ignored.
    #[error("sampling stage {name:?} is set but is not in the order; add it there or leave its settings out")]
    StageNotInOrder {
        /// The stage.
        name: &'static str,
    },
    /// Mirostat truncates by itself; a truncating stage beside it would fight its feedback.
    #[error("mirostat replaces the truncating stage {name:?}; leave one of the two out")]
    MirostatWithTruncation {
        /// The truncating stage that was asked for.
        name: &'static str,
    },
    /// A logit bias for a token the vocabulary does not have.
    #[error("logit_bias names token {id}, the vocabulary has {vocab_size} tokens")]
    BiasOutsideVocab {
        /// The token.
        id: u32,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A token to be scored that the vocabulary does not have.
    #[error("token {id} is to be scored, the vocabulary has {vocab_size} tokens")]
    OutsideVocab {
        /// The token.
        id: u32,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// No token of the vocabulary contains or begins this sequence breaker.
    #[error("dry.sequence_breakers: no token of the vocabulary contains or begins {breaker:?}")]
    UnresolvedBreaker {
        /// The text of the breaker.
        breaker: String,
    },
    /// The vocabulary is empty or has more tokens than a 32-bit id can name.
    #[error("vocabulary of {size} tokens, expected 1 to 4294967295")]
    VocabSize {
        /// Number of tokens.
        size: usize,
    },
    /// The model gave a different number of logits than the vocabulary has tokens.
    #[error("{found} logits, expected one for each of the {expected} tokens of the vocabulary")]
    LogitCount {
        /// Logits given.
        found: usize,
        /// Tokens in the vocabulary.
        expected: usize,
    },
    /// The model gave a logit that is NaN or positive infinity.
    #[error(
        "logit of token {id} is {value}, expected a number or negative infinity; the model's weights or activations overflowed"
    )]
    BadLogit {
        /// First token with such a logit.
        id: u32,
        /// The logit, as text because NaN is not equal to itself.
        value: String,
    },
    /// No token can be chosen.
    #[error("no token is left to choose from: all logits are negative infinity or banned by logit_bias")]
    NoCandidates,
    /// A stop string is empty or longer than the limit.
    #[error("stop string {index} has {bytes} bytes, expected 1 to {limit}")]
    StopLength {
        /// Its place in the list.
        index: usize,
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// More stop strings than the limit.
    #[error("{found} stop strings, expected at most {limit}")]
    StopCount {
        /// Strings given.
        found: usize,
        /// The most allowed.
        limit: usize,
    },
}
