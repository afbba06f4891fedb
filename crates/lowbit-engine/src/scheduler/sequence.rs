//! One answer on its way: its tokens, how far they are computed, who listens.

use super::{Done, Failure, Listener, PromptScores, Request, Scored, Update};
use crate::{EngineError, Finish, answer::Answer, sampler::Sampled};
use lowbit_model::Logits;
use lowbit_text::Tokenizer;
use std::time::Instant;

/// A sequence in the queue or running.
pub(super) struct Sequence {
    /// Place in the order of arrival.
    pub(super) arrival: u64,
    pub(super) client: String,
    /// Prompt and answer so far, and in a step what is guessed to follow. The last that is no guess is never in the cache: its
    /// logits are wanted.
    pub(super) tokens: Vec<u32>,
    /// Tokens at the end that are guesses.
    guessed: usize,
    /// Tokens of its answer that figures were told of.
    pub(super) counted: usize,
    /// The end of a prompt that is only scored: nothing is predicted from it, so it is not computed.
    last_scored: Option<u32>,
    prompt_tokens: usize,
    /// Tokens of the prompt that were cached when it first ran.
    pub(super) cached_tokens: Option<usize>,
    answer: Answer,
    scores: Option<Scores>,
    listener: Box<dyn Listener>,
    pub(super) submitted: Instant,
    pub(super) last_token: Option<Instant>,
    /// It was in a step that panicked, together with others.
    pub(super) suspect: bool,
}

/// What a request says of its prompt.
pub(super) struct Prompt {
    tokens: Vec<u32>,
    scores: PromptScores,
    /// Whether an answer follows.
    answered: bool,
}

impl Prompt {
    pub(super) fn of(request: Request) -> Self {
        let answered = request.generate.max_tokens != Some(0);
        Self { tokens: request.generate.prompt, scores: request.prompt_scores, answered }
    }
}

/// Scores of a prompt's tokens from place `first` on, as far as there are any.
struct Scores {
    first: usize,
    done: Vec<Scored>,
}

impl Scores {
    fn of(wanted: PromptScores) -> Option<Self> {
        match wanted {
            PromptScores::Skip => None,
            PromptScores::From(first) => Some(Self { first: first.max(1), done: Vec::new() }),
        }
    }

    /// The place of the token that is scored next.
    fn next(&self) -> usize {
        self.first + self.done.len()
    }
}

/// What a step did to a sequence.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    /// More of the prompt is to be read.
    Reading,
    /// A token was drawn, one more for each guess that was right, and more are to come.
    Wrote {
        /// Guesses that were right.
        right: usize,
    },
    /// It is over, and the listener knows.
    Over {
        /// Why.
        finish: Finish,
        /// Guesses that were right.
        right: usize,
    },
}

impl Sequence {
    pub(super) fn new(
        client: &str,
        submitted: Instant,
        mut prompt: Prompt,
        answer: Answer,
        listener: Box<dyn Listener>,
    ) -> Self {
        let prompt_tokens = prompt.tokens.len();
        let scores = Scores::of(prompt.scores);
        let only_scored = scores.is_some() && !prompt.answered && prompt_tokens > 1;
        let last_scored = if only_scored { prompt.tokens.pop() } else { None };
        Self {
            arrival: 0,
            client: client.to_owned(),
            prompt_tokens,
            tokens: prompt.tokens,
            guessed: 0,
            counted: 0,
            last_scored,
            cached_tokens: None,
            answer,
            scores,
            listener,
            submitted,
            last_token: None,
            suspect: false,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.listener.is_gone()
    }

    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    pub(super) fn generated_tokens(&self) -> usize {
        self.answer.tokens.len()
    }

    /// Most tokens that may be taken from a cache: the last token's logits are wanted, and those before every token
    /// of the prompt that is still to be scored.
    pub(super) fn reusable(&self) -> usize {
        match &self.scores {
            Some(scores) if scores.next() < self.prompt_tokens => scores.next() - 1,
            _ => self.known() - 1,
        }
    }

    /// Tokens that are no guesses.
    fn known(&self) -> usize {
        self.tokens.len() - self.guessed
    }

    /// Tokens that may be guessed beside the next: the last token of an answer or of the context needs no guess.
    pub(super) fn guessable(&self, capacity: usize) -> usize {
        self.answer.left().saturating_sub(1).min(capacity.saturating_sub(self.tokens.len()))
    }

    pub(super) fn add_guesses(&mut self, guesses: &[u32]) {
        self.tokens.extend_from_slice(guesses);
        self.guessed += guesses.len();
    }

    /// What was guessed and not drawn.
    pub(super) fn take_guesses(&mut self) -> Vec<u32> {
        let known = self.known();
        self.guessed = 0;
        self.tokens.split_off(known)
    }

    /// Whether logits of many tokens of the prompt are wanted.
    pub(super) fn is_scored(&self) -> bool {
        self.reusable() + 1 < self.known()
    }

    /// For which of `count` tokens from position `held` on logits are wanted.
    pub(super) fn want(&self, held: usize, count: usize) -> Logits {
        let from = self.reusable().max(held) - held;
        if from < count { Logits::From(from) } else { Logits::None }
    }

    /// Takes rows of `vocab` logits, those of the last positions before `end`.
    ///
    /// # Errors
    /// Where logits cannot be sampled from.
    pub(super) fn advance(
        &mut self,
        (rows, vocab): (&[f32], usize),
        end: usize,
        (tokenizer, capacity): (&Tokenizer, usize),
    ) -> Result<Progress, EngineError> {
        let first = end - rows.len() / vocab;
        for (position, row) in (first..end).zip(rows.chunks_exact(vocab)) {
            let predicted = position + 1;
            if let Some(scores) = &mut self.scores
                && scores.next() == predicted
                && predicted < self.prompt_tokens
                && let Some(&token) = self.tokens.get(predicted).or(self.last_scored.as_ref())
            {
                scores.done.push(self.answer.score(row, token)?.into());
            }
        }
        if end < self.tokens.len() {
            return Ok(Progress::Reading);
        }
        if let Some(scores) = self.scores.take() {
            self.listener.update(Update::Prompt(scores.done));
        }
        if self.answer.is_full() {
            return Ok(self.over(Finish::MaxTokens, None, 0));
        }
        let guesses = self.take_guesses();
        let rows = rows[rows.len() - (guesses.len() + 1) * vocab..].chunks_exact(vocab);
        let mut right = 0;
        for row in rows {
            let drawn = self.answer.draw(tokenizer, row)?;
            if drawn.ends == Some(Finish::EndOfText) {
                return Ok(self.over(Finish::EndOfText, Some(drawn.token.into()), right));
            }
            let id = drawn.token.id;
            self.tokens.push(id);
            self.listener.update(Update::Token(drawn.token.into(), drawn.text));
            let full = || self.answer.is_full().then_some(Finish::MaxTokens);
            // The last token has to be computed before another can be drawn.
            let no_room = || (self.tokens.len() > capacity).then_some(Finish::ContextFull);
            if let Some(finish) = drawn.ends.or_else(full).or_else(no_room) {
                return Ok(self.over(finish, None, right));
            }
            if guesses.get(right) != Some(&id) {
                break;
            }
            right += 1;
        }
        Ok(Progress::Wrote { right })
    }

    fn over(&mut self, finish: Finish, end: Option<Scored>, right: usize) -> Progress {
        let text = self.answer.rest(finish);
        self.listener.update(Update::Done(Done {
            text,
            finish,
            stop: self.answer.stopped,
            end,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens.unwrap_or(0),
            generated_tokens: self.answer.tokens.len(),
        }));
        Progress::Over { finish, right }
    }

    /// Ends it without an answer.
    pub(super) fn fail(mut self, failure: Failure) {
        // A listener that panics has nothing more to hear.
        let tell = std::panic::AssertUnwindSafe(|| self.listener.update(Update::Failed(failure)));
        let _ = std::panic::catch_unwind(tell);
    }
}

impl From<Sampled> for Scored {
    fn from(Sampled { id, logprob, top }: Sampled) -> Self {
        Self { id, logprob, top }
    }
}
