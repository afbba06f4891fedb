//! Which kernel multiplies a weight: its layout is decided once, when it is loaded, its kernel for every number of tokens.
//!
//! Kernels that accept a [`Query`] are candidates. Their times are those of a [`Record`], where the query was measured on
//! this machine (`lowbit tune`), else those of a model of their costs; the least wins.
//!
//! Kernels of one layout compute the same bits, but for activations of 8 bits, which tables and expanded planes round otherwise;
//! kernels of different layouts need not. So a layout is left to measurements
//! where there are some, and judged by what a conversation costs with the best kernels that read it; without, it is the
//! format's own: the first of [`WeightLayout::ALL`] that it can have, on every machine the same. Weights whose activations
//! nobody shares are judged by the model then.

mod cost;
mod query;
mod record;
mod tune;

pub use query::{Query, Refusal, TokenBucket};
pub use record::{PlanKey, Record, Timing};
pub use tune::Subject;

use crate::{
    Lookup, Method, TableBits,
    list::{KERNELS, KernelCard, WeightLayout},
};

/// Chooses kernels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planner<'a> {
    record: Option<&'a Record>,
    batch_invariant: bool,
    alone: bool,
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
        Self { record: None, batch_invariant: false, alone: false }
    }

    /// A planner that goes by measurements where there are some.
    pub const fn with_record(record: &'a Record) -> Self {
        Self { record: Some(record), batch_invariant: false, alone: false }
    }

    /// Only plans whose kernels give the same bits for every number of tokens: of bit planes with activations of 8 bits either
    /// those that look up or those that multiply.
    #[must_use]
    pub const fn batch_invariant(self, wanted: bool) -> Self {
        Self { batch_invariant: wanted, ..self }
    }

    /// For weights whose activations no other weight reads, and of which there are few rows: what is made of activations may
    /// cost more than the product. One worker multiplies them, so that the plan is the same for any number.
    #[must_use]
    pub const fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
    }

    /// Sets of kernels, of each layout one for a plan.
    fn sets(&self) -> &'static [fn(&KernelCard) -> bool] {
        const ANY: &[fn(&KernelCard) -> bool] = &[|_| true];
        const ALIKE: &[fn(&KernelCard) -> bool] = &[rounds_sums, |card| !rounds_sums(card)];
        if self.batch_invariant { ALIKE } else { ANY }
    }

    /// The query, of one worker where weights are multiplied by one.
    pub fn of_workers<'q>(&self, q: &Query<'q>) -> Query<'q> {
        Query { threads: if self.alone { 1 } else { q.threads }, ..*q }
    }

    /// Every kernel's answer to a query.
    pub fn explain(&self, q: &Query<'_>) -> Explanation {
        let q = &self.of_workers(q);
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
        let best = |layout, set: &fn(&KernelCard) -> bool| {
            let of =
                |all: &Vec<Candidate>| all.iter().find(|c| c.card.layout == layout && set(c.card)).copied();
            let found: Vec<Candidate> = answers.iter().filter_map(of).collect();
            <[Candidate; TokenBucket::ALL.len()]>::try_from(found).ok()
        };
        let time =
            |best: &[Candidate]| -> f64 { best.iter().zip(CONVERSATION).map(|(c, n)| n * c.seconds).sum() };
        let layouts: Vec<(WeightLayout, [Candidate; TokenBucket::ALL.len()])> = WeightLayout::ALL
            .into_iter()
            .filter_map(|layout| {
                let found = self.sets().iter().filter_map(|set| best(layout, set));
                Some((layout, found.min_by(|a, b| time(a).total_cmp(&time(b)))?))
            })
            .collect();
        // Layouts are compared by the buckets that were measured in all of them.
        let measured = |i: usize| layouts.iter().all(|(_, best)| best[i].source == Source::Measured);
        let any = (0..TokenBucket::ALL.len()).any(measured);
        let cost = |i: usize, best: &Candidate| if any && !measured(i) { 0.0 } else { best.seconds };
        let mut plans: Vec<Plan> = layouts
            .iter()
            .map(|(layout, best)| Plan {
                layout: *layout,
                kernels: best.map(|candidate| candidate.card),
                seconds: best.iter().enumerate().map(|(i, c)| CONVERSATION[i] * cost(i, c)).sum(),
            })
            .collect();
        if let (true, Some(Plan { layout: own, .. })) = (any || self.alone, plans.first().copied()) {
            let judged = |plan: &Plan| plan.seconds * if plan.layout == own { OWN } else { 1.0 };
            plans.sort_by(|a, b| judged(a).total_cmp(&judged(b)));
        }
        plans
    }
}

/// Whether a kernel rounds sums of activations, which another that multiplies does not.
fn rounds_sums(card: &KernelCard) -> bool {
    matches!(card.method, Method::Lookup(Lookup { bits: TableBits::Eight, .. }))
}

/// What a format's own layout is charged of its measured time: noise does not change a layout.
const OWN: f64 = 0.95;

/// How many products of each bucket's typical number of tokens make a conversation: prompts of 512 tokens and answers of 256,
/// and a few batches of every other size.
const CONVERSATION: [f64; TokenBucket::ALL.len()] = [256.0, 4.0, 4.0, 4.0, 4.0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActRounding, IsaLevel};
    use lowbit_format::{NK, WeightSpec};

    fn query(spec: &WeightSpec) -> Query<'_> {
        Query {
            spec,
            shape: NK { n: 4096, k: 4096 },
            tokens: TokenBucket::One,
            rounding: Some(ActRounding::Group32Twice),
            isa: IsaLevel::Avx512,
            threads: 2,
        }
    }

    /// Times for every candidate of every bucket: what `of` says in units of what the cost model does.
    fn record(q: &Query<'_>, of: impl Fn(&KernelCard, TokenBucket) -> f64) -> Record {
        let mut record = Record::default();
        for tokens in TokenBucket::ALL {
            let q = q.at(tokens);
            let candidates = Planner::new().explain(&q).candidates;
            let time = |c: &Candidate| Timing { card: c.card, seconds: c.seconds * of(c.card, tokens) };
            record.insert(PlanKey::from(&q), candidates.iter().map(time).collect());
        }
        record
    }

    #[test]
    fn without_measurements_few_tokens_are_multiplied_in_registers_and_a_prompt_from_expanded_panels() {
        let spec = WeightSpec::parse("q4_k").unwrap();
        let plan = Planner::new().plans(&query(&spec))[0];
        assert_eq!(plan.layout(), WeightLayout::Fields);
        assert_eq!(plan.kernel(1).name, "packed-dot-avx512");
        assert_eq!(plan.kernel(512).name, "packed-expand-avx512");
        let spec = WeightSpec::parse("int2-asym-g128").unwrap();
        let plan = Planner::new().plans(&query(&spec))[0];
        assert_eq!(plan.layout(), WeightLayout::Planes);
        assert_eq!(plan.kernel(1).name, "lut-16bit-once-avx512");
        assert_eq!(plan.kernel(512).name, "lut-16bit-tiled-avx512");
        let spec = WeightSpec::parse("int4-asym-g128").unwrap();
        let plan = Planner::new().plans(&query(&spec))[0];
        assert_eq!(plan.kernel(1).name, "lut-16bit-once-avx512");
        assert_eq!(plan.kernel(512).name, "planes-expand-avx512");
    }

    #[test]
    fn the_kernel_is_the_fastest_measured_one_that_reads_the_layout() {
        let spec = WeightSpec::parse("q4_0").unwrap();
        let q = query(&spec);
        let record = record(&q, |card, tokens| match card.name {
            "packed-expand-avx512" if tokens == TokenBucket::One => 0.01,
            _ => 1.0,
        });
        let planner = Planner::with_record(&record);
        let plan = planner.plans(&q)[0];
        assert_eq!(plan.kernel(1).name, "packed-expand-avx512");
        for tokens in TokenBucket::ALL {
            let candidates = planner.explain(&q.at(tokens)).candidates;
            let best = candidates.iter().find(|c| c.card.layout == plan.layout()).unwrap();
            assert_eq!(best.card, plan.kernel(tokens.typical()));
            assert!(candidates.iter().all(|c| c.source == Source::Measured));
        }
    }

    #[test]
    fn a_layout_is_judged_by_a_conversation() {
        let spec = WeightSpec::parse("q4_0").unwrap();
        let q = query(&spec);
        let prompts = record(&q, |card, tokens| {
            if tokens == TokenBucket::More && card.layout == WeightLayout::Stored { 0.9 } else { 1.0 }
        });
        assert_eq!(Planner::with_record(&prompts).plans(&q)[0].layout(), WeightLayout::Fields);
        let all = record(&q, |card, _| if card.layout == WeightLayout::Stored { 0.01 } else { 1.0 });
        assert_eq!(Planner::with_record(&all).plans(&q)[0].layout(), WeightLayout::Stored);
    }

    #[test]
    fn a_gain_as_small_as_noise_does_not_change_a_layout() {
        let spec = WeightSpec::parse("q4_0").unwrap();
        let q = query(&spec);
        for (stored, expected) in [(0.98, WeightLayout::Fields), (0.9, WeightLayout::Stored)] {
            let mut record = Record::default();
            for tokens in TokenBucket::ALL {
                let q = q.at(tokens);
                let seconds =
                    |c: &Candidate| if c.card.layout == WeightLayout::Stored { stored } else { 1.0 };
                let candidates = Planner::new().explain(&q).candidates;
                let times = candidates.iter().map(|c| Timing { card: c.card, seconds: seconds(c) }).collect();
                record.insert(PlanKey::from(&q), times);
            }
            assert_eq!(Planner::with_record(&record).plans(&q)[0].layout(), expected, "{stored}");
        }
    }

    #[test]
    fn what_one_worker_multiplies_has_the_same_plan_for_any_number_of_workers() {
        let spec = WeightSpec::parse("int4-sym-tensor").unwrap();
        for (n, k) in [(8, 64), (16, 96), (64, 896), (64, 4096), (128, 4096)] {
            let plan = |threads| {
                let q = Query { shape: NK { n, k }, threads, ..query(&spec) };
                Planner::new().alone(true).plans(&q)[0]
            };
            assert!((2..9).all(|threads| plan(threads) == plan(1)), "{n} {k}");
        }
    }

    #[test]
    fn measurements_of_another_number_of_workers_are_not_used() {
        let spec = WeightSpec::parse("q4_0").unwrap();
        let q = query(&spec);
        let record = record(&q, |_, _| 1.0);
        let other = Query { threads: 3, ..q };
        let candidates = Planner::with_record(&record).explain(&other).candidates;
        assert!(candidates.iter().all(|c| c.source == Source::Model));
    }
}
