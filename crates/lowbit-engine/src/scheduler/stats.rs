//! Figures of a scheduler since it was started.

use super::{SchedulerOptions, sequence::Sequence};
use std::time::{Duration, Instant};

/// Where a scheduler stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Sequences in the queue.
    pub waiting: usize,
    /// Sequences that run.
    pub running: usize,
    /// Bytes of keys and values, those kept of finished sequences included.
    pub kv_bytes: usize,
    /// Bytes that there may be.
    pub kv_budget_bytes: usize,
    /// Sums since the start.
    pub counters: Counters,
    /// Seconds from the request to the first token.
    pub first_token_s: Histogram,
    /// Seconds from one token of an answer to the next.
    pub next_token_s: Histogram,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers that were completed.
    pub completed: u64,
    /// Requests whose client went away.
    pub cancelled: u64,
    /// Requests that ended in an error.
    pub failed: u64,
    /// Requests that found the queue full.
    pub refused: u64,
    /// Times a sequence stepped back into the queue for want of memory.
    pub preempted: u64,
    /// Passes that a panic ended: a fault of ours, to be reported.
    pub panics: u64,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were found in a cache.
    pub cached_tokens: u64,
    /// Tokens drawn.
    pub generated_tokens: u64,
    /// Tokens that were guessed, and went through the model to be confirmed or refused.
    pub guessed_tokens: u64,
    /// Those of them that were right.
    pub guessed_right: u64,
    /// Passes through the model.
    pub steps: u64,
}

/// How often durations up to some bound were seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// For each of [`Histogram::BOUNDS`] the observations up to it and above the bound before.
    pub counts: [u64; Self::BOUNDS.len()],
    /// All observations, those above the last bound included.
    pub count: u64,
    /// Their sum.
    pub sum_s: f64,
}

impl Histogram {
    /// Upper bounds, in seconds.
    pub const BOUNDS: [f64; 12] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

    pub(super) fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(place) = Self::BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.counts[place] += 1;
        }
        self.count += 1;
        self.sum_s += seconds;
    }
}

/// The figures as they are kept.
pub(super) struct Record {
    stats: Stats,
    pub(super) counters: Counters,
    /// A running mean of the seconds from request to end.
    answer_s: f64,
}

/// Weight of the newest answer in the running mean.
const NEWEST: f64 = 0.2;

impl Record {
    pub(super) fn new(options: SchedulerOptions) -> Self {
        let stats = Stats { kv_budget_bytes: options.kv_bytes, ..Stats::default() };
        Self { stats, counters: Counters::default(), answer_s: 1.0 }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { counters: self.counters, ..self.stats.clone() }
    }

    /// What is the case after a step.
    pub(super) fn set(&mut self, running: usize, kv_bytes: usize) {
        (self.stats.running, self.stats.kv_bytes) = (running, kv_bytes);
    }

    /// Tokens were drawn: as many as the sequence has more than it was counted for.
    pub(super) fn tokens(&mut self, sequence: &mut Sequence, now: Instant) {
        let drawn = sequence.generated_tokens() - sequence.counted;
        sequence.counted += drawn;
        self.counters.generated_tokens += drawn as u64;
        for _ in 0..drawn {
            match sequence.last_token.replace(now) {
                None => self.stats.first_token_s.observe(now - sequence.submitted),
                Some(last) => self.stats.next_token_s.observe(now - last),
            }
        }
    }

    /// An answer is complete.
    pub(super) fn completed(&mut self, took: Duration) {
        self.counters.completed += 1;
        self.answer_s += NEWEST * (took.as_secs_f64() - self.answer_s);
    }

    /// Seconds until one of `parallel` places is likely to be free.
    pub(super) fn wait_s(&self, parallel: usize) -> u64 {
        (self.answer_s / parallel.max(1) as f64).ceil().clamp(1.0, 60.0) as u64
    }
}
