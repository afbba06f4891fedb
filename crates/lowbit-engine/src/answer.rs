//! An answer in the making: from logits to tokens, text, and the reason for its end. What sessions and the scheduler
//! have in common.

use crate::{
    EngineError, Finish, GenerateRequest,
    sampler::{Sampled, Sampler, StopMatcher, Vocab},
};
use lowbit_text::{Affixes, Grammar, SpecialText, SpecialTokens, StreamDecoder, TextStart, Tokenizer};
use std::borrow::Cow;

/// Draws the tokens of one answer and turns them into text.
pub(crate) struct Answer {
    sampler: Sampler,
    matcher: StopMatcher,
    decoder: StreamDecoder,
    grammar: Option<Grammar>,
    max_tokens: Option<usize>,
    /// Place of the stop string that ended it, in the list.
    pub(crate) stopped: Option<usize>,
    /// Tokens drawn, the one that ended it included.
    pub(crate) tokens: Vec<u32>,
}

/// A token of an answer.
pub(crate) struct Drawn {
    pub(crate) token: Sampled,
    /// Text that became certain with it.
    pub(crate) text: String,
    /// Whether the answer ends with it, by what the model or the text says.
    pub(crate) ends: Option<Finish>,
}

impl Answer {
    /// An answer without a token. The sampler counts `history` as written before.
    ///
    /// # Errors
    /// Where parameters or stop strings are out of range.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        size: usize,
        request: &GenerateRequest,
        history: &[u32],
    ) -> Result<Self, EngineError> {
        let mut sampler = Sampler::new(&request.sampling, &ModelVocab { tokenizer, size })?;
        history.iter().for_each(|token| sampler.accept(*token));
        Ok(Self {
            sampler,
            matcher: StopMatcher::new(&request.stop)?,
            decoder: StreamDecoder::new(SpecialText::Hide, TextStart::Continuation),
            grammar: request.grammar.clone(),
            max_tokens: request.max_tokens,
            stopped: None,
            tokens: Vec::new(),
        })
    }

    /// Whether it has as many tokens as were asked for.
    pub(crate) fn is_full(&self) -> bool {
        self.left() == 0
    }

    /// Tokens that may still be drawn, where there is a limit.
    pub(crate) fn left(&self) -> usize {
        self.max_tokens.map_or(usize::MAX, |most| most.saturating_sub(self.tokens.len()))
    }

    /// The next token, from the model's logits.
    ///
    /// # Errors
    /// Where logits cannot be sampled from, or the grammar gives up.
    pub(crate) fn draw(&mut self, tokenizer: &Tokenizer, logits: &[f32]) -> Result<Drawn, EngineError> {
        let token = match &mut self.grammar {
            None => self.sampler.sample(logits)?,
            Some(grammar) => {
                let allowed = grammar.allowed()?;
                self.sampler.sample_among(logits, |id| allowed.contains(id))?
            }
        };
        self.tokens.push(token.id);
        let mut text = String::new();
        if tokenizer.is_end_of_generation(token.id) {
            return Ok(Drawn { token, text, ends: Some(Finish::EndOfText) });
        }
        let mut complete = None;
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token.id)?;
            complete = grammar.is_complete().then_some(Finish::Grammar);
        }
        let stopped = self.matcher.push(&self.decoder.push(tokenizer, token.id)?, &mut text);
        self.stopped = stopped.map(|stop| stop.index);
        Ok(Drawn { token, text, ends: self.stopped.map(|_| Finish::StopString).or(complete) })
    }

    /// What the model's own distribution says of a token that was not drawn.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub(crate) fn score(&mut self, logits: &[f32], id: u32) -> Result<Sampled, EngineError> {
        Ok(self.sampler.score(logits, id)?)
    }

    /// Text that was held back until the end came: the beginning of a stop string, an incomplete character.
    pub(crate) fn rest(&mut self, finish: Finish) -> String {
        let mut rest = String::new();
        if finish != Finish::StopString {
            let decoder = StreamDecoder::new(SpecialText::Hide, TextStart::Continuation);
            let held = std::mem::replace(&mut self.decoder, decoder).finish();
            if self.matcher.push(&held, &mut rest).is_none() {
                self.matcher.finish(&mut rest);
            }
        }
        rest
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
