//! What waits, and who is next.

use super::{
    SchedulerOptions,
    sequence::Sequence,
    stats::{Record, Stats},
};
use std::sync::{Condvar, Mutex, MutexGuard};

/// What the scheduler and its thread share.
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    /// Something came, or the phase changed.
    pub(super) wake: Condvar,
}

/// Whether requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// No more, but those that are there are answered.
    Draining,
    /// No answers any more.
    Stopped,
}

/// Sequences that wait, and figures.
pub(super) struct Inbox {
    pub(super) phase: Phase,
    /// In no order.
    pub(super) waiting: Vec<Sequence>,
    pub(super) stats: Record,
    arrivals: u64,
}

impl Shared {
    pub(super) fn new(options: SchedulerOptions) -> Self {
        let stats = Record::new(options);
        let inbox = Inbox { phase: Phase::Open, waiting: Vec::new(), stats, arrivals: 0 };
        Self { inbox: Mutex::new(inbox), wake: Condvar::new() }
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until something may have changed.
    pub(super) fn wait<'a>(&'a self, inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        self.wake.wait(inbox).unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inbox {
    /// Puts new sequences at the end.
    pub(super) fn push(&mut self, sequences: Vec<Sequence>) {
        for mut sequence in sequences {
            sequence.arrival = self.arrivals;
            self.arrivals += 1;
            self.waiting.push(sequence);
        }
    }

    /// Drops those that nobody waits for.
    pub(super) fn drop_gone(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|sequence| !sequence.is_gone());
        self.stats.counters.cancelled += (before - self.waiting.len()) as u64;
    }

    /// Places of those that wait, the next first: by how many sequences of their client run, then by arrival.
    pub(super) fn order(&self, running: impl Fn(&str) -> usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.waiting.len()).collect();
        order.sort_by_cached_key(|place| {
            let sequence = &self.waiting[*place];
            (running(&sequence.client), sequence.arrival)
        });
        order
    }

    /// A copy of the figures.
    pub(super) fn stats(&self) -> Stats {
        Stats { waiting: self.waiting.len(), ..self.stats.stats() }
    }
}
