//! Arithmetic of the decision path that gives the same bits on every platform.
//!
//! The standard library's `exp`, `ln` and `powf` go to the platform's C library and differ in the last place from
//! one to the next, which is enough to turn one sampled token into another. Here the exponential over the whole
//! vocabulary is that of `lowbit_kernels::ops`, a short polynomial of IEEE additions and multiplications (Rust never fuses
//! them), written so that it vectorizes; the few scalar logarithms and powers come from `libm`, which is the same Rust code everywhere.
//! Sums over the vocabulary run in a fixed number of lanes, so their order depends on nothing but the length.

pub(super) use lowbit_kernels::ops::exp_non_positive;

const LANES: usize = 8;

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
