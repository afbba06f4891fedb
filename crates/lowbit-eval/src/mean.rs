//! A mean with its standard error, from sums.

/// Numbers added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    pub(crate) count: usize,
    sum: f64,
    sum_of_squares: f64,
}

impl Mean {
    pub(crate) fn add(&mut self, number: f64) {
        self.count += 1;
        self.sum += number;
        self.sum_of_squares += number * number;
    }

    /// NaN where there is no number.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Standard error of the mean, numbers taken as independent; NaN for fewer than two.
    pub(crate) fn error(&self) -> f64 {
        if self.count < 2 {
            return f64::NAN;
        }
        let variance = (self.sum_of_squares / self.count as f64 - self.mean() * self.mean()).max(0.0);
        (variance / (self.count - 1) as f64).sqrt()
    }
}
