//! An answer, token by token.

use crate::{EngineError, Session, answer::Answer, sampler::SamplingParams};
use lowbit_model::Logits;
use lowbit_text::Grammar;
use std::{ops::ControlFlow, time::Instant};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct GenerateRequest {
    /// Tokens to continue.
    pub prompt: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Most tokens to draw; as many as the context holds where `None`.
    pub max_tokens: Option<usize>,
    /// The answer ends before the first of these.
    pub stop: Vec<String>,
    /// What the answer has to look like, see [`Model::grammar`](crate::Model::grammar).
    pub grammar: Option<Grammar>,
}

/// What happens while an answer is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Tokens of the prompt that are still to be read.
    Prefill {
        /// How many.
        remaining: usize,
    },
    /// A token was drawn.
    Token {
        /// The token.
        id: u32,
        /// Text that became certain with it; may be empty.
        text: String,
        /// Natural logarithm of its probability in the model's own distribution.
        logprob: f32,
        /// The model's most probable tokens there, best first, as many as the sampling parameters ask for.
        top: Vec<(u32, f32)>,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it.
    EndOfText,
    /// A grammar was followed to its end.
    Grammar,
    /// A stop string came.
    StopString,
    /// As many tokens as were asked for.
    MaxTokens,
    /// The context is full; it is not shifted unasked.
    ContextFull,
    /// The caller ended it.
    Interrupted,
}

/// Times of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Timing {
    /// Tokens of the prompt that were computed, those found in the cache left out.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were found in the cache.
    pub cached_tokens: usize,
    /// Time for the prompt, in seconds.
    pub prompt_s: f64,
    /// Tokens drawn.
    pub generated_tokens: usize,
    /// Time from the first drawn token to the last, in seconds.
    pub generate_s: f64,
    /// Tokens that were guessed, see [`Session::speculate`].
    pub guessed_tokens: usize,
    /// Those of them that were drawn.
    pub guessed_right: usize,
}

impl Timing {
    /// Prompt tokens a second; 0 where none was computed.
    pub fn prompt_tokens_per_s(&self) -> f64 {
        rate(self.prompt_tokens, self.prompt_s)
    }

    /// Drawn tokens a second, the first left out as the prompt's computation gave it; 0 for fewer than two.
    pub fn generated_tokens_per_s(&self) -> f64 {
        rate(self.generated_tokens.saturating_sub(1), self.generate_s)
    }
}

fn rate(count: usize, seconds: f64) -> f64 {
    if count > 0 && seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Its text.
    pub text: String,
    /// Its tokens, the one that ended it included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// What it took.
    pub timing: Timing,
}

impl Session<'_> {
    /// Makes the sequence the request's prompt, keeping what is cached of it, and continues it. `watch` sees every
    /// step and ends the answer by breaking.
    ///
    /// # Errors
    /// Where the prompt does not fit, parameters are out of range, or the model has no tokenizer or gives no usable
    /// logits.
    pub fn generate(
        &mut self,
        request: &GenerateRequest,
        mut watch: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generated, EngineError> {
        let (tokenizer, vocab) = (self.model().tokenizer()?, self.model().spec().vocab);
        let mut answer = Answer::new(tokenizer, vocab, request, &request.prompt)?;
        let (mut text, mut timing) = (String::new(), Timing::default());

        let start = Instant::now();
        let mut computed = None;
        let prefilled = self.prefill(&request.prompt, |remaining| {
            computed.get_or_insert(remaining);
            watch(Event::Prefill { remaining }).is_continue()
        })?;
        if prefilled.is_none() {
            return Ok(Generated { text, tokens: Vec::new(), finish: Finish::Interrupted, timing });
        }
        let computed = computed.unwrap_or(0);
        timing.prompt_tokens = computed;
        timing.cached_tokens = request.prompt.len() - computed;
        timing.prompt_s = start.elapsed().as_secs_f64();

        let first = Instant::now();
        // Tokens of the last pass that were guessed, and how many of them were drawn since.
        let (mut guesses, mut right): (Vec<u32>, usize) = (Vec::new(), 0);
        let finish = loop {
            if answer.is_full() {
                break Finish::MaxTokens;
            }
            let drawn = answer.draw(tokenizer, &self.logits()[right * vocab..][..vocab])?;
            timing.generate_s = first.elapsed().as_secs_f64();
            if drawn.ends == Some(Finish::EndOfText) {
                break Finish::EndOfText;
            }
            text.push_str(&drawn.text);
            let token = drawn.token;
            let id = token.id;
            let event = Event::Token { id, text: drawn.text, logprob: token.logprob, top: token.top };
            if watch(event).is_break() {
                break Finish::Interrupted;
            }
            if let Some(finish) = drawn.ends {
                break finish;
            }
            if guesses.get(right) == Some(&id) {
                (right, timing.guessed_right) = (right + 1, timing.guessed_right + 1);
                continue;
            }
            self.confirm(guesses.len(), right);
            if self.room() == 0 {
                break Finish::ContextFull;
            }
            // The last token of the answer needs no guess.
            guesses = self.guess(id, (self.room() - 1).min(answer.left().saturating_sub(1)))?;
            (right, timing.guessed_tokens) = (0, timing.guessed_tokens + guesses.len());
            self.feed(&[&[id], &guesses[..]].concat(), Logits::From(0))?;
        };
        self.confirm(guesses.len(), right);
        timing.generated_tokens = answer.tokens.len();
        text.push_str(&answer.rest(finish));
        Ok(Generated { text, tokens: answer.tokens, finish, timing })
    }
}
