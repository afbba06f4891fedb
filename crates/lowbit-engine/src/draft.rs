//! Speculative decoding: guesses at the tokens that follow, which one pass of the model confirms or refuses.
//!
//! A pass reads all weights once, for one token or for several. Where somebody guesses what comes next, the guesses go
//! along, and the pass gives the logits after each: a token is drawn from the first as ever; where it is the one that was guessed,
//! the next is drawn from the logits that are there already. What is drawn is what would have been drawn without guesses,
//! greedily or by chance, wherever logits do not depend on how many tokens a pass has.
//!
//! Y. Leviathan, M. Kalman, Y. Matias: Fast Inference from Transformers via Speculative Decoding, ICML 2023,
//! arXiv:2211.17192. There a guess that is drawn by chance is confirmed by chance (algorithm 1). Guesses here are certain, so that
//! drawing from the model's distribution and comparing is the same: one with probability p is confirmed in p of all cases.
//! Guessing by look-up is A. Saxena's prompt look-up decoding (2023).

use crate::{EngineError, Model, session::common};
use lowbit_kernels::Ctx;
use lowbit_model::{KvCache, KvElement, Logits};
use std::sync::Arc;

/// Tokens that a draft model reads before it guesses; where more are new to it, it guesses later.
const READING_TOKENS: usize = 512;
/// Tokens that must have come before in the same order for what followed them to be a guess: as many of these as there are.
const LOOKED_UP: std::ops::RangeInclusive<usize> = 2..=4;

/// Who guesses, and how much.
#[derive(Clone)]
pub struct Speculation {
    /// A smaller model of the same vocabulary; without one, what followed the last tokens when they came before.
    pub draft: Option<Arc<Model>>,
    /// Most tokens that are guessed at a time.
    pub most: usize,
}

impl std::fmt::Debug for Speculation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let draft = self.draft.as_ref().map(|draft| draft.path());
        f.debug_struct("Speculation").field("draft", &draft).field("most", &self.most).finish()
    }
}

impl Speculation {
    /// # Errors
    /// Where the draft model has another vocabulary than `model`, or was made for less than `context` tokens.
    pub(crate) fn check(&self, model: &Model, context: usize) -> Result<(), EngineError> {
        let Some(draft) = &self.draft else { return Ok(()) };
        let (ours, theirs) = (model.tokenizer()?, draft.tokenizer()?);
        let (vocab, draft_vocab) = (model.spec().vocab, draft.spec().vocab);
        let differs =
            (0..vocab.max(draft_vocab) as u32).find(|id| ours.token_bytes(*id) != theirs.token_bytes(*id));
        if vocab != draft_vocab || differs.is_some() {
            return Err(EngineError::DraftVocabulary { vocab, draft: draft_vocab, differs });
        }
        let most = draft.spec().longest();
        if context > most {
            return Err(EngineError::DraftContext { context, most });
        }
        Ok(())
    }
}

/// Guesses for one sequence.
pub(crate) struct Drafter {
    draft: Option<DraftModel>,
    most: usize,
    /// How many tokens are guessed next.
    next: usize,
}

impl Drafter {
    /// `element` and `context` are of the cache of the model that confirms, which [`Speculation::check`] has seen.
    ///
    /// # Errors
    /// Where there is no cache to be had.
    pub(crate) fn new(
        speculation: &Speculation,
        ctx: &Arc<Ctx>,
        (context, element): (usize, KvElement),
    ) -> Result<Self, EngineError> {
        let draft = speculation.draft.as_ref();
        let draft = draft.map(|draft| DraftModel::new(draft, ctx, (context, element))).transpose()?;
        Ok(Self { draft, most: speculation.most, next: speculation.most })
    }

    /// What may follow `tokens`, at most `room` of them; possibly nothing.
    ///
    /// # Errors
    /// Where the draft model refuses the tokens.
    pub(crate) fn guess(&mut self, tokens: &[u32], room: usize) -> Result<Vec<u32>, EngineError> {
        let most = self.next.min(room);
        match &mut self.draft {
            _ if most == 0 => Ok(Vec::new()),
            None => Ok(look_up(tokens, most).to_vec()),
            Some(draft) => draft.guess(tokens, most),
        }
    }

    /// That the first `right` of the last guesses were right: next time there are twice as many.
    pub(crate) fn learn(&mut self, right: usize) {
        self.next = (2 * right).clamp(1, self.most);
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.draft.as_ref().map_or(0, |draft| draft.cache.bytes())
    }
}

/// What followed the last tokens when they came before: the most tokens of [`LOOKED_UP`] that did, the last time they did.
fn look_up(tokens: &[u32], most: usize) -> &[u32] {
    for len in LOOKED_UP.rev() {
        let Some(before) = tokens.len().checked_sub(len) else { continue };
        let last = &tokens[before..];
        // An occurrence that ends where the last begins or later has something after it.
        let found = tokens[..tokens.len() - 1].windows(len).rposition(|window| window == last);
        if let Some(place) = found {
            let follows = &tokens[place + len..];
            return &follows[..follows.len().min(most)];
        }
    }
    &[]
}

/// A smaller model that reads along.
struct DraftModel {
    model: Arc<Model>,
    ctx: Arc<Ctx>,
    /// Those in the cache.
    tokens: Vec<u32>,
    cache: KvCache,
    logits: Vec<f32>,
}

impl DraftModel {
    fn new(
        draft: &Arc<Model>,
        ctx: &Arc<Ctx>,
        (context, element): (usize, KvElement),
    ) -> Result<Self, EngineError> {
        let cache = draft.decoder().cache(context, element)?;
        Ok(Self { model: draft.clone(), ctx: ctx.clone(), tokens: Vec::new(), cache, logits: Vec::new() })
    }

    /// The most probable tokens, one after the other.
    fn guess(&mut self, tokens: &[u32], most: usize) -> Result<Vec<u32>, EngineError> {
        let same = common(&self.tokens, tokens);
        // The last is read again where nothing else is left: its logits are wanted.
        let same = same.min(tokens.len() - 1);
        self.tokens.truncate(same);
        self.cache.truncate(same);
        let new = &tokens[same..];
        if new.len() > READING_TOKENS {
            self.read(&new[..READING_TOKENS], Logits::None)?;
            return Ok(Vec::new());
        }
        let mut guesses = Vec::with_capacity(most);
        self.read(new, Logits::Last)?;
        loop {
            let best = self.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let Some((best, _)) = best else { return Ok(guesses) };
            guesses.push(best as u32);
            if guesses.len() == most {
                return Ok(guesses);
            }
            self.read(&[best as u32], Logits::Last)?;
        }
    }

    fn read(&mut self, tokens: &[u32], want: Logits) -> Result<(), EngineError> {
        self.model.decoder().forward(&self.ctx, tokens, &mut self.cache, want, &mut self.logits)?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_last_tokens_is_looked_up_by_as_many_of_them_as_came_before() {
        // The last four came before, and later the last two did.
        let tokens = [1, 2, 3, 4, 5, 6, 9, 3, 4, 7, 1, 2, 3, 4];
        assert_eq!(look_up(&tokens, 3), [5, 6, 9]);
        assert_eq!(look_up(&tokens, 1), [5]);
        assert_eq!(look_up(&[3, 4, 7, 8, 3, 4], 9), [7, 8, 3, 4]);
        // One token in common is none; nothing is before the first.
        assert!(look_up(&[5, 1, 2, 5], 4).is_empty());
        assert!(look_up(&[1], 4).is_empty());
        assert!(look_up(&[], 4).is_empty());
        // A run of the same token follows itself.
        assert_eq!(look_up(&[8, 8, 8], 4), [8]);
    }

    #[test]
    fn guesses_grow_while_they_are_right() {
        let mut drafter = Drafter { draft: None, most: 8, next: 8 };
        let mut next = |right| {
            drafter.learn(right);
            drafter.next
        };
        assert_eq!([0, 1, 2, 4, 8, 3, 0].map(&mut next), [1, 2, 4, 8, 8, 6, 1]);
    }
}
