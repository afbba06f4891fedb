//! Which kernel multiplies a weight: its layout is decided once, when it is loaded, its kernel for every number of tokens.
//!
//! Kernels that accept a [`Query`] are candidates. Their times are those of a [`Record`], where the query was measured on
//! this machine (`lowbit tune`), else those of a model of their costs; the least wins. A layout is judged by what a
//! conversation costs with the best kernels that read it.

mod cost;
mod query;
mod record;
mod tune;

pub use query::{Query, Refusal, TokenBucket};
pub use record::{PlanKey, Record, Timing};
pub use tune::Subject;

use crate::list::{KERNELS, KernelCard, WeightLayout};

/// Chooses kernels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planner<'a> {
    record: Option<&'a Record>,
}

/// A kernel that computes a query, and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The kernel.
    pub card: &'static KernelCard,
    /// Seconds for the bucket's typical number of tokens.
    pub seconds: f64,
    /// Where that is from.
    pub source: Source,
}

/// Where a candidate's time is from. Measured ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The record of this machine.
    Measured,
    /// The cost model.
    Model,
}

/// Every kernel's answer to a query.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Those that compute it, the best first.
    pub candidates: Vec<Candidate>,
    /// Those that do not, and why.
    pub refused: Vec<(&'static KernelCard, Refusal)>,
}

/// A weight's layout and its kernel for every bucket of tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    layout: WeightLayout,
    kernels: [&'static KernelCard; TokenBucket::ALL.len()],
    seconds: f64,
}

impl Plan {
    /// What the weight is arranged as.
    pub fn layout(&self) -> WeightLayout {
        self.layout
    }

    /// The kernel for a number of tokens.
    pub fn kernel(&self, tokens: usize) -> &'static KernelCard {
        self.kernels[TokenBucket::of(tokens).index()]
    }

    /// Seconds that a conversation spends on the weight.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }
}

impl<'a> Planner<'a> {
    /// A planner that knows no measurements.
    pub const fn new() -> Self {
        Self { record: None }
    }

    /// A planner that goes by measurements where there are some.
    pub const fn with_record(record: &'a Record) -> Self {
        Self { record: Some(record) }
    }

    /// Every kernel's answer to a query.
    pub fn explain(&self, q: &Query<'_>) -> Explanation {
        let measured = self.record.map_or(&[][..], |record| record.get(&PlanKey::from(q)));
        let (mut candidates, mut refused) = (Vec::new(), Vec::new());
        for card in KERNELS {
            match card.accepts(q) {
                Ok(()) => candidates.push(match measured.iter().find(|timing| timing.card == card) {
                    Some(timing) => Candidate { card, seconds: timing.seconds, source: Source::Measured },
                    None => Candidate { card, seconds: cost::seconds(card, q), source: Source::Model },
                }),
                Err(why) => refused.push((card, why)),
            }
        }
        candidates.sort_by(|a, b| a.source.cmp(&b.source).then(a.seconds.total_cmp(&b.seconds)));
        Explanation { candidates, refused }
    }

    /// A plan for every layout that has kernels for all numbers of tokens, the best first; the query's own tokens do not
    /// matter. Weights as they are stored always have one.
    pub fn plans(&self, q: &Query<'_>) -> Vec<Plan> {
        let answers = TokenBucket::ALL.map(|tokens| self.explain(&q.at(tokens)).candidates);
        let best =
            |layout| answers.each_ref().map(|all| all.iter().find(|c| c.card.layout == layout).copied());
        let layouts: Vec<(WeightLayout, [Candidate; TokenBucket::ALL.len()])> = WeightLayout::ALL
            .into_iter()
            .filter_map(|layout| {
                let found: Vec<Candidate> = best(layout).into_iter().flatten().collect();
                Some((layout, found.try_into().ok()?))
            })
            .collect();
        // Times from different sources are not compared: where some buckets were measured in every layout, those decide.
        let measured = |i: usize| layouts.iter().all(|(_, best)| best[i].source == Source::Measured);
        let any = (0..TokenBucket::ALL.len()).any(measured);
        let cost = |i: usize, best: &Candidate| {
            if !any {
                return cost::seconds(best.card, &q.at(TokenBucket::ALL[i]));
            }
            if measured(i) { best.seconds } else { 0.0 }
        };
        let mut plans: Vec<Plan> = layouts
            .iter()
            .map(|(layout, best)| Plan {
                layout: *layout,
                kernels: best.map(|candidate| candidate.card),
                seconds: best.iter().enumerate().map(|(i, c)| CONVERSATION[i] * cost(i, c)).sum(),
            })
            .collect();
        plans.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        plans
    }
}

/// How many products of each bucket's typical number of tokens make a conversation: prompts of 512 tokens and answers of 256,
/// and a few batches of every other size.
const CONVERSATION: [f64; TokenBucket::ALL.len()] = [256.0, 4.0, 4.0, 4.0, 4.0];
