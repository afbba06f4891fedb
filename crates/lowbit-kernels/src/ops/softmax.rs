//! Softmax and the exponential under it.

use super::lane_sum;
use crate::isa::multiversion;

/// `e^x` to 2 ULP between −87.3 and 88.7; 0 below, infinity above, NaN for NaN.
///
/// Written without a table or a branch so that it vectorizes: `e^x = 2^n · e^r` with `|r| ≤ ln 2 / 2` and a
/// polynomial of degree six for `e^r` (Cephes coefficients).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.336_54, 88.722_83);
    let n = (clamped * std::f32::consts::LOG2_E).round_ties_even();
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_2e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + coefficient;
    }
    let y = p * (r * r) + r + 1.0;
    // 2^n in two factors, as n = 128 has no finite power of its own.
    let n = n as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let y = y * power(half) * power(n - half);
    let y = if x < -87.336_54 { 0.0 } else { y };
    if x > 88.722_83 { f32::INFINITY } else { y }
}

multiversion! {
    /// Softmax of one row in place: `x = e^(x − max) / Σ e^(x − max)`. Elements of −∞ become 0.
    ///
    /// A row with no finite element has no softmax: it becomes all zeros.
    pub fn softmax(x: &mut [f32]) = softmax_row;
}

#[inline(always)]
fn softmax_row(x: &mut [f32]) {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, tail) = x.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let max = tail.iter().copied().chain(lanes).fold(f32::NEG_INFINITY, f32::max);
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
}
