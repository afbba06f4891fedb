//! The tokens still in the running, with their logits, and the linear-time operations stages are made of.
//!
//! The list is always in one of two orders, both independent of how any library sorts: by id, as the model gave
//! it, or best first (largest logit, then lowest id). The choice walks the list, so a fixed order is part of the
//! promise that a seed gives the same text.

use std::cmp::Ordering;

use super::numeric::{exp_non_positive, lane_max, lane_sum, ln};

/// One token and its current logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: u32,
    pub(super) logit: f32,
}

/// Largest logit first; equal logits by lowest id.
pub(super) fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    // Logits are never NaN here: the model's are checked and `edit` keeps them finite.
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    ById,
    BestFirst,
}

/// The candidates of one step. Never empty once filled.
#[derive(Debug)]
pub(super) struct Candidates {
    items: Vec<Candidate>,
    order: Order,
    scratch: Vec<Candidate>,
}

/// Sum of the candidates' weights `exp(logit − max)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mass {
    pub(super) max: f32,
    pub(super) total: f64,
}

impl Mass {
    /// `exp(logit − max)`, not yet divided by the total.
    #[inline(always)]
    pub(super) fn weight(&self, logit: f32) -> f64 {
        f64::from(exp_non_positive(logit - self.max))
    }

    pub(super) fn ln_total(&self) -> f64 {
        ln(self.total)
    }
}

impl Candidates {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), order: Order::ById, scratch: Vec::new() }
    }

    /// Takes the model's logits of allowed tokens; one with negative infinity is no candidate.
    pub(super) fn fill(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) {
        self.items.clear();
        self.items.reserve(logits.len());
        let tokens = logits.iter().zip(0u32..).map(|(&logit, id)| Candidate { id, logit });
        self.items.extend(tokens.filter(|token| token.logit > f32::NEG_INFINITY && allowed(token.id)));
        self.order = Order::ById;
    }

    pub(super) fn as_slice(&self) -> &[Candidate] {
        &self.items
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn max_logit(&self) -> f32 {
        match self.order {
            Order::BestFirst => self.items.first().map_or(f32::NEG_INFINITY, |best| best.logit),
            Order::ById => lane_max(&self.items, |c| c.logit),
        }
    }

    pub(super) fn mass(&self) -> Mass {
        let max = self.max_logit();
        let total = lane_sum(&self.items, |c| f64::from(exp_non_positive(c.logit - max)));
        Mass { max, total }
    }

    /// Shannon entropy of the softmax in nats: `ln Z − Σ wᵢ·(lᵢ − max) / Z`, with no logarithm per token.
    pub(super) fn entropy(&self, mass: &Mass) -> f64 {
        let weighted = lane_sum(&self.items, |c| {
            let below_max = c.logit - mass.max;
            let weight = exp_non_positive(below_max);
            if weight > 0.0 { f64::from(weight) * f64::from(below_max) } else { 0.0 }
        });
        mass.ln_total() - weighted / mass.total
    }

    /// Back to the order of ids, in which [`Self::edit`] finds a token.
    pub(super) fn order_by_id(&mut self) {
        if self.order != Order::ById {
            self.items.sort_unstable_by_key(|c| c.id);
            self.order = Order::ById;
        }
    }

    /// Changes the logit of one token, if it is still a candidate, and keeps it finite.
    ///
    /// The list must be in the order of ids.
    pub(super) fn edit(&mut self, id: u32, change: impl FnOnce(f32) -> f32) {
        debug_assert_eq!(self.order, Order::ById);
        if let Some(index) = self.position(id) {
            let logit = &mut self.items[index].logit;
            *logit = change(*logit).clamp(f32::MIN, f32::MAX);
        }
    }

    fn position(&self, id: u32) -> Option<usize> {
        // Nothing dropped below this id is the common case: the place is the id.
        if self.items.get(id as usize).is_some_and(|c| c.id == id) {
            return Some(id as usize);
        }
        self.items.binary_search_by_key(&id, |c| c.id).ok()
    }

    /// Replaces every logit; `change` must not swap any two of them.
    pub(super) fn map_monotone(&mut self, change: impl Fn(f32) -> f32) {
        for candidate in &mut self.items {
            candidate.logit = change(candidate.logit);
        }
        // Rounding may have made two logits equal that were not: restore the order among equals.
        if self.order == Order::BestFirst {
            self.items.sort_unstable_by(best_first);
        }
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Candidate) -> bool) {
        self.items.retain(keep);
    }

    /// Keeps the candidates with logits of at least `lowest`.
    pub(super) fn retain_from(&mut self, lowest: f32) {
        match self.order {
            Order::BestFirst => self.items.truncate(self.items.partition_point(|c| c.logit >= lowest)),
            Order::ById => self.items.retain(|c| c.logit >= lowest),
        }
    }

    /// Keeps the best candidate only.
    pub(super) fn keep_best(&mut self) {
        if let Some(best) = self.items.iter().copied().min_by(best_first) {
            self.items.clear();
            self.items.push(best);
        }
    }

    /// Keeps the `k` best, best first. Linear in the number of candidates.
    pub(super) fn keep_top(&mut self, k: usize) {
        if k >= self.items.len() {
            return;
        }
        if self.order == Order::BestFirst {
            self.items.truncate(k);
            return;
        }
        select_top(self.items.iter().copied(), k, &mut self.scratch);
        self.items.clear();
        self.items.extend_from_slice(&self.scratch);
        self.order = Order::BestFirst;
    }

    /// Keeps the shortest head of the best-first order whose weights sum to at least `target`.
    ///
    /// Sorts no more than it has to: heads of growing length are selected, then sorted.
    pub(super) fn keep_head_of_weight(&mut self, target: f64, mass: &Mass) {
        const FIRST_HEAD: usize = 128;
        let (mut sum, mut sorted) = (0.0, 0);
        while sorted < self.items.len() {
            let head = match self.order {
                Order::BestFirst => self.items.len(),
                Order::ById => (sorted * 4).max(FIRST_HEAD).min(self.items.len()),
            };
            if self.order == Order::ById {
                sort_next(&mut self.items, sorted, head, best_first);
            }
            for index in sorted..head {
                sum += mass.weight(self.items[index].logit);
                if sum >= target {
                    self.items.truncate(index + 1);
                    self.order = Order::BestFirst;
                    return;
                }
            }
            sorted = head;
        }
        self.order = Order::BestFirst;
    }
}

/// Puts the smallest elements of `items[from..]` in sorted order into `items[from..to]`.
pub(super) fn sort_next<T>(items: &mut [T], from: usize, to: usize, compare: impl Fn(&T, &T) -> Ordering) {
    let rest = &mut items[from..];
    let count = to - from;
    if count < rest.len() {
        rest.select_nth_unstable_by(count, &compare);
    }
    rest[..count].sort_unstable_by(&compare);
}

/// The `k` best of `tokens`, which come by ascending id, best first into `top`.
///
/// One pass with a threshold: `top` is a buffer of a few times `k`; when it is full the best `k` stay and the
/// worst of them becomes the logit to beat. Linear even if the logits come in ascending order, and on real logits
/// nearly every token fails one comparison.
pub(super) fn select_top(tokens: impl Iterator<Item = Candidate>, k: usize, top: &mut Vec<Candidate>) {
    const SMALLEST_BUFFER: usize = 512;
    top.clear();
    if k == 0 {
        return;
    }
    let buffer = (4 * k).max(SMALLEST_BUFFER);
    top.reserve(buffer);
    let mut to_beat = f32::NEG_INFINITY;
    for token in tokens {
        // An equal logit loses: its id is higher than those already seen.
        if token.logit > to_beat {
            top.push(token);
            if top.len() == buffer {
                let (_, worst, _) = top.select_nth_unstable_by(k - 1, best_first);
                to_beat = worst.logit;
                top.truncate(k);
            }
        }
    }
    let found = top.len().min(k);
    sort_next(top, 0, found, best_first);
    top.truncate(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(logits: &[f32]) -> Candidates {
        let mut candidates = Candidates::new();
        candidates.fill(logits, |_| true);
        candidates
    }

    fn ids(candidates: &Candidates) -> Vec<u32> {
        candidates.as_slice().iter().map(|c| c.id).collect()
    }

    #[test]
    fn top_agrees_with_a_full_sort_on_ascending_descending_equal_and_mixed_logits() {
        let shapes: [fn(usize) -> f32; 4] =
            [|i| i as f32, |i| -(i as f32), |_| 1.0, |i| ((i * 7919) % 1009) as f32];
        for shape in shapes {
            for n in [1, 5, 511, 512, 513, 3000] {
                for k in [1, 2, 40, 600] {
                    let logits: Vec<f32> = (0..n).map(shape).collect();
                    let mut expected = filled(&logits).items;
                    expected.sort_by(best_first);
                    expected.truncate(k);
                    let mut top = Vec::new();
                    select_top(filled(&logits).items.into_iter(), k, &mut top);
                    assert_eq!(top, expected, "n {n} k {k}");
                }
            }
        }
    }

    #[test]
    fn head_of_weight_agrees_with_a_full_sort() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5003) as f32 / 900.0).collect();
        for share in [0.001, 0.3, 0.9, 0.999] {
            let mut all = filled(&logits);
            let mass = all.mass();
            let mut sorted = all.items.clone();
            sorted.sort_by(best_first);
            let mut sum = 0.0;
            let count = 1 + sorted
                .iter()
                .position(|c| {
                    sum += mass.weight(c.logit);
                    sum >= share * mass.total
                })
                .unwrap();
            all.keep_head_of_weight(share * mass.total, &mass);
            assert_eq!(all.items, sorted[..count], "share {share}");
        }
    }

    #[test]
    fn edit_finds_a_token_after_others_were_dropped() {
        let mut candidates = filled(&[1.0, f32::NEG_INFINITY, 3.0, 4.0]);
        candidates.edit(3, |l| l - 10.0);
        candidates.edit(1, |_| 100.0);
        candidates.edit(9, |_| 100.0);
        assert_eq!(ids(&candidates), [0, 2, 3]);
        assert_eq!(candidates.as_slice()[2].logit, -6.0);
        candidates.edit(0, |_| f32::INFINITY);
        assert_eq!(candidates.as_slice()[0].logit, f32::MAX);
    }

    #[test]
    fn entropy_of_a_uniform_choice_is_the_logarithm_of_its_size() {
        let candidates = filled(&[2.5; 16]);
        let entropy = candidates.entropy(&candidates.mass());
        assert!((entropy - 16f64.ln()).abs() < 1e-12, "{entropy}");
    }

    #[test]
    fn equal_logits_go_to_the_lowest_id() {
        let mut candidates = filled(&[1.0, 5.0, 5.0]);
        candidates.keep_best();
        assert_eq!(ids(&candidates), [1]);
    }
}
