//! How far one vector is from another. All sums are taken in f64.

/// The largest |a - b|. NaN anywhere gives NaN.
///
/// # Panics
/// If the lengths differ or the vectors are empty.
pub fn max_abs_error(a: &[f32], b: &[f32]) -> f64 {
    check(a, b);
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).fold(0.0, nan_max)
}

/// max |a - b| / max |b|: the measure the golden logits are compared by, one position's row at a time.
///
/// The divisor is the reference's largest magnitude and not each element's own, since a logit near zero is a
/// difference of larger terms and carries their rounding error. Two zero vectors are 0 apart, any other vector
/// is infinitely far from a zero reference. NaN anywhere gives NaN, which no `<` accepts.
///
/// # Panics
/// If the lengths differ or the vectors are empty.
pub fn max_relative_error(a: &[f32], b: &[f32]) -> f64 {
    let error = max_abs_error(a, b);
    let size = b.iter().map(|&b| f64::from(b).abs()).fold(0.0, nan_max);
    if error == 0.0 { 0.0 } else { error / size }
}

/// Normalized mean squared error: Σ(a - b)² / Σb². Zero vectors as in [`max_relative_error`].
///
/// # Panics
/// If the lengths differ or the vectors are empty.
pub fn nmse(a: &[f32], b: &[f32]) -> f64 {
    check(a, b);
    let error: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    let size: f64 = b.iter().map(|&b| f64::from(b).powi(2)).sum();
    if error == 0.0 { 0.0 } else { error / size }
}

fn check(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "vectors of different length");
    assert!(!a.is_empty(), "nothing to compare");
}

/// The larger, but NaN if either is: `f64::max` would drop it.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_values_worked_out_by_hand() {
        let (a, b) = ([1.0, 2.5, -4.0], [1.0, 2.0, -4.0]);
        assert_eq!(max_abs_error(&a, &b), 0.5);
        assert_eq!(max_relative_error(&a, &b), 0.125);
        assert_eq!(nmse(&a, &b), 0.25 / 21.0);
    }

    #[test]
    fn zero_references_are_equal_only_to_zero() {
        assert_eq!(max_relative_error(&[0.0, -0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(max_relative_error(&[1e-30], &[0.0]), f64::INFINITY);
        assert_eq!(nmse(&[1e-30], &[0.0]), f64::INFINITY);
    }

    #[test]
    fn a_nan_is_never_close() {
        for (a, b) in [([f32::NAN, 1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, f32::NAN])] {
            assert!(max_relative_error(&a, &b).is_nan());
            assert!(nmse(&a, &b).is_nan());
        }
        // An infinite error over an infinite size is NaN too: infinities never pass for close.
        assert!(max_relative_error(&[1.0], &[f32::INFINITY]).is_nan());
    }
}
