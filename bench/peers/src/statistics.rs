//! Medians of a few measurements, means of many.

use serde::Serialize;

/// Repeated measurements of one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Samples {
    /// In the order they were taken; never empty.
    pub(crate) values: Vec<f64>,
    /// Middle value, or the mean of the middle two.
    pub(crate) median: f64,
    /// (max − min) / median.
    pub(crate) spread: f64,
}

impl Samples {
    /// Summarizes at least one measurement.
    pub(crate) fn new(values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "there is no median of nothing");
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        let spread = (sorted[sorted.len() - 1] - sorted[0]) / median;
        Self { values, median, spread }
    }

    /// Ratios to `other`, round by round.
    pub(crate) fn ratio_to(&self, other: &Self) -> Self {
        assert_eq!(self.values.len(), other.values.len(), "rounds of two engines");
        Self::new(self.values.iter().zip(&other.values).map(|(own, theirs)| own / theirs).collect())
    }
}

/// Mean and standard error of a stream of values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Mean {
    count: u64,
    mean: f64,
    /// Sum of squared deviations from the mean, by Welford's recurrence.
    squares: f64,
}

impl Mean {
    /// Adds a value.
    pub(crate) fn push(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }

    /// The mean; zero of nothing.
    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard error of the mean as llama-perplexity computes it: the population variance over
    /// `count − 1`, square root. Infinite below two values.
    pub(crate) fn standard_error(&self) -> f64 {
        if self.count < 2 {
            return f64::INFINITY;
        }
        (self.squares / self.count as f64 / (self.count - 1) as f64).sqrt()
    }

    /// How many values.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(Samples::new(vec![9.0, 1.0, 4.0]).median, 4.0);
        assert_eq!(Samples::new(vec![4.0, 1.0, 9.0, 2.0]).median, 3.0);
        assert_eq!(Samples::new(vec![4.0, 1.0, 9.0]).spread, 2.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is twice as fast in the second round; the ratio does not notice.
        let ratio = Samples::new(vec![3.0, 6.0, 3.0]).ratio_to(&Samples::new(vec![2.0, 4.0, 2.0]));
        assert_eq!(ratio, Samples::new(vec![1.5; 3]));
    }

    #[test]
    fn the_standard_error_is_that_of_a_known_sample() {
        let mut mean = Mean::default();
        assert_eq!(mean.standard_error(), f64::INFINITY);
        for value in [1.0, 2.0, 3.0, 6.0] {
            mean.push(value);
        }
        // Deviations −2, −1, 0, 3: squares sum to 14; 14 / 4 / 3.
        assert_eq!(mean.mean(), 3.0);
        assert!((mean.standard_error() - (14.0_f64 / 12.0).sqrt()).abs() < 1e-15);
        assert_eq!(mean.count(), 4);
    }
}
