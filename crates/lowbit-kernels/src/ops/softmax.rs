//! Softmax and the exponential under it.

use super::lane_sum;
use crate::isa::multiversion;

/// `e^x` to 2 ULP between −87.3 and 88.7; 0 below, infinity above, NaN for NaN.
///
/// Written without a table or a branch so that it vectorizes: `e^x = 2^n · e^r` with `|r| ≤ ln 2 / 2` and a
/// polynomial of degree six for `e^r` (Cephes coefficients).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (y, n) = reduced(x.clamp(-87.336_54, 88.722_83));
    // 2^n in two factors, as n = 128 has no finite power of its own.
    let n = n as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let y = y * power(half) * power(n - half);
    let y = if x < -87.336_54 { 0.0 } else { y };
    if x > 88.722_83 { f32::INFINITY } else { y }
}

/// `(y, n)` with `e^x = y · 2^n`, n whole and y between 0.7 and 1.42.
#[inline(always)]
fn reduced(x: f32) -> (f32, f32) {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let n = nearest_power(x);
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_2e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p.mul_add(r, coefficient);
    }
    (p.mul_add(r * r, r) + 1.0, n)
}

/// The whole n with `2^n` nearest to `e^x`. It does not fall where x grows.
#[inline(always)]
fn nearest_power(x: f32) -> f32 {
    (x * std::f32::consts::LOG2_E).round_ties_even()
}

/// `2^n` of a whole n up to 0; 0 below −125, so that no product with it is subnormal.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    // Adding 1.5 · 2^23 leaves n in the low bits; the shift drops the rest.
    let bits = (n.max(-126.0) + 12_582_912.0).to_bits().wrapping_add(127) << 23;
    if n < -125.0 { 0.0 } else { f32::from_bits(bits) }
}

multiversion! {
    /// Softmax of one row in place: `x = e^(x − max) / Σ e^(x − max)`. Elements of −∞ become 0.
    ///
    /// A row with no finite element has no softmax: it becomes all zeros.
    pub fn softmax(x: &mut [f32]) = softmax_row;
}

#[inline(always)]
fn softmax_row(x: &mut [f32]) {
    let max = largest(x);
    if max == f32::NEG_INFINITY {
        x.fill(0.0);
        return;
    }
    for x in x.iter_mut() {
        *x = exp(*x - max);
    }
    let inverse = 1.0 / lane_sum(x, |x| x);
    for x in x.iter_mut() {
        *x *= inverse;
    }
}

/// The largest element, NaN where there is one with its sign bit clear, −∞ where there is none.
///
/// As whole numbers with the bits below a set sign flipped, floats have their order, and a maximum of whole numbers may be
/// taken in any order, which is what the vectorizer asks for. It is its own inverse.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let order = |bits: i32| bits ^ ((bits >> 31) as u32 >> 1) as i32;
    let least = order(f32::NEG_INFINITY.to_bits() as i32);
    let max = x.iter().map(|x| order(x.to_bits() as i32)).fold(least, i32::max);
    f32::from_bits(order(max) as u32)
}

/// What part of a softmax row stands for: its numbers are `2^power` times larger than written, and add up to `sum`.
///
/// Powers of two multiply without rounding, so parts that were made apart are put together as if they had been made
/// with one maximum: no guess at it is needed, and nothing done again where the guess was too low.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftmaxPart {
    /// A whole number, −∞ where there is nothing yet.
    pub power: f32,
    /// In units of `2^power`.
    pub sum: f32,
}

impl SoftmaxPart {
    /// Of no element.
    pub const EMPTY: Self = Self { power: f32::NEG_INFINITY, sum: 0.0 };
}

multiversion! {
    /// `x = e^x / 2^power` in place, elements of −∞ becoming 0, with the power that belongs to the largest.
    ///
    /// At most 2 ULP off as [`exp`] is, but for elements more than 2^125 times smaller than the largest, which become 0.
    pub fn softmax_part(x: &mut [f32]) -> SoftmaxPart = softmax_part_row;
}

#[inline(always)]
fn softmax_part_row(x: &mut [f32]) -> SoftmaxPart {
    let power = nearest_power(largest(x));
    for x in x.iter_mut() {
        let (y, n) = reduced(*x);
        let factor = power_of_two(n - power);
        *x = if factor == 0.0 { 0.0 } else { y * factor };
    }
    SoftmaxPart { power, sum: lane_sum(x, |x| x) }
}

multiversion! {
    /// Adds to `sum`, the values mixed by one part of a row, those mixed by another, and to that part the other's.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn softmax_join(sum: &mut [f32], part: &mut SoftmaxPart, more: &[f32], other: SoftmaxPart) = join_rows;
}

#[inline(always)]
fn join_rows(sum: &mut [f32], part: &mut SoftmaxPart, more: &[f32], other: SoftmaxPart) {
    assert_eq!(sum.len(), more.len());
    let power = part.power.max(other.power);
    let (own, its) = (power_of_two(part.power - power), power_of_two(other.power - power));
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = more.mul_add(its, *sum * own);
    }
    *part = SoftmaxPart { power, sum: part.sum * own + other.sum * its };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn exp_is_within_two_ulp_of_f64() {
        let mut worst = 0f64;
        let mut x = -87.3f32;
        while x < 88.7 {
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
            worst = worst.max((f64::from(exp(x)) - exact).abs() / ulp);
            x += 0.000_37;
        }
        assert!(worst <= 2.0, "{worst} ULP");
        assert_eq!(
            (exp(-1000.0), exp(1000.0), exp(f32::NEG_INFINITY), exp(0.0)),
            (0.0, f32::INFINITY, 0.0, 1.0)
        );
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn softmax_sums_to_one_with_equal_bits_on_every_level() {
        let row: Vec<f32> =
            (0..77).map(|i| if i % 9 == 0 { f32::NEG_INFINITY } else { (i as f32).sin() * 9.0 }).collect();
        let mut scalar = row.clone();
        softmax(Isa::SCALAR, &mut scalar);
        assert!((scalar.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(scalar[9], 0.0);
        for isa in Isa::available() {
            let mut other = row.clone();
            softmax(isa, &mut other);
            assert_eq!(other, scalar, "{}", isa.level());
        }
        let mut masked = vec![f32::NEG_INFINITY; 20];
        softmax(Isa::SCALAR, &mut masked);
        assert_eq!(masked, vec![0.0; 20]);
    }

    #[test]
    fn parts_of_a_row_join_to_its_softmax_wherever_it_is_cut_and_however_large_it_is() {
        for offset in [0.0, -300.0, 5000.0] {
            let row: Vec<f32> = (0..96).map(|i| ((i * i) as f32).sin() * 60.0 + offset).collect();
            let values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.3).cos()).collect();
            let max = row.iter().fold(f64::NEG_INFINITY, |max, x| max.max(f64::from(*x)));
            let weights: Vec<f64> = row.iter().map(|x| (f64::from(*x) - max).exp()).collect();
            let exact = weights.iter().zip(&values).map(|(w, v)| w * f64::from(*v)).sum::<f64>()
                / weights.iter().sum::<f64>();
            for cut in [16, 32, 80] {
                let mut results = Vec::new();
                for isa in Isa::available() {
                    let (mut mixed, mut whole) = ([0.0], SoftmaxPart::EMPTY);
                    for range in [0..cut, cut..96] {
                        let mut p = row[range.clone()].to_vec();
                        let part = softmax_part(isa, &mut p);
                        let one = p.iter().zip(&values[range]).map(|(p, v)| p * v).sum::<f32>();
                        softmax_join(isa, &mut mixed, &mut whole, &[one], part);
                    }
                    results.push(mixed[0] / whole.sum);
                }
                // Each weight is 2 ULP off, sums of 96 terms up to 96 half ULP, of magnitudes up to 1.
                assert!((f64::from(results[0]) - exact).abs() < 100.0 * 1.2e-7, "{offset} {cut}");
                assert!(results.iter().all(|other| *other == results[0]), "{offset} {cut}: {results:?}");
            }
        }
    }

    #[test]
    fn masked_and_negligible_elements_of_a_part_are_zero_and_nan_stays() {
        for isa in Isa::available() {
            let mut row = [f32::NEG_INFINITY, 3.0, -200.0, 3.0];
            let part = softmax_part(isa, &mut row);
            assert_eq!((part.power, row[0], row[2]), (4.0, 0.0, 0.0));
            assert_eq!(part.sum, row[1] + row[3]);
            assert!((f64::from(part.sum) * 16.0 - 2.0 * 3f64.exp()).abs() < 1e-5);
            let mut row = [1.0, f32::NAN];
            assert!(softmax_part(isa, &mut row).sum.is_nan());
        }
    }
}
