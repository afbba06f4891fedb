//! Reproducible values from a name, the same here and in `golden/formula.py`.
//!
//! A text is hashed to a seed, the seed starts a counter-based generator, and the top 24 bits of each output
//! become a number in [-1, 1) that is exact in f32. Nothing depends on the platform's mathematics library.

/// FNV-1a, 64 bits, of bytes or of a text's UTF-8 bytes.
pub fn fnv1a(data: impl AsRef<[u8]>) -> u64 {
    data.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The SplitMix64 generator: an endless iterator of u64.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator whose outputs depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator seeded with the hash of `text`.
    pub fn from_text(text: &str) -> Self {
        Self(fnv1a(text))
    }

    /// The next output.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A multiple of 2⁻²³ in [-1, 1).
    pub fn next_unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / 8_388_608.0) - 1.0
    }

    /// An integer below `bound`, by remainder: the bias is below `bound` / 2⁶⁴.
    pub fn next_below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}

impl Iterator for SplitMix64 {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        Some(self.next_u64())
    }
}

/// `n` values `offset + scale · u`, u in [-1, 1) from the text; product and sum are each rounded to f32.
pub fn seeded_values(text: &str, n: usize, scale: f32, offset: f32) -> Vec<f32> {
    let mut random = SplitMix64::from_text(text);
    (0..n).map(|_| offset + scale * random.next_unit()).collect()
}

/// `n` bytes of four 2-bit codes, each 0, 1 or 2; code j takes bits 16j..16j+16 of the byte's random number.
pub fn packed_ternary(text: &str, n: usize) -> Vec<u8> {
    let byte = |z: u64| {
        (0..4).fold(0, |byte, j| {
            let lane = (z >> (16 * j)) & 0xffff;
            byte | (((lane * 3) >> 16) as u8) << (2 * j)
        })
    };
    SplitMix64::from_text(text).take(n).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_has_its_published_values() {
        // The FNV authors' test vectors.
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_generator_has_its_published_values() {
        // First outputs for the seed 1234567, as the generator's author lists them.
        let outputs: Vec<u64> = SplitMix64::new(1_234_567).take(3).collect();
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn values_equal_those_of_the_script() {
        let values = seeded_values("llama-gqa/model.layers.0.self_attn.q_proj.weight", 4, 0.375, 0.0);
        assert_eq!(values, PYTHON_Q_PROJ);
        let gains = seeded_values("llama-gqa/model.norm.weight", 4, 0.25, 1.0);
        assert_eq!(gains, PYTHON_NORM);
        assert_eq!(packed_ternary("bitnet-packed/codes", 6), PYTHON_CODES);
    }

    #[test]
    fn packed_codes_are_ternary_and_all_occur() {
        let mut seen = [0usize; 4];
        for byte in packed_ternary("x", 4096) {
            (0..4).for_each(|j| seen[usize::from(byte >> (2 * j) & 3)] += 1);
        }
        assert_eq!(seen[3], 0);
        // 16384 draws: each third is within ten standard deviations (60) of 5461.
        assert!(seen[..3].iter().all(|&count| count.abs_diff(5461) < 600), "{seen:?}");
    }

    // Printed by `formula.py` for the same texts.
    const PYTHON_Q_PROJ: [f32; 4] = [0.2803157, -0.22789876, 0.25549033, 0.37446418];
    const PYTHON_NORM: [f32; 4] = [0.84214103, 1.0154774, 0.87087536, 0.9528998];
    const PYTHON_CODES: [u8; 6] = [69, 169, 153, 72, 1, 105];
}
