//! The sampler's random numbers: PCG64 seeded by one integer.
//!
//! PCG XSL RR 128/64 (O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for
//! Random Number Generation", 2014) through `rand_pcg`, whose output is the same on every platform. Numbers are
//! drawn by the thread that samples and nowhere else, so the number of threads has no say in them.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// Source of uniform numbers for the choice itself and for stages that act by chance.
#[derive(Debug, Clone)]
pub(super) struct Rng(Pcg64);

impl Rng {
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed))
    }

    /// A multiple of 2⁻⁵³ in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change here changes the text that every seed gives: it is a breaking change.
    #[test]
    fn stream_of_seed_zero_does_not_change() {
        let mut rng = Rng::from_seed(0);
        let first: Vec<u64> = (0..3).map(|_| (rng.uniform() * (1u64 << 53) as f64) as u64).collect();
        assert_eq!(first, [1_149_834_607_893_591, 3_130_477_580_220_397, 6_392_864_384_851_740]);
    }

    #[test]
    fn neighbouring_seeds_give_unrelated_first_numbers() {
        let mut bins = [0u32; 16];
        for seed in 0..1600 {
            bins[(Rng::from_seed(seed).uniform() * 16.0) as usize] += 1;
        }
        // 15 degrees of freedom: chi-square exceeds 37.7 with probability 0.001.
        let chi_square: f64 = bins.iter().map(|&n| (f64::from(n) - 100.0).powi(2) / 100.0).sum();
        assert!(chi_square < 37.7, "{chi_square}");
    }
}
