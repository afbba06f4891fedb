//! Keys and values of all sequences: a budget of bytes, and what finished sequences left behind for others that begin
//! alike.

use super::SchedulerOptions;
use crate::{EngineError, Model, session::common};
use lowbit_model::{KvCache, KvElement};

/// Finished sequences whose keys and values are kept at most: each is looked at for every new request.
const MOST_KEPT: usize = 256;
/// Tokens in common from which on copying is worth more than it costs in memory.
const WORTH_COPYING: usize = 16;
/// Tokens by which the memory of a cache grows.
const STEP: usize = 256;

/// The context of every sequence: as asked for, else what the model was made for and memory holds.
///
/// # Errors
/// Where it is longer than the model's, or memory does not hold it.
pub(super) fn context(model: &Model, options: &SchedulerOptions) -> Result<usize, EngineError> {
    let most = model.spec().longest();
    if options.context > most {
        return Err(EngineError::ContextTooLong { asked: options.context, most });
    }
    let bytes = |tokens| model.decoder().cache_bytes(tokens, options.element);
    let fits = options.kv_bytes / bytes(STEP).max(1) * STEP;
    let context = if options.context == 0 { most.min(fits) } else { options.context };
    if context == 0 || bytes(context) > options.kv_bytes {
        let context = context.max(1);
        return Err(EngineError::KvMemory { given: options.kv_bytes, fits, context, needed: bytes(context) });
    }
    Ok(context)
}

/// What is left of a finished sequence: tokens whose keys and values are in the cache.
struct Kept {
    tokens: Vec<u32>,
    cache: KvCache,
}

/// Caches of sequences that do not run, the one used last at the end.
pub(super) struct Keys {
    element: KvElement,
    context: usize,
    budget: usize,
    kept: Vec<Kept>,
}

impl Keys {
    pub(super) fn new(options: &SchedulerOptions) -> Self {
        let SchedulerOptions { element, context, kv_bytes: budget, .. } = *options;
        Self { element, context, budget, kept: Vec::new() }
    }

    /// Bytes that a cache takes when it holds `tokens`, at least.
    pub(super) fn bytes(&self, model: &Model, tokens: usize) -> usize {
        model.decoder().cache_bytes(tokens, self.element)
    }

    /// Bytes of what is kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.iter().map(|kept| kept.cache.bytes()).sum()
    }

    /// Forgets what was not used for the longest time until `running` bytes fit beside the rest; whether they do.
    pub(super) fn make_room(&mut self, running: usize) -> bool {
        let mut held = self.kept_bytes();
        let mut forgotten = 0;
        while running.saturating_add(held) > self.budget && forgotten < self.kept.len() {
            held -= self.kept[forgotten].cache.bytes();
            forgotten += 1;
        }
        self.kept.drain(..forgotten);
        running <= self.budget
    }

    /// Whether so many bytes are within the budget when nothing is kept.
    pub(super) fn has_room(&self, running: usize) -> bool {
        running <= self.budget
    }

    /// Tokens that the best kept sequence has in common with `tokens`.
    pub(super) fn common(&self, tokens: &[u32]) -> usize {
        self.kept.iter().map(|kept| common(&kept.tokens, tokens)).max().unwrap_or(0)
    }

    /// A cache with a beginning of `tokens`: taken over or copied from what is kept or from `running`, the tokens and
    /// caches of sequences that run. Empty where nothing begins alike.
    pub(super) fn open<'a>(
        &mut self,
        model: &Model,
        tokens: &[u32],
        running: impl Iterator<Item = (&'a [u32], &'a KvCache)>,
    ) -> Result<KvCache, EngineError> {
        let alike = running.map(|(other, cache)| (common(&other[..cache.len()], tokens), cache));
        let best_running = alike.max_by_key(|(same, _)| *same).filter(|(same, _)| *same >= WORTH_COPYING);
        let kept = self.kept.iter().enumerate().map(|(i, kept)| (common(&kept.tokens, tokens), i));
        let best_kept = kept.max_by_key(|(same, _)| *same).filter(|(same, _)| *same > 0);
        match (best_kept, best_running) {
            (Some((same, _)), Some((more, cache))) if more > same => Ok(cache.prefix(more)),
            (None, Some((same, cache))) => Ok(cache.prefix(same)),
            (Some((same, place)), _) => {
                let mut kept = self.kept.remove(place);
                // A turn of the same conversation; else another one that begins alike, and may go on itself.
                if same * 4 >= kept.tokens.len() * 3 {
                    kept.cache.truncate(same);
                    return Ok(kept.cache);
                }
                let copy = (same >= WORTH_COPYING).then(|| kept.cache.prefix(same));
                self.kept.push(kept);
                copy.map_or_else(|| self.empty(model), Ok)
            }
            (None, None) => self.empty(model),
        }
    }

    fn empty(&self, model: &Model) -> Result<KvCache, EngineError> {
        Ok(model.decoder().cache(self.context, self.element)?)
    }

    /// Keeps what a sequence leaves behind, in place of what it contains.
    pub(super) fn keep(&mut self, mut tokens: Vec<u32>, cache: KvCache) {
        tokens.truncate(cache.len());
        if tokens.is_empty() {
            return;
        }
        self.kept.retain(|kept| !tokens.starts_with(&kept.tokens));
        if self.kept.len() == MOST_KEPT {
            self.kept.remove(0);
        }
        self.kept.push(Kept { tokens, cache });
    }
}
