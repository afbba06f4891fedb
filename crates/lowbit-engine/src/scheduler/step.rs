//! The thread: who joins, what goes through the model in a step, what becomes of the logits.

use super::{
    Failure, SchedulerOptions,
    keys::Keys,
    queue::{Inbox, Phase, Shared},
    sequence::{Progress, Sequence},
};
use crate::{EngineError, Model, Speculation, draft::Drafter, session::common};
use lowbit_kernels::Ctx;
use lowbit_model::{KvCache, Logits, Sequence as Rows, Work};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Instant,
};

/// Tokens of a step where nobody is being answered: enough to be bound by arithmetic.
const READING_TOKENS: usize = 512;
/// Tokens of prompts in a step that others wait in for their next token.
const READING_BESIDE_WRITING: usize = 128;
/// Numbers of all logits of a step that are kept for scoring prompts.
const SCORED_NUMBERS: usize = 1 << 24;
/// Tokens of a step with guesses in it, those of all sequences together: from there on a token more costs as much as one.
const GUESSING_TOKENS: usize = 16;
/// Tokens that another sequence is about to compute, from which on it is worth waiting for them.
const WORTH_WAITING: usize = 32;

/// A sequence that runs.
struct Running {
    sequence: Sequence,
    cache: KvCache,
    /// Guesses what it says next, where anything does.
    drafter: Option<Drafter>,
    /// Tokens that it brings to the step, guesses included.
    count: usize,
    /// Guesses among them.
    guessed: usize,
}

impl Running {
    fn pending(&self) -> usize {
        self.sequence.tokens.len() - self.cache.len()
    }

    fn is_writing(&self) -> bool {
        self.pending() == 1
    }
}

/// What a step made of a sequence.
enum Outcome {
    Went(Progress),
    Failed(Failure),
}

pub(super) struct Engine {
    shared: Arc<Shared>,
    model: Arc<Model>,
    ctx: Arc<Ctx>,
    options: SchedulerOptions,
    speculation: Option<Speculation>,
    keys: Keys,
    running: Vec<Running>,
    work: Work,
    logits: Vec<f32>,
}

impl Engine {
    pub(super) fn new(
        shared: Arc<Shared>,
        model: Arc<Model>,
        ctx: Arc<Ctx>,
        options: SchedulerOptions,
        speculation: Option<Speculation>,
    ) -> Self {
        let keys = Keys::new(&options);
        let (running, work, logits) = (Vec::new(), Work::default(), Vec::new());
        Self { shared, model, ctx, options, speculation, keys, running, work, logits }
    }

    /// Until the scheduler is stopped, or drained.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        // Also where this thread panics: nobody may wait for ever.
        let _closing = Closing(&shared);
        while self.gather(&shared) {
            self.make_room();
            self.plan();
            self.step();
        }
        self.running.drain(..).for_each(|running| running.sequence.fail(Failure::Stopped));
    }

    /// Waits for work and lets sequences in; false at the end.
    fn gather(&mut self, shared: &Shared) -> bool {
        let mut inbox = shared.inbox();
        loop {
            inbox.drop_gone();
            self.drop_gone(&mut inbox);
            let idle = inbox.waiting.is_empty() && self.running.is_empty();
            if inbox.phase == Phase::Stopped || inbox.phase == Phase::Draining && idle {
                return false;
            }
            if idle {
                inbox.stats.set(0, self.keys.kept_bytes());
                inbox = shared.wait(inbox);
                continue;
            }
            while let Some(sequence) = self.next(&mut inbox) {
                self.admit(sequence, &mut inbox);
            }
            inbox.stats.set(self.running.len(), self.running_bytes(0) + self.keys.kept_bytes());
            if !self.running.is_empty() {
                return true;
            }
        }
    }

    /// Sequences that nobody waits for leave their keys and values behind.
    fn drop_gone(&mut self, inbox: &mut Inbox) {
        let gone: Vec<Running> = self.running.extract_if(.., |running| running.sequence.is_gone()).collect();
        inbox.stats.counters.cancelled += gone.len() as u64;
        gone.into_iter().for_each(|running| self.keys.keep(running.sequence.tokens, running.cache));
    }

    /// The sequence that joins next, if one may.
    fn next(&self, inbox: &mut Inbox) -> Option<Sequence> {
        if self.running.len() >= self.options.parallel {
            return None;
        }
        let of_client =
            |client: &str| self.running.iter().filter(|running| running.sequence.client == client).count();
        for place in inbox.order(of_client) {
            let sequence = &inbox.waiting[place];
            if self.is_worth_waiting(&sequence.tokens[..sequence.reusable()]) {
                continue;
            }
            let needed = self.keys.bytes(&self.model, sequence.tokens.len());
            let fits = self.running.is_empty() || self.keys.has_room(self.running_bytes(0) + needed);
            // Nobody overtakes for being small.
            return fits.then(|| inbox.waiting.swap_remove(place));
        }
        None
    }

    /// Whether a sequence that runs is about to compute more of these tokens than are there now.
    fn is_worth_waiting(&self, tokens: &[u32]) -> bool {
        let (mut now, mut soon) = (self.keys.common(tokens), 0);
        for Running { sequence, cache, .. } in &self.running {
            let same = common(&sequence.tokens, tokens);
            now = now.max(same.min(cache.len()));
            soon = soon.max(same);
        }
        soon >= now + WORTH_WAITING
    }

    fn admit(&mut self, mut sequence: Sequence, inbox: &mut Inbox) {
        let reusable = &sequence.tokens[..sequence.reusable()];
        let running = self.running.iter().map(|running| (&running.sequence.tokens[..], &running.cache));
        match self.keys.open(&self.model, reusable, running) {
            Ok(cache) => {
                if sequence.cached_tokens.is_none() {
                    sequence.cached_tokens = Some(cache.len());
                    inbox.stats.counters.cached_tokens += cache.len() as u64;
                }
                // What is wrong with a draft model was said at the start.
                let drafter = self.drafter().ok().flatten();
                self.running.push(Running { sequence, cache, drafter, count: 0, guessed: 0 });
            }
            Err(_) => {
                inbox.stats.counters.failed += 1;
                sequence.fail(Failure::Internal);
            }
        }
    }

    /// What guesses for a sequence, where anything does.
    fn drafter(&self) -> Result<Option<Drafter>, EngineError> {
        let SchedulerOptions { context, element, .. } = self.options;
        let new = |speculation| Drafter::new(speculation, &self.ctx, (context, element));
        self.speculation.as_ref().map(new).transpose()
    }

    /// Bytes of the running sequences when each has got `more` tokens.
    fn running_bytes(&self, more: usize) -> usize {
        let bytes = |running: &Running| {
            let tokens = running.cache.len() + more.min(running.pending());
            let draft = running.drafter.as_ref().map_or(0, Drafter::bytes);
            running.cache.bytes().max(self.keys.bytes(&self.model, tokens)) + draft
        };
        self.running.iter().map(bytes).sum()
    }

    /// Lets sequences step back until the next step has room for the others.
    fn make_room(&mut self) {
        while !self.keys.make_room(self.running_bytes(READING_TOKENS)) && self.running.len() > 1 {
            let youngest = (0..self.running.len()).max_by_key(|i| self.running[*i].sequence.arrival);
            let Running { sequence, .. } = self.running.swap_remove(youngest.unwrap_or(0));
            let mut inbox = self.shared.inbox();
            inbox.stats.counters.preempted += 1;
            inbox.waiting.push(sequence);
        }
    }

    /// How many tokens everyone brings. A token of every answer; what is left is shared evenly by prompts, the oldest
    /// first where it does not come out even.
    fn plan(&mut self) {
        self.running.sort_by_key(|running| running.sequence.arrival);
        self.running.iter_mut().for_each(|running| (running.count, running.guessed) = (0, 0));
        // One that may make the model panic goes alone.
        if let Some(suspect) = self.running.iter_mut().find(|running| running.sequence.suspect) {
            suspect.count = suspect.pending().min(READING_TOKENS);
            return self.limit_scored();
        }
        let writing = self.running.iter().filter(|running| running.is_writing()).count();
        let mut reading = self.running.len() - writing;
        let mut left = if writing > 0 { READING_BESIDE_WRITING } else { READING_TOKENS };
        for running in &mut self.running {
            running.count = 1;
            if !running.is_writing() {
                running.count = running.pending().min(left.div_ceil(reading).max(1));
                (reading, left) = (reading - 1, left.saturating_sub(running.count));
            }
        }
        self.guess(GUESSING_TOKENS.checked_div(writing).unwrap_or(0));
        self.limit_scored();
    }

    /// Adds guesses to what sequences bring that are being answered, so that each has at most `most` tokens.
    fn guess(&mut self, most: usize) {
        let context = self.options.context;
        let writing = |running: &&mut Running| running.is_writing() && !running.sequence.is_scored();
        for running in self.running.iter_mut().filter(writing) {
            let Running { sequence, drafter: Some(drafter), count, guessed, .. } = running else { continue };
            let room = sequence.guessable(context).min(most.saturating_sub(*count));
            let guess = || drafter.guess(&sequence.tokens, room);
            match catch_unwind(AssertUnwindSafe(guess)) {
                Ok(Ok(guesses)) => {
                    sequence.add_guesses(&guesses);
                    (*count, *guessed) = (*count + guesses.len(), guesses.len());
                }
                // The answer does without.
                Ok(Err(_)) | Err(_) => running.drafter = None,
            }
        }
    }

    /// Logits of scored prompts are large: as many of their tokens, over all of them, as memory is meant for.
    fn limit_scored(&mut self) {
        let mut left = SCORED_NUMBERS / self.model.spec().vocab;
        for running in self.running.iter_mut().filter(|running| running.sequence.is_scored()) {
            running.count = running.count.min(left.max(1));
            left = left.saturating_sub(running.count);
        }
    }

    /// One pass through the model.
    fn step(&mut self) {
        let Self { model, ctx, work, logits, running, .. } = self;
        let wants: Vec<Logits> =
            running.iter().map(|running| running.sequence.want(running.cache.len(), running.count)).collect();
        let mut rows: Vec<Rows<'_>> = Vec::with_capacity(running.len());
        for (Running { sequence, cache, count, .. }, want) in running.iter_mut().zip(&wants) {
            let tokens = &sequence.tokens[cache.len()..][..*count];
            rows.push(Rows { tokens, cache, want: *want });
        }
        let pass = || {
            #[cfg(test)]
            tests::panic_at_fault(&rows);
            model.decoder().forward_batch(ctx, &mut rows, work, logits)
        };
        let passed = catch_unwind(AssertUnwindSafe(pass));
        drop(rows);
        match passed {
            Ok(Ok(())) => self.take_logits(&wants),
            // Refused before anything was computed: not by what we know of these tokens and caches.
            Ok(Err(_)) | Err(_) => self.suspect_all(),
        }
    }

    /// Nothing is known of caches after a panic. Who was alone is ended, the others are computed again, one by one.
    fn suspect_all(&mut self) {
        self.work = Work::default();
        let mut inbox = self.shared.inbox();
        inbox.stats.counters.panics += 1;
        let in_step = |running: &mut Running| running.count > 0;
        let mut suspects: Vec<Running> = self.running.extract_if(.., in_step).collect();
        if suspects.len() == 1 {
            inbox.stats.counters.failed += 1;
            suspects.drain(..).for_each(|running| running.sequence.fail(Failure::Internal));
        }
        for Running { mut sequence, .. } in suspects {
            sequence.suspect = true;
            sequence.take_guesses();
            inbox.waiting.push(sequence);
        }
    }

    /// Draws a token for everyone whose logits there are, on all workers.
    fn take_logits(&mut self, wants: &[Logits]) {
        let vocab = self.model.spec().vocab;
        let Ok(tokenizer) = self.model.tokenizer() else { return };
        let mut rest = &self.logits[..];
        let mut tasks = Vec::with_capacity(self.running.len());
        for (running, want) in self.running.iter_mut().zip(wants) {
            let wanted = match want {
                Logits::From(from) => running.count - from,
                _ => 0,
            };
            let (rows, others) = rest.split_at(wanted * vocab);
            rest = others;
            tasks.push(Mutex::new((running, rows, None)));
        }
        self.ctx.run(tasks.len(), |task, _| {
            let mut task = tasks[task].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let (running, rows, outcome) = &mut *task;
            let (end, context) = (running.cache.len(), self.options.context);
            let sequence = &mut running.sequence;
            let advance = || sequence.advance((rows, vocab), end, (tokenizer, context));
            *outcome = Some(match catch_unwind(AssertUnwindSafe(advance)) {
                Ok(Ok(progress)) => Outcome::Went(progress),
                Ok(Err(error)) => Outcome::Failed(failure(&error)),
                Err(_) => Outcome::Failed(Failure::Internal),
            });
        });
        let outcomes = tasks.into_iter().map(|task| {
            let (running, _, outcome) = task.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            (running.count, outcome)
        });
        let outcomes: Vec<(usize, Option<Outcome>)> = outcomes.collect();
        self.settle(outcomes);
    }

    /// Counts, and lets those go that are over.
    fn settle(&mut self, outcomes: Vec<(usize, Option<Outcome>)>) {
        let shared = self.shared.clone();
        let (mut inbox, now) = (shared.inbox(), Instant::now());
        let stats = &mut inbox.stats;
        stats.counters.steps += 1;
        let all = std::mem::take(&mut self.running);
        for (mut running, (count, outcome)) in all.into_iter().zip(outcomes) {
            let sequence = &mut running.sequence;
            // A token that was drawn before is one of the answer, not of the prompt.
            let before = running.cache.len() - count;
            let read = sequence.prompt_tokens().clamp(before, before + count) - before;
            stats.counters.prompt_tokens += read as u64;
            if let Some(Outcome::Went(Progress::Wrote { right } | Progress::Over { right, .. })) = outcome {
                stats.tokens(sequence, now);
                stats.counters.guessed_tokens += running.guessed as u64;
                stats.counters.guessed_right += right as u64;
                running.cache.truncate(running.cache.len() - (running.guessed - right));
                if let Some(drafter) = running.drafter.as_mut().filter(|_| running.guessed > 0) {
                    drafter.learn(right);
                }
            }
            match outcome {
                None | Some(Outcome::Went(Progress::Reading)) => self.running.push(running),
                Some(Outcome::Went(Progress::Wrote { .. })) => {
                    sequence.suspect = false;
                    self.running.push(running);
                }
                Some(Outcome::Went(Progress::Over { .. })) => {
                    stats.completed(now - sequence.submitted);
                    self.keys.keep(running.sequence.tokens, running.cache);
                }
                Some(Outcome::Failed(failure)) => {
                    stats.counters.failed += 1;
                    running.sequence.fail(failure);
                }
            }
        }
    }
}

fn failure(error: &EngineError) -> Failure {
    match error {
        EngineError::Sampling(_) | EngineError::Encode(_) => Failure::Sampling(error.to_string()),
        _ => Failure::Internal,
    }
}

/// Stops taking requests when dropped, and tells those that wait.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox();
        inbox.phase = Phase::Stopped;
        inbox.waiting.drain(..).for_each(|sequence| sequence.fail(Failure::Stopped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        GenerateRequest, LoadOptions,
        sampler::SamplingParams,
        scheduler::{Listener, Request, Scheduler, Update},
    };
    use lowbit_kernels::Isa;
    use lowbit_testing::{Template, tiny_gguf};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A token that no other test of this crate uses.
    const FAULT: u32 = 3 + 0x01;

    pub(super) fn panic_at_fault(rows: &[Rows<'_>]) {
        assert!(!rows.iter().any(|rows| rows.tokens.contains(&FAULT)), "the fault that a test asked for");
    }

    struct Channel(Sender<Update>);

    impl Listener for Channel {
        fn update(&mut self, update: Update) {
            let bad = matches!(&update, Update::Token(_, text) if text == "\u{2}");
            self.0.send(update).unwrap();
            assert!(!bad, "a listener that panics");
        }

        fn is_gone(&self) -> bool {
            false
        }
    }

    fn request(text: &str) -> (Request, Box<dyn Listener>, Receiver<Update>) {
        let prompt = text.bytes().map(|byte| u32::from(byte) + 3).collect();
        let sampling = SamplingParams::greedy();
        let generate = GenerateRequest { prompt, sampling, max_tokens: Some(8), ..Default::default() };
        let (sender, receiver) = channel();
        (Request { generate, ..Request::default() }, Box::new(Channel(sender)), receiver)
    }

    #[test]
    fn a_panic_in_a_step_ends_the_request_it_was_for_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        tiny_gguf(Template::None).write(&path).unwrap();
        let ctx = Arc::new(Ctx::new(Isa::detect(), 2));
        let model = Arc::new(Model::load(&ctx, &path, LoadOptions::default()).unwrap());
        let scheduler = Scheduler::start(model, ctx, SchedulerOptions::default()).unwrap();
        let answer = |texts: &[&str]| {
            let (requests, heard): (Vec<_>, Vec<_>) =
                texts.iter().map(|text| request(text)).map(|(a, b, c)| ((a, b), c)).unzip();
            scheduler.submit("one", requests).unwrap();
            heard.into_iter().map(|heard| heard.iter().collect()).collect::<Vec<Vec<Update>>>()
        };
        let alone = [answer(&["a good one"]), answer(&["another that is good"])].concat();
        let mixed = answer(&["a good one", "bad \u{1}", "another that is good"]);
        assert_eq!(mixed[1], [Update::Failed(Failure::Internal)]);
        for (mixed, alone) in [&mixed[0], &mixed[2]].into_iter().zip(&alone) {
            // How much was cached differs, the tokens do not.
            assert_eq!(mixed[..8], alone[..8]);
            assert!(matches!(mixed[8], Update::Done(_)), "{mixed:?}");
        }
        let counters = scheduler.stats().counters;
        // In company, then alone.
        assert_eq!((counters.failed, counters.panics), (1, 2));
    }

    #[test]
    fn a_listener_that_panics_ends_its_request_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        tiny_gguf(Template::None).write(&path).unwrap();
        let ctx = Arc::new(Ctx::new(Isa::detect(), 2));
        let model = Arc::new(Model::load(&ctx, &path, LoadOptions::default()).unwrap());
        let scheduler = Scheduler::start(model, ctx, SchedulerOptions::default()).unwrap();
        let (mut bad, listener, bad_heard) = request("hello");
        // Only this token can be drawn.
        bad.generate.sampling.logit_bias = (0..259).filter(|id| *id != 5).map(|id| (id, -100.0)).collect();
        let (good, good_listener, good_heard) = request("hello");
        scheduler.submit("one", vec![(bad, listener), (good, good_listener)]).unwrap();
        assert_eq!(bad_heard.iter().last(), Some(Update::Failed(Failure::Internal)));
        assert!(matches!(good_heard.iter().last(), Some(Update::Done(_))));
    }
}
