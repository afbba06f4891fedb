//! Locally typical sampling (Meister et al., "Locally Typical Sampling", arXiv 2202.00666).
//!
//! # Method
//! Keeps the smallest set of tokens with Σ P(x) ≥ τ, taken in ascending order of |H + ln P(x)|: those whose surprise
//! is nearest to the entropy H of the distribution (equation 12). The most probable token may be dropped.
//!
//! # Cost
//! Scores for all candidates, sorted from the most typical on only as far as needed.

use super::candidates::{Candidate, Candidates, sort_next};
use super::error::SamplerError;
use super::params::{SamplingParams, above_to, within};
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "typical_p",
    aliases: &["typical", "typ_p"],
    effect: Effect::TruncatesAnywhere,
    summary: "keeps the tokens whose surprise is nearest to the entropy, up to probability p",
    example: r#"{"typical_p": 0.6}"#,
    check: |params| within("typical_p", params.typical_p, above_to(0.0, 1.0)),
    same: |a, b| a.typical_p == b.typical_p,
    build,
};

fn build(params: &SamplingParams, _: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    if params.typical_p == 1.0 {
        return Ok(None);
    }
    Ok(Some(Box::new(Typical { p: f64::from(params.typical_p), scored: Vec::new() })))
}

#[derive(Debug, Clone, Copy)]
struct Scored {
    distance: f64,
    id: u32,
    logit: f32,
}

#[derive(Debug)]
struct Typical {
    p: f64,
    scored: Vec<Scored>,
}

impl Stage for Typical {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step<'_>) {
        const FIRST_HEAD: usize = 128;
        let mass = candidates.mass();
        let ln_total = mass.ln_total();
        let entropy = candidates.entropy(&mass);
        let score = |c: &Candidate| {
            let surprise = ln_total - f64::from(c.logit - mass.max);
            Scored { distance: (surprise - entropy).abs(), id: c.id, logit: c.logit }
        };
        self.scored.clear();
        self.scored.extend(candidates.as_slice().iter().map(score));

        let nearest_first = |a: &Scored, b: &Scored| a.distance.total_cmp(&b.distance).then(a.id.cmp(&b.id));
        let target = self.p * mass.total;
        let (mut sum, mut sorted) = (0.0, 0);
        while sorted < self.scored.len() {
            let head = (sorted * 4).max(FIRST_HEAD).min(self.scored.len());
            sort_next(&mut self.scored, sorted, head, nearest_first);
            for index in sorted..head {
                sum += mass.weight(self.scored[index].logit);
                if sum >= target {
                    let last = self.scored[index];
                    candidates.retain(|c| nearest_first(&score(c), &last).is_le());
                    return;
                }
            }
            sorted = head;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ids_after, logits_of, plain};
    use super::*;

    #[test]
    fn the_most_probable_token_may_be_atypical() {
        // H = 1.213 nats; surprises 0.511, 2.303 (four times): the best is nearer, distances 0.702 and 1.090.
        let logits = logits_of(&[0.6, 0.1, 0.1, 0.1, 0.1]);
        assert_eq!(ids_after(&SamplingParams { typical_p: 0.5, ..plain() }, &logits), [0]);
        // H = 1.834 nats; surprises 1.204 and 2.303 (seven times): distances 0.630 and 0.468.
        let logits = logits_of(&[0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
        assert_eq!(ids_after(&SamplingParams { typical_p: 0.35, ..plain() }, &logits), [1, 2, 3, 4]);
        assert_eq!(
            ids_after(&SamplingParams { typical_p: 0.75, ..plain() }, &logits),
            [0, 1, 2, 3, 4, 5, 6, 7]
        );
    }

    #[test]
    fn the_set_is_the_same_beyond_the_first_head() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1009) as f32 / 2000.0).collect();
        let kept = ids_after(&SamplingParams { typical_p: 0.6, ..plain() }, &logits);
        let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        let share = |id: u32| f64::from(logits[id as usize]).exp() / total;
        let entropy: f64 = (0..1000).map(|id| -share(id) * share(id).ln()).sum();
        let mut ids: Vec<u32> = (0..1000).collect();
        ids.sort_by(|&a, &b| {
            let distance = |id| (-share(id).ln() - entropy).abs();
            distance(a).total_cmp(&distance(b))
        });
        let mut sum = 0.0;
        let count = 1 + ids
            .iter()
            .position(|&id| {
                sum += share(id);
                sum >= 0.6
            })
            .unwrap();
        let mut expected = ids[..count].to_vec();
        expected.sort_unstable();
        assert_eq!(kept, expected);
    }
}
