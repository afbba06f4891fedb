//! A model that is asked: texts become tokens as lm-evaluation-harness has it, and the scheduler answers many at once.

use crate::{
    EvalError,
    tasks::{Generate, Reply, Verdict},
};
use lowbit_engine::{
    EngineError, GenerateRequest, Model,
    sampler::SamplingParams,
    scheduler::{
        Failure, History, Listener, PromptScores, Refused, Request, Scheduler, SchedulerOptions, Scored,
        Update,
    },
};
use lowbit_kernels::Ctx;
use lowbit_model::KvElement;
use lowbit_text::{Affixes, SpecialText, SpecialTokens};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
    mpsc::Sender,
};

/// How a model is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LmOptions {
    /// Floats in which keys and values are kept.
    pub cache: KvElement,
    /// Bytes for the keys and values of everything that is asked at once.
    pub kv_bytes: usize,
    /// Sequences that run at once.
    pub parallel: usize,
}

impl Default for LmOptions {
    fn default() -> Self {
        Self { cache: KvElement::F16, kv_bytes: 1 << 30, parallel: 32 }
    }
}

/// A model that is asked.
pub struct Lm {
    scheduler: Scheduler,
    model: Arc<Model>,
}

/// Tokens to score: those from a place on, after those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) tokens: Vec<u32>,
    pub(crate) from: usize,
    /// Tokens that were cut off at the beginning, as they did not fit.
    pub(crate) cut: usize,
}

impl Lm {
    /// Starts the scheduler.
    ///
    /// # Errors
    /// Where the model has no tokenizer, or memory does not hold one context.
    pub fn start(model: Arc<Model>, ctx: Arc<Ctx>, options: LmOptions) -> Result<Self, EvalError> {
        let options = SchedulerOptions {
            context: 0,
            element: options.cache,
            kv_bytes: options.kv_bytes,
            parallel: options.parallel,
            queue: usize::MAX,
        };
        Ok(Self { scheduler: Scheduler::start(model.clone(), ctx, options)?, model })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Sequences that run at once.
    pub(crate) fn parallel(&self) -> usize {
        self.scheduler.options().parallel
    }

    /// Most tokens of a sequence.
    pub(crate) fn context(&self) -> usize {
        self.scheduler.options().context
    }

    /// Tokens of a text that begins one; what is spelt like a control token is one, as the harness has it.
    fn encode(&self, text: &str) -> Result<Vec<u32>, EvalError> {
        let tokenizer = self.model.tokenizer()?;
        let begin = match tokenizer.bos() {
            Some(bos) if tokenizer.adds_bos() => {
                Some(tokenizer.decode(&[bos], SpecialText::Show).map_err(EngineError::from)?)
            }
            _ => None,
        };
        let has_begin = begin.is_some_and(|begin| !begin.is_empty() && text.starts_with(&begin));
        let affixes = if has_begin { Affixes::None } else { Affixes::Model };
        Ok(tokenizer.encode(text, SpecialTokens::Parse, affixes).map_err(EngineError::from)?)
    }

    /// The token that stands before a text that nothing comes before.
    fn prefix(&self) -> Result<u32, EvalError> {
        let tokenizer = self.model.tokenizer()?;
        tokenizer.bos().or(tokenizer.eos()).ok_or(EvalError::NoPrefix)
    }

    /// A text after another. Spaces at the end of the first count to the second, which is what is left of the tokens of both
    /// after as many as the first has.
    pub(crate) fn pair(&self, context: &str, continuation: &str) -> Result<Pair, EvalError> {
        let (tokens, from) = if context.is_empty() {
            let tokenizer = self.model.tokenizer()?;
            let prefix = self.prefix()?;
            let mut tokens = tokenizer
                .encode(continuation, SpecialTokens::Parse, Affixes::None)
                .map_err(EngineError::from)?;
            if tokens.first() != Some(&prefix) {
                tokens.insert(0, prefix);
            }
            (tokens, 1)
        } else {
            let tokens = self.encode(&format!("{context}{continuation}"))?;
            (tokens, self.encode(context.trim_end())?.len())
        };
        if from >= tokens.len() {
            return Err(EvalError::NothingToScore { continuation: continuation.to_owned() });
        }
        // A context of spaces alone has no tokens.
        let (tokens, from) =
            if from == 0 { ([vec![self.prefix()?], tokens].concat(), 1) } else { (tokens, from) };
        self.fitted(tokens, from)
    }

    /// Cuts off at the beginning what does not fit.
    fn fitted(&self, mut tokens: Vec<u32>, from: usize) -> Result<Pair, EvalError> {
        let cut = tokens.len().saturating_sub(self.context());
        if cut >= from {
            let (tokens, context) = (tokens.len() - from, self.context());
            return Err(EvalError::ContinuationTooLong { tokens, context });
        }
        tokens.drain(..cut);
        Ok(Pair { tokens, from: from - cut, cut })
    }

    /// A whole text, in parts that fit: each but the first goes on after the last token of the one before it, and the last is
    /// as long as the others.
    pub(crate) fn whole(&self, text: &str) -> Result<Vec<Pair>, EvalError> {
        let tokenizer = self.model.tokenizer()?;
        let tokens =
            tokenizer.encode(text, SpecialTokens::Parse, Affixes::None).map_err(EngineError::from)?;
        if tokens.is_empty() {
            return Err(EvalError::NothingToScore { continuation: text.to_owned() });
        }
        Ok(windows(self.prefix()?, &tokens, self.context().saturating_sub(1).max(1)))
    }

    /// Tokens of a prompt that `most` tokens shall have room after.
    pub(crate) fn prompt(&self, text: &str, most: usize) -> Result<Pair, EvalError> {
        let mut tokens = if text.is_empty() { vec![self.prefix()?] } else { self.encode(text)? };
        let room = self.context().saturating_sub(most).max(1);
        let cut = tokens.len().saturating_sub(room);
        tokens.drain(..cut);
        let from = tokens.len();
        Ok(Pair { tokens, from, cut })
    }

    /// Has a pair scored; `ear` hears of it.
    pub(crate) fn score(&self, pair: Pair, ear: Ear) -> Result<(), EvalError> {
        self.ask(
            Request {
                generate: GenerateRequest {
                    prompt: pair.tokens,
                    sampling: SamplingParams { top_logprobs: 1, ..SamplingParams::greedy() },
                    max_tokens: Some(0),
                    ..GenerateRequest::default()
                },
                history: History::Nothing,
                prompt_scores: PromptScores::From(pair.from),
            },
            ear,
        )
    }

    /// Has a text written after the tokens of a pair.
    pub(crate) fn write(
        &self,
        pair: Pair,
        generate: &Generate,
        sampling: SamplingParams,
        ear: Ear,
    ) -> Result<(), EvalError> {
        let most = generate.max_tokens.min(self.context() - pair.tokens.len());
        self.ask(
            Request {
                generate: GenerateRequest {
                    prompt: pair.tokens,
                    sampling,
                    max_tokens: Some(most),
                    stop: generate.until.clone(),
                    grammar: None,
                },
                history: History::Nothing,
                prompt_scores: PromptScores::Skip,
            },
            ear,
        )
    }

    fn ask(&self, request: Request, ear: Ear) -> Result<(), EvalError> {
        self.scheduler.submit("eval", vec![(request, Box::new(ear))]).map_err(|refused| match refused {
            Refused::Invalid(error) => error.into(),
            other => EvalError::Asking { why: other.to_string() },
        })
    }
}

/// Parts of at most `longest` predicted tokens: as the harness's `get_rolling_token_windows` with a context of one token.
fn windows(prefix: u32, tokens: &[u32], longest: usize) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut done = 0;
    while done < tokens.len() {
        let end = (done + longest).min(tokens.len());
        // The last part looks back as far as it may.
        let start = if done == 0 { 0 } else { end.saturating_sub(longest) };
        let before = if start == 0 { prefix } else { tokens[start - 1] };
        let part: Vec<u32> = std::iter::once(before).chain(tokens[start..end].iter().copied()).collect();
        pairs.push(Pair { from: 1 + done - start, tokens: part, cut: 0 });
        done = end;
    }
    pairs
}

/// What was heard of one request; its place is the document and which of its requests it is.
pub(crate) enum Heard {
    Reply { place: (usize, usize), reply: Result<Reply, Failure> },
    Verdict { place: (usize, usize), verdict: Result<Verdict, EvalError> },
}

/// Listens to one request.
pub(crate) struct Ear {
    place: (usize, usize),
    reply: Reply,
    heard: Sender<Heard>,
    gone: Arc<AtomicBool>,
}

impl Ear {
    pub(crate) fn new(place: (usize, usize), heard: Sender<Heard>, gone: Arc<AtomicBool>) -> Self {
        let reply = Reply::Text { text: String::new(), tokens: 0 };
        Self { place, reply, heard, gone }
    }
}

impl Listener for Ear {
    fn update(&mut self, update: Update) {
        let tell = |reply| {
            // Nobody may be there any more.
            let _ = self.heard.send(Heard::Reply { place: self.place, reply });
        };
        match update {
            Update::Prompt(scores) => self.reply = likelihood(&scores),
            Update::Token(_, more) => {
                if let Reply::Text { text, .. } = &mut self.reply {
                    text.push_str(&more);
                }
            }
            Update::Done(done) => {
                if let Reply::Text { text, tokens } = &mut self.reply {
                    text.push_str(&done.text);
                    *tokens = done.generated_tokens;
                }
                tell(Ok(self.reply.clone()));
            }
            Update::Failed(failure) => tell(Err(failure)),
        }
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }
}

fn likelihood(scores: &[Scored]) -> Reply {
    let likeliest = |score: &Scored| score.top.first().is_some_and(|(id, _)| *id == score.id);
    Reply::Likelihood {
        logprob: scores.iter().map(|score| f64::from(score.logprob)).sum(),
        greedy: scores.iter().all(likeliest),
        tokens: scores.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_text_are_those_of_the_harness() {
        let tokens: Vec<u32> = (0..10).collect();
        let parts = windows(100, &tokens, 4);
        let expected: [(&[u32], usize); 3] =
            [(&[100, 0, 1, 2, 3], 1), (&[3, 4, 5, 6, 7], 1), (&[5, 6, 7, 8, 9], 3)];
        assert_eq!(parts.len(), 3);
        for (part, (tokens, from)) in parts.iter().zip(expected) {
            assert_eq!((part.tokens.as_slice(), part.from), (tokens, from));
        }
        let scored: usize = parts.iter().map(|part| part.tokens.len() - part.from).sum();
        assert_eq!(scored, tokens.len());
        assert_eq!(windows(100, &tokens[..2], 4)[0].tokens, [100, 0, 1]);
    }
}
