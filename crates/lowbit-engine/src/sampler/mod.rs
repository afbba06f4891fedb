//! From logits to the next token.
//!
//! A [`Sampler`] belongs to one text. At each step it takes the model's logits for the whole vocabulary and
//!
//! 1. adds the logit biases,
//! 2. runs the stages that [`SamplingParams`] switch on, in the order of [`STAGES`] or the one given,
//! 3. runs Mirostat, if asked for, in place of the truncating stages,
//! 4. draws one token of what is left, by the softmax of what has become of the logits.
//!
//! # Same seed, same text
//!
//! Given the same logits the choice is the same on every platform: random numbers come from PCG64 and from nowhere
//! else, exponentials and logarithms are computed by the same instructions everywhere (`numeric.rs`), sums run in a
//! fixed order, ties go to the lowest id, and the order of the candidates does not depend on a sorting algorithm. One
//! thread does it all. Whether the logits are the same is up to the model and its kernels.
//!
//! # Log-probabilities
//!
//! [`Sampled::logprob`] and [`Sampled::top`] are those of the model: the softmax of the logits as they came, before
//! bias, penalties, temperature and truncation. This is the meaning of `logprobs` in OpenAI's API.
//!
//! # Cost
//!
//! A step takes a few linear passes over the vocabulary, no full sort unless a stage has to keep nearly everything,
//! and no allocation once its buffers have grown, except for [`Sampled::top`] where alternatives are asked for.

mod candidates;
mod dry;
mod dry_breakers;
mod error;
#[cfg(test)]
mod laws;
mod logit_bias;
mod min_p;
mod mirostat;
mod numeric;
mod params;
mod penalties;
mod rng;
mod stage;
mod stop;
mod temperature;
#[cfg(test)]
mod testing;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical;
mod vocab;
mod xtc;

pub use dry::Dry;
pub use error::SamplerError;
pub use mirostat::Mirostat;
pub use params::{MAX_TOP_LOGPROBS, SamplingParams};
pub use penalties::Penalties;
pub use stage::{Effect, STAGES, StageEntry};
pub use stop::{LONGEST_STOP, MOST_STOPS, Stop, StopMatcher};
pub use temperature::DynamicTemperature;
pub use vocab::Vocab;
pub use xtc::Xtc;

use candidates::{Candidate, Candidates, Mass, select_top};
use logit_bias::LogitBias;
use lowbit_kernels::{Isa, ops::logit_mass};
use mirostat::MirostatState;
use rng::Rng;
use stage::{Stage, Step, resolve_order};

/// Draws the tokens of one text.
#[derive(Debug)]
pub struct Sampler {
    seed: u64,
    vocab_size: usize,
    top_logprobs: usize,
    bias: LogitBias,
    stages: Vec<Box<dyn Stage>>,
    mirostat: Option<MirostatState>,
    rng: Rng,
    history: Vec<u32>,
    candidates: Candidates,
    top: Vec<Candidate>,
}

/// A token that was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability in the model's own distribution.
    pub logprob: f32,
    /// The model's most probable tokens with the logarithms of their probabilities, best first: as many as
    /// [`SamplingParams::top_logprobs`], fewer only if the model gives no more tokens a probability above zero. The
    /// token drawn need not be among them.
    pub top: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler with an empty history. Refuses parameters out of range and settings that contradict each other.
    pub fn new(params: &SamplingParams, vocab: &dyn Vocab) -> Result<Self, SamplerError> {
        params.validate()?;
        let vocab_size = vocab.size();
        if vocab_size == 0 || u32::try_from(vocab_size).is_err() {
            return Err(SamplerError::VocabSize { size: vocab_size });
        }
        Ok(Self {
            seed: params.seed,
            vocab_size,
            top_logprobs: params.top_logprobs as usize,
            bias: LogitBias::new(&params.logit_bias, vocab_size)?,
            stages: build_stages(params, vocab)?,
            mirostat: params.mirostat.as_ref().map(MirostatState::new),
            rng: Rng::from_seed(params.seed),
            history: Vec::new(),
            candidates: Candidates::new(),
            top: Vec::new(),
        })
    }

    /// Draws the next token from the model's logits, one for each token of the vocabulary, and records it.
    ///
    /// A logit of negative infinity marks a token that cannot be chosen. NaN and positive infinity are errors, as is
    /// a step in which no token can be chosen; the history is then as before.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Sampled, SamplerError> {
        if !self.stages.is_empty() || self.mirostat.is_some() || !self.bias.is_empty() {
            return self.sample_among(logits, |_| true);
        }
        // The model's own distribution, which is known already: with a large vocabulary a list of candidates takes as
        // long as a part of the model.
        let model = self.check(logits)?;
        let tokens = logits.iter().zip(0u32..).map(|(&logit, id)| Candidate { id, logit });
        let drawn = draw(tokens, &model, &mut self.rng);
        self.accept(drawn.id);
        Ok(self.report(logits, &model, drawn.id))
    }

    /// As [`Self::sample`], from the tokens that are allowed alone. Log-probabilities are the model's own all the same.
    pub fn sample_among(
        &mut self,
        logits: &[f32],
        allowed: impl Fn(u32) -> bool,
    ) -> Result<Sampled, SamplerError> {
        let model = self.run_stages(logits, allowed)?;
        let mass = self.candidates.mass();
        let drawn = draw(self.candidates.as_slice().iter().copied(), &mass, &mut self.rng);
        if let Some(mirostat) = &mut self.mirostat {
            mirostat.observe(mass.weight(drawn.logit) / mass.total);
        }
        self.accept(drawn.id);

        Ok(self.report(logits, &model, drawn.id))
    }

    /// What the model's own distribution says of `id`, as [`Self::sample`] reports a token that it drew. Nothing is
    /// recorded.
    pub fn score(&mut self, logits: &[f32], id: u32) -> Result<Sampled, SamplerError> {
        let model = self.check(logits)?;
        if id as usize >= self.vocab_size {
            return Err(SamplerError::OutsideVocab { id, vocab_size: self.vocab_size });
        }
        Ok(self.report(logits, &model, id))
    }

    fn report(&mut self, logits: &[f32], model: &Mass, id: u32) -> Sampled {
        let ln_total = model.ln_total();
        let logprob = |logit: f32| (f64::from(logit) - f64::from(model.max) - ln_total) as f32;
        let tokens = logits.iter().zip(0u32..).map(|(&logit, id)| Candidate { id, logit });
        let top = if self.top_logprobs == 0 {
            Vec::new()
        } else {
            select_top(tokens, self.top_logprobs, &mut self.top);
            self.top.iter().map(|token| (token.id, logprob(token.logit))).collect()
        };
        Sampled { id, logprob: logprob(logits[id as usize]), top }
    }

    /// The distribution that [`Self::sample`] would draw from, as tokens with their probabilities in no particular
    /// order. It draws no token and records none, but a stage that acts by chance takes its random number.
    pub fn distribution(&mut self, logits: &[f32]) -> Result<Vec<(u32, f64)>, SamplerError> {
        self.run_stages(logits, |_| true)?;
        let mass = self.candidates.mass();
        let probability = |c: &Candidate| (c.id, mass.weight(c.logit) / mass.total);
        Ok(self.candidates.as_slice().iter().map(probability).collect())
    }

    /// Records a token that was not drawn here: one of the prompt, or one that was forced.
    ///
    /// Penalties and DRY see it. An id outside the vocabulary takes part in their matching and penalizes nothing.
    pub fn accept(&mut self, token: u32) {
        self.history.push(token);
        for stage in &mut self.stages {
            stage.accept(&self.history);
        }
    }

    /// Tokens recorded so far, prompt and drawn.
    pub fn history(&self) -> &[u32] {
        &self.history
    }

    /// Back to the state after [`Self::new`], with the same seed.
    pub fn reset(&mut self) {
        self.history.clear();
        self.rng = Rng::from_seed(self.seed);
        self.stages.iter_mut().for_each(|stage| stage.reset());
        if let Some(mirostat) = &mut self.mirostat {
            mirostat.reset();
        }
    }

    /// Leaves the tokens to draw from in `candidates`, and says what the model's own distribution sums to.
    fn run_stages(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) -> Result<Mass, SamplerError> {
        let model = self.check(logits)?;
        self.candidates.fill(logits, allowed);
        self.bias.apply(&mut self.candidates);
        if self.candidates.is_empty() {
            return Err(SamplerError::NoCandidates);
        }
        let mut step = Step { history: &self.history, rng: &mut self.rng };
        for stage in &mut self.stages {
            stage.apply(&mut self.candidates, &mut step);
        }
        if let Some(mirostat) = &self.mirostat {
            mirostat.truncate(&mut self.candidates);
        }
        Ok(model)
    }

    fn check(&self, logits: &[f32]) -> Result<Mass, SamplerError> {
        if logits.len() != self.vocab_size {
            return Err(SamplerError::LogitCount { found: logits.len(), expected: self.vocab_size });
        }
        let is_bad = |logit: f32| logit.is_nan() || logit == f32::INFINITY;
        // The level does not matter: every one gives the same bits.
        let (max, total) = logit_mass(Isa::detect(), logits);
        if max == f32::INFINITY {
            let (id, value) =
                (0u32..).zip(logits).find(|(_, logit)| is_bad(**logit)).expect("one was just seen");
            return Err(SamplerError::BadLogit { id, value: value.to_string() });
        }
        if max == f32::NEG_INFINITY {
            return Err(SamplerError::NoCandidates);
        }
        Ok(Mass { max, total })
    }
}

/// The stages that are on, in their order, after a look at settings that contradict each other.
fn build_stages(params: &SamplingParams, vocab: &dyn Vocab) -> Result<Vec<Box<dyn Stage>>, SamplerError> {
    let order = resolve_order(params)?;
    let defaults = SamplingParams::default();
    for entry in STAGES {
        let in_order = order.iter().any(|other| other.name == entry.name);
        let asked_for = !(entry.same)(params, &defaults) && (entry.build)(params, vocab)?.is_some();
        if asked_for && !in_order {
            return Err(SamplerError::StageNotInOrder { name: entry.name });
        }
        let named = params.order.is_some() && in_order;
        if params.mirostat.is_some() && entry.effect.truncates() && (asked_for || named) {
            return Err(SamplerError::MirostatWithTruncation { name: entry.name });
        }
    }

    let mut active = Vec::with_capacity(order.len());
    for entry in order {
        if params.mirostat.is_some() && entry.effect.truncates() {
            continue;
        }
        if let Some(stage) = (entry.build)(params, vocab)? {
            active.push((entry.effect, stage));
        }
    }
    // Without temperature only the best token counts, which stages that keep it cannot change.
    let greedy = params.temperature == 0.0 && params.dynamic_temperature.range == 0.0;
    if greedy && active.iter().all(|(effect, _)| *effect != Effect::TruncatesAnywhere) {
        active.retain(|(effect, _)| *effect != Effect::TruncatesTail);
    }
    Ok(active.into_iter().map(|(_, stage)| stage).collect())
}

/// Inverts the cumulative distribution, in the order of the candidates.
fn draw(candidates: impl Iterator<Item = Candidate>, mass: &Mass, rng: &mut Rng) -> Candidate {
    let target = rng.uniform() * mass.total;
    let mut sum = 0.0;
    let mut last = Candidate { id: 0, logit: mass.max };
    for candidate in candidates {
        let weight = mass.weight(candidate.logit);
        if weight > 0.0 {
            sum += weight;
            last = candidate;
            if sum > target {
                break;
            }
        }
    }
    // If rounding left the sum below the target, the last token of any weight is the one.
    last
}
