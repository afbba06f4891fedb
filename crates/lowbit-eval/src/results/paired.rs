//! Two runs on the same documents: how far they are apart, and whether that may be chance.

use super::StoredDocument;
use std::collections::BTreeMap;

/// The second run against the first, over the documents that both have with the same texts. Each counts by the mean of its two
/// weights, and not where one of them is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Documents that both have.
    pub documents: usize,
    /// Documents that both have, but were asked otherwise, and are left out.
    pub asked_otherwise: usize,
    /// Mean of the first.
    pub first: f64,
    /// Mean of the second.
    pub second: f64,
    /// Standard error of the difference of the means, document by document; NaN for fewer than two.
    pub stderr: f64,
    /// Documents where the second has more.
    pub more: usize,
    /// Documents where it has less.
    pub less: usize,
    /// Probability of a difference at least as large where there is none. Of values that are 0 or 1 and count alike by McNemar's exact test,
    /// else by the normal distribution of the mean difference.
    pub p_value: f64,
}

impl Paired {
    /// Compares a metric; `None` where no document is in both.
    pub fn of(first: &[StoredDocument], second: &[StoredDocument], metric: &str) -> Option<Self> {
        let by_place: BTreeMap<usize, &StoredDocument> = first.iter().map(|one| (one.place, one)).collect();
        let (mut pairs, mut asked_otherwise) = (Vec::new(), 0);
        for two in second {
            let Some(one) = by_place.get(&two.place) else { continue };
            let (Some((a, a_weight)), Some((b, b_weight))) = (one.scores.get(metric), two.scores.get(metric))
            else {
                continue;
            };
            if one.asked_sha256 != two.asked_sha256 {
                asked_otherwise += 1;
            } else if *a_weight != 0.0 && *b_weight != 0.0 {
                pairs.push((*a, *b, (a_weight + b_weight) / 2.0));
            }
        }
        if pairs.is_empty() {
            return None;
        }
        let n = pairs.len() as f64;
        let weights: f64 = pairs.iter().map(|pair| pair.2).sum();
        let mean = |of: &dyn Fn(f64, f64) -> f64| {
            pairs.iter().map(|(a, b, w)| w * of(*a, *b)).sum::<f64>() / weights
        };
        let difference = mean(&|a, b| b - a);
        let squares: f64 = pairs.iter().map(|(a, b, w)| (w * (b - a - difference)).powi(2)).sum();
        let stderr = if pairs.len() < 2 { f64::NAN } else { (squares * n / (n - 1.0)).sqrt() / weights };
        let (more, less) =
            (pairs.iter().filter(|(a, b, _)| b > a).count(), pairs.iter().filter(|(a, b, _)| b < a).count());
        let plain = |(a, b, weight): &(f64, f64, f64)| {
            *weight == 1.0 && [*a, *b].iter().all(|x| *x == 0.0 || *x == 1.0)
        };
        let right_or_wrong = pairs.iter().all(plain);
        let p_value = match right_or_wrong {
            true => mcnemar(more, less),
            false if difference == 0.0 => 1.0,
            false => libm::erfc((difference / stderr).abs() / std::f64::consts::SQRT_2),
        };
        Some(Self {
            documents: pairs.len(),
            asked_otherwise,
            first: mean(&|a, _| a),
            second: mean(&|_, b| b),
            stderr,
            more,
            less,
            p_value,
        })
    }

    /// Second minus first.
    pub fn difference(&self) -> f64 {
        self.second - self.first
    }
}

/// Two-sided exact test of `more` against `less`: a fair coin.
fn mcnemar(more: usize, less: usize) -> f64 {
    let n = more + less;
    // ln C(n, k), a term at a time.
    let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=more.min(less) {
        tail += ln_term.exp();
        ln_term += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn documents(values: &[f64]) -> Vec<StoredDocument> {
        let one = |(place, value): (usize, &f64)| StoredDocument {
            place,
            category: None,
            asked_sha256: "a".to_owned(),
            asked: None,
            replies: Value::Null,
            scores: [("acc".to_owned(), (*value, 1.0))].into(),
        };
        values.iter().enumerate().map(one).collect()
    }

    #[test]
    fn exact_test_by_hand() {
        // Six against none: 2 / 64. One against one: certain. Of nothing: certain.
        assert!((mcnemar(6, 0) - 2.0 / 64.0).abs() < 1e-12);
        assert!((mcnemar(2, 8) - 2.0 * 56.0 / 1024.0).abs() < 1e-12);
        assert_eq!((mcnemar(1, 1), mcnemar(0, 0)), (1.0, 1.0));
    }

    #[test]
    fn differences_are_of_documents_that_were_asked_alike() {
        let first = documents(&[1.0, 0.0, 1.0, 1.0, 0.0]);
        let mut second = documents(&[1.0, 1.0, 0.0, 0.0]);
        second[3].asked_sha256 = "b".to_owned();
        let paired = Paired::of(&first, &second, "acc").unwrap();
        assert_eq!((paired.documents, paired.asked_otherwise), (3, 1));
        assert_eq!((paired.more, paired.less, paired.difference()), (1, 1, 0.0));
        assert_eq!(paired.p_value, 1.0);
        assert!(Paired::of(&first, &second, "none").is_none());
    }

    #[test]
    fn documents_count_by_their_weights() {
        let (mut first, mut second) = (documents(&[0.0, 0.5, 1.0]), documents(&[1.0, 0.5, 0.0]));
        for one in [&mut first, &mut second] {
            for (document, weight) in one.iter_mut().zip([3.0, 1.0, 0.0]) {
                document.scores.get_mut("acc").unwrap().1 = weight;
            }
        }
        let paired = Paired::of(&first, &second, "acc").unwrap();
        assert_eq!((paired.documents, paired.first, paired.second), (2, 0.125, 0.875));
        // 3 (1 - 0.75) and 1 (0 - 0.75): sqrt(2 (0.5625 + 0.5625)) / 4.
        assert!((paired.stderr - 1.5 / 4.0).abs() < 1e-12, "{}", paired.stderr);
    }

    #[test]
    fn other_values_are_compared_by_their_mean_difference() {
        let first = documents(&[0.5, 0.25, 0.75, 0.5]);
        let second = documents(&[0.75, 0.25, 1.0, 0.75]);
        let paired = Paired::of(&first, &second, "acc").unwrap();
        assert_eq!(paired.difference(), 0.1875);
        // Differences .25 0 .25 .25: deviation .125, over sqrt(4).
        assert!((paired.stderr - 0.0625).abs() < 1e-12, "{}", paired.stderr);
        // Three standard errors.
        assert!((paired.p_value - 0.0027).abs() < 1e-4, "{}", paired.p_value);
    }
}
