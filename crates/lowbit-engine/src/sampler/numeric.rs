//! Arithmetic of the decision path that gives the same bits on every platform.
//!
//! The standard library's `exp`, `ln` and `powf` go to the platform's C library and differ in the last place from
//! one to the next, which is enough to turn one sampled token into another. Here the exponential over the whole
//! vocabulary is a short polynomial of IEEE additions and multiplications (Rust never fuses them), written so that
//! it vectorizes; the few scalar logarithms and powers come from `libm`, which is the same Rust code everywhere.
//! Sums over the vocabulary run in a fixed number of lanes, so their order depends on nothing but the length.

/// Weights below `exp(-87)` are zero, so that no subnormal number occurs: platforms differ in flushing those.
const SMALLEST_EXPONENT: f32 = -87.0;

/// Adding this to a small number rounds it to an integer, held in the low bits of the sum.
const ROUNDING: f32 = 12_582_912.0;

/// ln 2 in two parts; the first has nine significant bits, so its products with integers up to 127 are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

const LANES: usize = 8;

/// `exp(x)` for x ≤ 0, within 2 ULP for x ≥ −87 and zero below; −∞ gives zero.
#[inline(always)]
pub(super) fn exp_non_positive(x: f32) -> f32 {
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

/// Natural logarithm, the same on every platform.
pub(super) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `x` to the power `y`, the same on every platform.
pub(super) fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

/// Sum of `value` over `items` in eight lanes: order fixed by the length alone, and vectorizable.
#[inline(always)]
pub(super) fn lane_sum<T>(items: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let chunks = items.chunks_exact(LANES);
    let tail: f64 = chunks.remainder().iter().map(&value).sum();
    for chunk in chunks {
        for (lane, item) in lanes.iter_mut().zip(chunk) {
            *lane += value(item);
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// Largest of `value` over `items`, negative infinity if there are none.
#[inline(always)]
pub(super) fn lane_max<T>(items: &[T], value: impl Fn(&T) -> f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = items.chunks_exact(LANES);
    let tail = chunks.remainder().iter().map(&value).fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        for (lane, item) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value(item));
        }
    }
    lanes.into_iter().fold(tail, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn lanes_agree_with_plain_sum_and_maximum_for_every_tail_length() {
        for length in 0..40 {
            let values: Vec<f32> = (0..length).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
            assert_eq!(
                lane_sum(&values, |v| f64::from(*v)),
                values.iter().map(|v| f64::from(*v)).sum::<f64>()
            );
            assert_eq!(lane_max(&values, |v| *v), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
