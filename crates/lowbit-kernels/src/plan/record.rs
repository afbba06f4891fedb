//! Measured times, by what was measured.

use super::{Query, TokenBucket};
use crate::{ActRounding, IsaLevel, list::KernelCard};
use lowbit_format::NK;
use std::collections::BTreeMap;

/// What a measurement is of: a [`Query`] in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanKey {
    /// Label of the format.
    pub format: String,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Tokens at once.
    pub tokens: TokenBucket,
    /// Name of the rounding of activations.
    pub activations: &'static str,
    /// The instructions in use.
    pub isa: IsaLevel,
    /// Workers.
    pub threads: usize,
}

impl From<&Query<'_>> for PlanKey {
    fn from(q: &Query<'_>) -> Self {
        let NK { n, k } = q.shape;
        Self {
            format: q.spec.label(),
            n,
            k,
            tokens: q.tokens,
            activations: ActRounding::label(q.rounding),
            isa: q.isa,
            threads: q.threads,
        }
    }
}

/// The best time of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// The kernel.
    pub card: &'static KernelCard,
    /// Seconds for a product, activations made ready included.
    pub seconds: f64,
}

/// Times of every candidate that was measured on this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    times: BTreeMap<PlanKey, Vec<Timing>>,
}

impl Record {
    /// Replaces what is known of a key.
    pub fn insert(&mut self, key: PlanKey, times: Vec<Timing>) {
        self.times.insert(key, times);
    }

    /// Times of a key, none where it was not measured.
    pub fn get(&self, key: &PlanKey) -> &[Timing] {
        self.times.get(key).map_or(&[], Vec::as_slice)
    }

    /// Everything, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&PlanKey, &[Timing])> {
        self.times.iter().map(|(key, times)| (key, times.as_slice()))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}
