//! One sequence: its tokens and their cached keys and values.

use crate::{EngineError, Model, Speculation, draft::Drafter};
use lowbit_kernels::Ctx;
use lowbit_model::{KvCache, KvElement, Logits, Profile};
use std::sync::Arc;

/// Tokens of a prompt that go through the model at a time: enough to be bound by arithmetic, few enough that an
/// interrupted prompt ends soon.
const PREFILL_BATCH: usize = 512;

/// A sequence on a model. Its text is whatever tokens were fed, in order.
pub struct Session<'m> {
    model: &'m Model,
    ctx: &'m Ctx,
    cache: KvCache,
    element: KvElement,
    tokens: Vec<u32>,
    logits: Vec<f32>,
    drafter: Option<Drafter>,
}

impl<'m> Session<'m> {
    /// An empty sequence of at most `context` tokens; 0 stands for all that the model was made for. Memory for keys
    /// and values is taken as tokens come.
    ///
    /// # Errors
    /// Where the context is longer than the model's.
    pub fn new(
        model: &'m Model,
        ctx: &'m Ctx,
        context: usize,
        element: KvElement,
    ) -> Result<Self, EngineError> {
        let most = model.spec().longest();
        if context > most {
            return Err(EngineError::ContextTooLong { asked: context, most });
        }
        let capacity = if context == 0 { most } else { context };
        let cache = model.decoder().cache(capacity, element)?;
        Ok(Self { model, ctx, cache, element, tokens: Vec::new(), logits: Vec::new(), drafter: None })
    }

    /// The model it runs on.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Workers.
    pub fn threads(&self) -> usize {
        self.ctx.threads()
    }

    /// Tokens fed so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that still fit.
    pub fn room(&self) -> usize {
        self.cache.capacity() - self.tokens.len()
    }

    /// Tokens that fit in all.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Bytes that keys and values take.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Lets answers be guessed from here on, by a draft model on `ctx`.
    ///
    /// # Errors
    /// Where the draft model has another vocabulary or a shorter context.
    pub fn speculate(&mut self, speculation: &Speculation, ctx: &Arc<Ctx>) -> Result<(), EngineError> {
        let cache = (self.cache.capacity(), self.element);
        speculation.check(self.model, self.cache.capacity())?;
        self.drafter = Some(Drafter::new(speculation, ctx, cache)?);
        Ok(())
    }

    /// What may follow, at most `room` tokens; nothing where nobody guesses.
    pub(crate) fn guess(&mut self, next: u32, room: usize) -> Result<Vec<u32>, EngineError> {
        let Some(drafter) = &mut self.drafter else { return Ok(Vec::new()) };
        self.tokens.push(next);
        let guessed = drafter.guess(&self.tokens, room);
        self.tokens.pop();
        guessed
    }

    /// Forgets guesses but for the first `right`.
    pub(crate) fn confirm(&mut self, guessed: usize, right: usize) {
        self.truncate(self.tokens.len() - (guessed - right));
        if let Some(drafter) = self.drafter.as_mut().filter(|_| guessed > 0) {
            drafter.learn(right);
        }
    }

    /// Counts from here on where the time of [`feed`](Self::feed) goes, from zero.
    pub fn start_profile(&mut self) {
        self.cache.profile = Some(Profile::default());
    }

    /// What was counted since; ends the counting.
    pub fn take_profile(&mut self) -> Option<Profile> {
        self.cache.profile.take()
    }

    /// Logits of the last [`feed`](Self::feed).
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Keeps from here on what [`streams`](Self::streams) returns: a row of floats for every token and block.
    pub fn keep_streams(&mut self) {
        self.cache.streams = Some(Vec::new());
    }

    /// The residual stream after every block of the last [`feed`](Self::feed): a row for each of its tokens, blocks one
    /// after the other. Of the last block only tokens whose logits were wanted have a row. Empty where none are kept.
    pub fn streams(&self) -> &[f32] {
        self.cache.streams.as_deref().unwrap_or_default()
    }

    /// Forgets all tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        let len = len.min(self.tokens.len());
        self.cache.truncate(len);
        self.tokens.truncate(len);
    }

    /// Feeds tokens and returns logits for the wanted ones of them, a row for each.
    ///
    /// # Errors
    /// Where they do not fit, or one is not in the vocabulary; the sequence is as before then.
    pub fn feed(&mut self, tokens: &[u32], want: Logits) -> Result<&[f32], EngineError> {
        if tokens.len() > self.room() {
            let (needed, capacity) = (self.tokens.len() + tokens.len(), self.cache.capacity());
            return Err(EngineError::ContextFull { needed, capacity });
        }
        self.model.decoder().forward(self.ctx, tokens, &mut self.cache, want, &mut self.logits)?;
        self.tokens.extend_from_slice(tokens);
        Ok(&self.logits)
    }

    /// Makes the sequence exactly `tokens`, keeping what it has in common with them, and returns the logits after the
    /// last. `step` is told how many tokens remain, before each batch, and stops the work by returning false.
    ///
    /// # Errors
    /// Where there is no token, or they do not fit.
    pub fn prefill(
        &mut self,
        tokens: &[u32],
        mut step: impl FnMut(usize) -> bool,
    ) -> Result<Option<&[f32]>, EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if tokens.len() > self.cache.capacity() {
            return Err(EngineError::ContextFull { needed: tokens.len(), capacity: self.cache.capacity() });
        }
        let common = common(&self.tokens, tokens);
        // The last token is fed again where nothing else is left: its logits are wanted.
        self.truncate(common.min(tokens.len() - 1));
        while self.tokens.len() < tokens.len() {
            let rest = &tokens[self.tokens.len()..];
            if !step(rest.len()) {
                return Ok(None);
            }
            let batch = rest.len().min(PREFILL_BATCH);
            let want = if batch == rest.len() { Logits::Last } else { Logits::None };
            self.feed(&rest[..batch], want)?;
        }
        Ok(Some(&self.logits))
    }
}

/// Tokens that two sequences begin with.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
