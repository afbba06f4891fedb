//! What a row of logits sums to.

use crate::isa::multiversion;

/// Weights below `exp(-87)` are zero, so that no subnormal number occurs: platforms differ in flushing those.
const SMALLEST_EXPONENT: f32 = -87.0;

/// Adding this to a small number rounds it to an integer, held in the low bits of the sum.
const ROUNDING: f32 = 12_582_912.0;

/// ln 2 in two parts; the first has nine significant bits, so its products with integers up to 127 are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Sums run side by side in so many, whatever the registers.
const LANES: usize = 8;

/// Weights that are computed before they are added: a loop short enough to be unrolled as a whole is not made of vectors.
const BLOCK: usize = 64;

/// `exp(x)` for x ≤ 0, within 2 ULP for x ≥ −87 and zero below; −∞ gives zero. The same bits on every platform.
#[inline(always)]
pub fn exp_non_positive(x: f32) -> f32 {
    let clamped = x.max(SMALLEST_EXPONENT);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUNDING;
    let exponent = rounded - ROUNDING;
    let r = (clamped - exponent * LN_2_HIGH) - exponent * LN_2_LOW;
    let mut series = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + coefficient;
    }
    let power_of_two = rounded.to_bits().wrapping_sub(ROUNDING.to_bits());
    let scale = f32::from_bits(power_of_two.wrapping_add(127) << 23);
    if x < SMALLEST_EXPONENT { 0.0 } else { series * scale }
}

multiversion! {
    /// The largest of `x` and Σ exp(x − largest), by [`exp_non_positive`]. A NaN counts as +∞, and where the largest is infinite
    /// there is no sum: 0.
    pub fn logit_mass(x: &[f32]) -> (f32, f64) = mass;
}

#[inline(always)]
fn mass(x: &[f32]) -> (f32, f64) {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            let x = if chunk[i].is_nan() { f32::INFINITY } else { chunk[i] };
            most[i] = if x > most[i] { x } else { most[i] };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for x in tail.iter().chain(&most) {
        let x = if x.is_nan() { f32::INFINITY } else { *x };
        max = if x > max { x } else { max };
    }
    if max.is_infinite() {
        return (max, 0.0);
    }
    let mut sums = [0f64; LANES];
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    for block in blocks {
        let mut weights = [0f32; BLOCK];
        for (weight, x) in weights.iter_mut().zip(block) {
            *weight = exp_non_positive(x - max);
        }
        for weights in weights.as_chunks::<LANES>().0 {
            for i in 0..LANES {
                sums[i] += f64::from(weights[i]);
            }
        }
    }
    let mut rest = 0.0;
    for x in tail {
        rest += f64::from(exp_non_positive(x - max));
    }
    let mut total = 0.0;
    for sum in sums {
        total += sum;
    }
    (max, total + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn exponential_is_within_two_ulp() {
        let mut worst = 0.0f64;
        for step in 0..=870_000 {
            let x = -(step as f32) * 1e-4;
            if x < SMALLEST_EXPONENT {
                continue;
            }
            let exact = f64::from(x).exp();
            let ulp = f64::from(exact as f32).abs() * f64::from(f32::EPSILON);
            worst = worst.max((f64::from(exp_non_positive(x)) - exact).abs() / ulp);
        }
        assert!(worst <= 2.0, "{worst} ULP");
    }

    #[test]
    fn exponential_at_the_edges() {
        assert_eq!(exp_non_positive(0.0), 1.0);
        assert_eq!(exp_non_positive(-0.0), 1.0);
        assert_eq!(exp_non_positive(-87.5), 0.0);
        assert_eq!(exp_non_positive(f32::NEG_INFINITY), 0.0);
        assert!(exp_non_positive(-87.0).is_normal());
    }

    #[test]
    fn the_mass_has_the_same_bits_at_every_level_and_is_that_of_f64() {
        for len in (0..40).chain([1000, 1003]) {
            let x: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1009) as f32 / 40.0 - 12.0).collect();
            let (max, total) = logit_mass(Isa::SCALAR, &x);
            assert_eq!(max, x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let exact: f64 = x.iter().map(|x| (f64::from(*x) - f64::from(max)).exp()).sum();
            assert!((total - exact).abs() <= 4e-7 * exact, "{len}: {total} and {exact}");
            for isa in Isa::available() {
                assert_eq!(logit_mass(isa, &x), (max, total), "{len} {}", isa.level());
            }
        }
    }

    #[test]
    fn what_is_no_number_is_seen_wherever_it_stands() {
        for isa in Isa::available() {
            for place in [0, 7, 8, 18] {
                for bad in [f32::NAN, f32::INFINITY] {
                    let mut x = [0.5f32; 19];
                    x[place] = bad;
                    assert_eq!(logit_mass(isa, &x), (f32::INFINITY, 0.0));
                }
            }
            assert_eq!(logit_mass(isa, &[f32::NEG_INFINITY; 9]), (f32::NEG_INFINITY, 0.0));
        }
    }
}
