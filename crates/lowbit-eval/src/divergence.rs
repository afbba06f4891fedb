//! How far the predictions of two models are apart, from their logits for the same tokens.

use crate::{loss::log_sum_exp, mean::Mean};

/// `KL(p ‖ q) = Σ p · (log p − log q)` in nats, of the softmaxes of a row of reference logits and a row of others, in
/// double precision. Never below 0 but for rounding; infinite where `q` rules out what `p` does not.
///
/// # Panics
/// Where the rows have different lengths.
pub fn kl_divergence(reference: &[f32], logits: &[f32]) -> f64 {
    assert_eq!(reference.len(), logits.len(), "logits of one vocabulary");
    kl_of((reference, log_sum_exp(reference)), (logits, log_sum_exp(logits)))
}

/// The same of rows whose logarithms of the sum of exponentials are known.
pub(crate) fn kl_of((reference, p_sum): (&[f32], f64), (logits, q_sum): (&[f32], f64)) -> f64 {
    let terms = reference.iter().zip(logits).map(|(&p, &q)| {
        let (log_p, log_q) = (f64::from(p) - p_sum, f64::from(q) - q_sum);
        // A token that the reference rules out adds nothing, whatever the other says.
        if log_p == f64::NEG_INFINITY { 0.0 } else { log_p.exp() * (log_p - log_q) }
    });
    terms.sum()
}

/// The most probable token, among equals the one with the lowest id; `None` for an empty row.
pub fn top_token(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })
}

/// Mean divergence over many rows, and how often the most probable token is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    /// Rows compared.
    pub rows: usize,
    agreeing: usize,
    kl: Mean,
}

impl Divergence {
    /// Compares rows of logits over a vocabulary of `vocab` tokens, stored one after the other.
    ///
    /// # Panics
    /// Where the two have different lengths or no whole number of rows.
    pub fn of_rows(reference: &[f32], logits: &[f32], vocab: usize) -> Self {
        assert!(
            reference.len() == logits.len() && vocab > 0 && reference.len().is_multiple_of(vocab),
            "{} and {} logits in rows of {vocab}",
            reference.len(),
            logits.len()
        );
        let mut all = Self::default();
        for (p, q) in reference.chunks_exact(vocab).zip(logits.chunks_exact(vocab)) {
            all.add(p, q);
        }
        all
    }

    /// Compares one row more.
    ///
    /// # Panics
    /// Where the rows have different lengths.
    pub fn add(&mut self, reference: &[f32], logits: &[f32]) {
        let agree = top_token(reference) == top_token(logits);
        self.add_row(kl_divergence(reference, logits), agree);
    }

    /// Adds a row of which divergence and agreement are known.
    pub(crate) fn add_row(&mut self, kl: f64, agree: bool) {
        self.rows += 1;
        self.agreeing += usize::from(agree);
        self.kl.add(kl);
    }

    /// Mean Kullback-Leibler divergence from the reference, in nats; NaN where no row was compared.
    pub fn mean_kl(&self) -> f64 {
        self.kl.mean()
    }

    /// Standard error of [`Self::mean_kl`], rows taken as independent; NaN for fewer than two.
    pub fn mean_kl_error(&self) -> f64 {
        self.kl.error()
    }

    /// Share of rows, 0 to 1, whose most probable token is the reference's; NaN where no row was compared.
    pub fn top1_agreement(&self) -> f64 {
        self.agreeing as f64 / self.rows as f64
    }

    /// Standard error of [`Self::top1_agreement`], rows taken as independent; NaN for fewer than two.
    pub fn top1_agreement_error(&self) -> f64 {
        if self.rows < 2 {
            return f64::NAN;
        }
        let share = self.top1_agreement();
        (share * (1.0 - share) / (self.rows - 1) as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_predictions_do_not_diverge_whatever_is_added_to_all_logits() {
        let a = [1.0, -2.0, 0.5, 3.0];
        let b = a.map(|logit| logit + 7.0);
        assert!(kl_divergence(&a, &a).abs() < 1e-15);
        // Adding 7 rounds logits to 2⁻²¹ of 8 at most.
        assert!(kl_divergence(&a, &b).abs() < 1e-6);
    }

    #[test]
    fn two_tokens_by_hand() {
        // p = (1/2, 1/2), q = (3/4, 1/4): KL = ½ ln(½ / ¾) + ½ ln(½ / ¼) = ½ ln(4/3).
        let kl = kl_divergence(&[0.0, 0.0], &[3f32.ln(), 0.0]);
        assert!((kl - 0.5 * (4f64 / 3.0).ln()).abs() < 1e-7, "{kl}");
    }

    #[test]
    fn a_token_ruled_out_counts_only_where_the_reference_allows_it() {
        let ruled_out = [0.0, f32::NEG_INFINITY];
        assert!((kl_divergence(&ruled_out, &[0.0, 0.0]) - 2f64.ln()).abs() < 1e-12);
        assert_eq!(kl_divergence(&[0.0, 0.0], &ruled_out), f64::INFINITY);
        assert_eq!(kl_divergence(&ruled_out, &ruled_out), 0.0);
    }

    #[test]
    fn rows_are_averaged_and_agreement_is_counted() {
        let reference = [0.0, 0.0, 2.0, 1.0];
        let logits = [3f32.ln(), 0.0, 1.0, 2.0];
        let divergence = Divergence::of_rows(&reference, &logits, 2);
        let (a, b) =
            (kl_divergence(&reference[..2], &logits[..2]), kl_divergence(&reference[2..], &logits[2..]));
        assert!((divergence.mean_kl() - (a + b) / 2.0).abs() < 1e-12);
        // Two values around their mean: their distance over two.
        assert!((divergence.mean_kl_error() - (a - b).abs() / 2.0).abs() < 1e-9);
        assert_eq!(divergence.top1_agreement(), 0.5);
        assert!(Divergence::default().mean_kl().is_nan());
    }

    #[test]
    fn among_equals_the_lowest_id_is_the_top_token() {
        assert_eq!(top_token(&[1.0, 5.0, 5.0]), Some(1));
        assert_eq!(top_token(&[]), None);
    }
}
