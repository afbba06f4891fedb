//! Many answers at once on one model: continuous batching.
//!
//! A thread of its own runs *steps*. In each, every running sequence brings its next tokens - one that is being
//! decoded its last token, a prompt a chunk of what is left of it - and all go through the model together, so that
//! weights are read once for all of them. Sequences join and leave between steps.
//!
//! - **Queueing** is fair: the client with the fewest running sequences is next, among its requests and those of its
//!   equals the oldest. A full queue refuses ([`Refused::Full`]) instead of growing.
//! - **Memory** for keys and values has a budget. A sequence takes it as its tokens come; where there is none left,
//!   what finished sequences left behind is forgotten, the longest unused first, and then the youngest sequence
//!   steps back into the queue and is computed again later.
//! - **Prefixes** are reused: a sequence takes over or copies the keys and values of whatever begins like its prompt,
//!   and waits for one that is just being computed.
//! - **Guesses**: where few are answered at once, each may bring guesses at its next tokens, see [`Speculation`].
//! - **Isolation**: a panic in a step ends the sequence that it was for. Where several were in it, each is computed
//!   again alone, so that only the guilty one ends.
//!
//! What an answer says does not depend on who else is served, to the bit wherever logits do not depend on how a
//! prompt is cut (see the invariants in `ARCHITECTURE.md`).

mod keys;
mod queue;
mod sequence;
mod stats;
mod step;

pub use stats::{Counters, Histogram, Stats};

use crate::{EngineError, Finish, GenerateRequest, Model, Speculation, answer::Answer};
use lowbit_kernels::Ctx;
use lowbit_model::KvElement;
use queue::{Inbox, Phase, Shared};
use sequence::{Prompt, Sequence};
use std::{
    sync::{Arc, MutexGuard},
    thread::JoinHandle,
    time::Instant,
};
use step::Engine;

/// How a [`Scheduler`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Most tokens of prompt and answer together; 0: as many as the model was made for and `kv_bytes` holds.
    pub context: usize,
    /// Floats in which keys and values are kept.
    pub element: KvElement,
    /// Bytes for the keys and values of all sequences.
    pub kv_bytes: usize,
    /// Most sequences that run at once.
    pub parallel: usize,
    /// Sequences that may wait.
    pub queue: usize,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self { context: 0, element: KvElement::F16, kv_bytes: 2 << 30, parallel: 16, queue: 64 }
    }
}

/// One answer that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Prompt, sampling and where to stop.
    pub generate: GenerateRequest,
    /// What penalties count as written before the answer.
    pub history: History,
    /// Whether the prompt's tokens are scored, with as many alternatives as the answer's.
    pub prompt_scores: PromptScores,
}

/// What the sampler counts as written before the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// The prompt, as llama.cpp counts.
    #[default]
    Prompt,
    /// Nothing, as OpenAI counts.
    Nothing,
}

/// Whether the prompt's tokens are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptScores {
    /// No.
    #[default]
    Skip,
    /// Those from this place of the prompt on; from the second, 1, at the earliest, as nothing predicts the first. Only
    /// what is before the token that predicts the first of them may be taken from what was cached.
    From(usize),
}

/// A token with what the model's own distribution says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens there, best first.
    pub top: Vec<(u32, f32)>,
}

/// What a [`Listener`] hears, in this order: prompt scores, tokens, and one end.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// The prompt's tokens that were to be scored.
    Prompt(Vec<Scored>),
    /// A token of the answer with the text that became certain with it, which may be empty. The token by which the
    /// model ends its answer is none of them.
    Token(Scored, String),
    /// The answer is complete.
    Done(Done),
    /// There is no answer, or no more of it; nothing follows.
    Failed(Failure),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Text that was held back.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Place of the stop string that ended it, in the request's list.
    pub stop: Option<usize>,
    /// The token by which the model ended it, which is not part of the text.
    pub end: Option<Scored>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt whose keys and values were there already.
    pub cached_tokens: usize,
    /// Tokens drawn, the one that ended it included.
    pub generated_tokens: usize,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The model gave logits that cannot be sampled from, all tokens are banned, or a grammar gave up.
    #[error("{0}")]
    Sampling(String),
    /// Our own fault.
    #[error("this request met an internal error and was ended; others go on")]
    Internal,
    /// The scheduler was stopped.
    #[error("the server was stopped")]
    Stopped,
}

/// Who asked. Called from worker threads, one call at a time.
pub trait Listener: Send {
    /// Takes the next update. It must not wait.
    fn update(&mut self, update: Update);
    /// Whether nobody listens any more: the sequence is then dropped.
    fn is_gone(&self) -> bool;
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The queue is full.
    #[error("{waiting} requests are waiting, which is as many as may; try again in {retry_after_s} s")]
    Full {
        /// Sequences that wait.
        waiting: usize,
        /// When it may be worth another try.
        retry_after_s: u64,
    },
    /// No more requests are taken.
    #[error("the server is shutting down")]
    Closing,
    /// The request cannot be answered.
    #[error(transparent)]
    Invalid(#[from] EngineError),
}

/// Answers requests on a model, many at once. Dropping it ends all answers.
pub struct Scheduler {
    shared: Arc<Shared>,
    model: Arc<Model>,
    options: SchedulerOptions,
    thread: Option<JoinHandle<()>>,
}

impl Scheduler {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the model has no tokenizer, the context is longer than the model's, or `kv_bytes` does not hold one
    /// context.
    pub fn start(model: Arc<Model>, ctx: Arc<Ctx>, options: SchedulerOptions) -> Result<Self, EngineError> {
        Self::speculating(model, ctx, options, None)
    }

    /// Starts a thread that has answers guessed.
    ///
    /// # Errors
    /// As [`Self::start`], and where the draft model has another vocabulary or a shorter context.
    pub fn speculating(
        model: Arc<Model>,
        ctx: Arc<Ctx>,
        mut options: SchedulerOptions,
        speculation: Option<Speculation>,
    ) -> Result<Self, EngineError> {
        model.tokenizer()?;
        options.context = keys::context(&model, &options)?;
        options.parallel = options.parallel.max(1);
        if let Some(speculation) = &speculation {
            speculation.check(&model, options.context)?;
        }
        let shared = Arc::new(Shared::new(options));
        let engine = Engine::new(shared.clone(), model.clone(), ctx, options, speculation);
        let thread = std::thread::Builder::new().name("lowbit-scheduler".into()).spawn(move || engine.run());
        let thread = Some(thread.map_err(|error| EngineError::Thread { why: error.to_string() })?);
        Ok(Self { shared, model, options, thread })
    }

    /// The model it answers with.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its options; the context is the one that was chosen.
    pub fn options(&self) -> SchedulerOptions {
        self.options
    }

    /// Puts the requests of one `client` into the queue, all of them or none.
    ///
    /// # Errors
    /// Where the queue is full or closed, or a request cannot be answered: no token, a token outside of the
    /// vocabulary, a prompt that leaves no room for a token, parameters out of range.
    pub fn submit(&self, client: &str, requests: Vec<(Request, Box<dyn Listener>)>) -> Result<(), Refused> {
        let submitted = Instant::now();
        let made = requests.into_iter().map(|(request, listener)| {
            let answer = self.answer(&request)?;
            Ok(Sequence::new(client, submitted, Prompt::of(request), answer, listener))
        });
        let made: Vec<Sequence> = made.collect::<Result<_, EngineError>>()?;
        let mut inbox = self.inbox();
        if inbox.phase != Phase::Open {
            return Err(Refused::Closing);
        }
        let waiting = inbox.waiting.len();
        if waiting >= self.options.queue.max(1) {
            inbox.stats.counters.refused += made.len() as u64;
            return Err(Refused::Full { waiting, retry_after_s: inbox.stats.wait_s(self.options.parallel) });
        }
        inbox.push(made);
        self.shared.wake.notify_all();
        Ok(())
    }

    /// What cannot be answered is refused here, on the caller's thread.
    fn answer(&self, request: &Request) -> Result<Answer, EngineError> {
        let GenerateRequest { prompt, max_tokens, .. } = &request.generate;
        let (vocab, capacity) = (self.model.spec().vocab, self.options.context);
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(index) = prompt.iter().position(|id| *id as usize >= vocab) {
            return Err(lowbit_model::ModelError::Token { index, id: prompt[index], vocab }.into());
        }
        let needed = prompt.len().saturating_add(max_tokens.unwrap_or(1));
        if needed > capacity {
            return Err(EngineError::ContextFull { needed, capacity });
        }
        let history: &[u32] = match request.history {
            History::Prompt => prompt,
            History::Nothing => &[],
        };
        Answer::new(self.model.tokenizer()?, vocab, &request.generate, history)
    }

    /// Where it stands.
    pub fn stats(&self) -> Stats {
        self.inbox().stats()
    }

    /// Whether requests are taken.
    pub fn is_open(&self) -> bool {
        self.inbox().phase == Phase::Open
    }

    /// Takes no more requests; those that are there are answered.
    pub fn drain(&self) {
        let mut inbox = self.inbox();
        if inbox.phase == Phase::Open {
            inbox.phase = Phase::Draining;
        }
        self.shared.wake.notify_all();
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.shared.inbox()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.inbox().phase = Phase::Stopped;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panic was its own; whoever listened has heard of it.
            let _ = thread.join();
        }
    }
}
