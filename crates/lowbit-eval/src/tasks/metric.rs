//! What answers are worth: numbers for each document, and one number for all.

/// A figure of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// lm-evaluation-harness's name.
    pub name: &'static str,
    /// How the documents' values become one.
    pub aggregate: Aggregate,
    /// Which way is better.
    pub better: Better,
}

/// How values become one; all of them are means, weighted by the values' weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean.
    Mean,
    /// `exp(-mean)` of log-likelihoods in nats.
    Perplexity,
    /// `-mean / ln 2` of log-likelihoods in nats.
    Bits,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
    /// Neither: the nearer to a value that the task names, the better.
    Neither,
}

/// What one document adds to a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The metric's name.
    pub metric: &'static str,
    /// The value.
    pub value: f64,
    /// How much it counts.
    pub weight: f64,
}

/// A metric over documents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The figure.
    pub value: f64,
    /// Its standard error, documents taken as independent; NaN for fewer than two. To first order where the figure is no
    /// mean.
    pub stderr: f64,
    /// Documents that count.
    pub documents: usize,
}

impl Metric {
    /// The mean, and more is better.
    pub const fn mean(name: &'static str) -> Self {
        Self { name, aggregate: Aggregate::Mean, better: Better::Higher }
    }

    /// How many programs the metric allows for: `pass@k`, which some tasks of the harness spell `pass_at_k`. `None` of a metric
    /// that is not of programs.
    pub fn pass_at(&self) -> Option<usize> {
        let k = self.name.strip_prefix("pass@").or(self.name.strip_prefix("pass_at_"))?;
        k.parse().ok()
    }

    /// Another way is better.
    pub const fn better(self, better: Better) -> Self {
        Self { better, ..self }
    }

    /// Aggregates otherwise, and less is better.
    pub const fn of(self, aggregate: Aggregate) -> Self {
        Self { aggregate, better: Better::Lower, ..self }
    }
}

/// Share of documents whose likeliest choice is right.
pub(super) const ACC: Metric = Metric::mean("acc");
/// As [`ACC`], log-likelihoods divided by the characters of the choice.
pub(super) const ACC_NORM: Metric = Metric::mean("acc_norm");

impl Score {
    /// Of weight 1.
    pub fn new(metric: Metric, value: f64) -> Self {
        Self::weighted(metric, value, 1.0)
    }

    /// Of any weight.
    pub fn weighted(metric: Metric, value: f64, weight: f64) -> Self {
        Self { metric: metric.name, value, weight }
    }
}

impl Aggregate {
    /// Of pairs of a value and its weight; those of weight 0 do not count.
    pub fn of(self, scores: &[(f64, f64)]) -> Summary {
        let counted = scores.iter().filter(|(_, weight)| *weight != 0.0);
        let (mut documents, mut weights, mut sum) = (0, 0.0, 0.0);
        for (value, weight) in counted.clone() {
            documents += 1;
            weights += weight;
            sum += value * weight;
        }
        let mean = sum / weights;
        let squares: f64 = counted.map(|(value, weight)| (weight * (value - mean)).powi(2)).sum();
        let n = documents as f64;
        let error = if documents < 2 { f64::NAN } else { (squares * n / (n - 1.0)).sqrt() / weights };
        let (value, stderr) = match self {
            Self::Mean => (mean, error),
            Self::Perplexity => ((-mean).exp(), (-mean).exp() * error),
            Self::Bits => (-mean / std::f64::consts::LN_2, error / std::f64::consts::LN_2),
        };
        Summary { value, stderr, documents }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_errors_by_hand() {
        let scores = [(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (1.0, 1.0), (7.0, 0.0)];
        let Summary { value, stderr, documents } = Aggregate::Mean.of(&scores);
        assert_eq!((value, documents), (0.5, 4));
        // Sample deviation sqrt(1/3), over sqrt(4).
        assert!((stderr - (1.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-15, "{stderr}");
        assert!(Aggregate::Mean.of(&scores[..1]).stderr.is_nan());
        assert!(Aggregate::Mean.of(&[]).value.is_nan());
    }

    #[test]
    fn likelihoods_become_perplexities_and_bits_weighted_by_what_they_are_of() {
        // 2 words at ln 2 each and 6 words at ln 4: 14/8 bits a word.
        let (two, four) = (-2f64.ln(), -4f64.ln());
        let scores = [(two, 2.0), (four, 6.0)];
        assert!((Aggregate::Bits.of(&scores).value - 1.75).abs() < 1e-12);
        assert!((Aggregate::Perplexity.of(&scores).value - 2f64.powf(1.75)).abs() < 1e-12);
    }
}
