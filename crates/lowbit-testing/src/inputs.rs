//! Inputs on which answers can be worked out by hand, and seeded random ones.

use crate::seeded::SplitMix64;

/// A shape of input with a name, so that a table test can say which one failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shaped {
    /// All elements zero: the group whose scale would divide by zero.
    Zero,
    /// All elements equal.
    Constant(f32),
    /// Evenly spaced from -1 to 1, both included; a single element is -1.
    Ramp,
    /// Small values of alternating sign, ±2⁻⁷, and one that is 100 at the middle.
    Outlier,
    /// Seeded values in [-1, 1).
    Uniform,
    /// Seeded values close to a standard normal distribution.
    Normal,
}

impl Shaped {
    /// One of each, the constant being -0.75.
    pub const ALL: [Self; 6] =
        [Self::Zero, Self::Constant(-0.75), Self::Ramp, Self::Outlier, Self::Uniform, Self::Normal];

    /// `n` elements of this shape.
    pub fn values(self, n: usize) -> Vec<f32> {
        match self {
            Self::Zero => vec![0.0; n],
            Self::Constant(value) => vec![value; n],
            Self::Ramp => {
                let steps = n.saturating_sub(1).max(1) as f32;
                (0..n).map(|i| 2.0 * i as f32 / steps - 1.0).collect()
            }
            Self::Outlier => {
                let small = 1.0 / 128.0;
                let mut values: Vec<f32> = (0..n).map(|i| if i % 2 == 0 { small } else { -small }).collect();
                if let Some(middle) = values.get_mut(n / 2) {
                    *middle = 100.0;
                }
                values
            }
            Self::Uniform => uniform(n, 1),
            Self::Normal => normal(n, 1),
        }
    }
}

/// `n` values in [-1, 1), the same for the same seed on every platform.
pub fn uniform(n: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..n).map(|_| random.next_unit()).collect()
}

/// `n` values of mean 0 and variance 1, close to normal, none beyond ±6.
///
/// Each is half the sum of twelve uniform values (Irwin and Hall): no logarithm or cosine, whose last bits
/// differ between platforms.
pub fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..n).map(|_| (0..12).map(|_| random.next_unit()).sum::<f32>() / 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_the_length_asked_for() {
        for shape in Shaped::ALL {
            for n in [0, 1, 2, 7, 64] {
                assert_eq!(shape.values(n).len(), n, "{shape:?}");
            }
        }
    }

    #[test]
    fn shapes_are_what_they_are_called() {
        assert_eq!(Shaped::Ramp.values(5), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(Shaped::Ramp.values(1), [-1.0]);
        assert_eq!(Shaped::Outlier.values(4), [0.0078125, -0.0078125, 100.0, -0.0078125]);
    }

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        let values = normal(10_000, 7);
        let mean = values.iter().sum::<f32>() / 1e4;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 1e4;
        // Five standard errors: 5/√n for the mean, 5·√(2/n) for the variance.
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance - 1.0).abs() < 0.071, "{variance}");
        assert!(values.iter().all(|v| v.abs() <= 6.0));
        assert_ne!(values, normal(10_000, 8));
    }
}
