//! An answer, token by token.

use crate::{
    EngineError, Session,
    sampler::{Sampler, SamplingParams, StopMatcher, Vocab},
};
use lowbit_model::Logits;
use lowbit_text::{Affixes, SpecialText, SpecialTokens, StreamDecoder, TextStart, Tokenizer};
use std::{borrow::Cow, ops::ControlFlow, time::Instant};

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
        let (tokenizer, size) = (self.model().tokenizer()?, self.model().spec().vocab);
        let mut sampler = Sampler::new(&request.sampling, &ModelVocab { tokenizer, size })?;
        let mut matcher = StopMatcher::new(&request.stop)?;
        let mut decoder = StreamDecoder::new(SpecialText::Hide, TextStart::Continuation);
        let mut answer = Generated {
            text: String::new(),
            tokens: Vec::new(),
            finish: Finish::Interrupted,
            timing: Timing::default(),
        };
        request.prompt.iter().for_each(|token| sampler.accept(*token));

        let start = Instant::now();
        let mut computed = None;
        let prefilled = self.prefill(&request.prompt, |remaining| {
            computed.get_or_insert(remaining);
            watch(Event::Prefill { remaining }).is_continue()
        })?;
        let Some(mut logits) = prefilled else { return Ok(answer) };
        let computed = computed.unwrap_or(0);
        answer.timing.prompt_tokens = computed;
        answer.timing.cached_tokens = request.prompt.len() - computed;
        answer.timing.prompt_s = start.elapsed().as_secs_f64();

        let first = Instant::now();
        answer.finish = loop {
            if request.max_tokens.is_some_and(|most| answer.tokens.len() >= most) {
                break Finish::MaxTokens;
            }
            let drawn = sampler.sample(logits)?;
            answer.tokens.push(drawn.id);
            answer.timing.generate_s = first.elapsed().as_secs_f64();
            if tokenizer.is_end_of_generation(drawn.id) {
                break Finish::EndOfText;
            }
            let mut text = String::new();
            let stopped = matcher.push(&decoder.push(tokenizer, drawn.id)?, &mut text);
            answer.text.push_str(&text);
            let event = Event::Token { id: drawn.id, text, logprob: drawn.logprob, top: drawn.top };
            if watch(event).is_break() {
                break Finish::Interrupted;
            }
            if stopped.is_some() {
                break Finish::StopString;
            }
            if self.room() == 0 {
                break Finish::ContextFull;
            }
            logits = self.feed(&[drawn.id], Logits::Last)?;
        };
        answer.timing.generated_tokens = answer.tokens.len();
        if answer.finish != Finish::StopString {
            let mut rest = String::new();
            let stopped = matcher.push(&decoder.finish(), &mut rest);
            if stopped.is_none() {
                matcher.finish(&mut rest);
            }
            answer.text.push_str(&rest);
        }
        Ok(answer)
    }
}

/// The vocabulary as the sampler sees it: as many tokens as the model has logits.
struct ModelVocab<'a> {
    tokenizer: &'a Tokenizer,
    size: usize,
}

impl Vocab for ModelVocab<'_> {
    fn size(&self) -> usize {
        self.size
    }

    fn piece(&self, id: u32) -> Cow<'_, [u8]> {
        match self.tokenizer.token_kind(id) {
            Some(kind) if !kind.is_special() => Cow::Borrowed(self.tokenizer.token_bytes(id).unwrap_or(&[])),
            _ => Cow::Borrowed(&[]),
        }
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        // Breakers come from the caller's own short list; one that cannot be encoded breaks nothing.
        self.tokenizer.encode(text, SpecialTokens::AsText, Affixes::None).unwrap_or_default()
    }
}
