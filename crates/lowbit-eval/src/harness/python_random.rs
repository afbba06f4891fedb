//! Python's `random.Random(seed).sample`, which lm-evaluation-harness draws examples with: the same examples come of the same
//! seed.

use sha2::{Digest, Sha512};

const N: usize = 624;
const M: usize = 397;

/// The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded as Python seeds it with a number.
pub(crate) struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    pub(crate) fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        Self::of_key(&[low, high][..if high == 0 { 1 } else { 2 }])
    }

    /// Seeded as Python seeds it with a text: by the number whose bytes are the text and its SHA-512.
    pub(crate) fn of_text(text: &str) -> Self {
        let bytes = [text.as_bytes(), &Sha512::digest(text)].concat();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        let word = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        Self::of_key(&bytes.rchunks(4).map(word).collect::<Vec<_>>())
    }

    /// As `init_by_array` of the authors.
    fn of_key(key: &[u32]) -> Self {
        let mut state = [0u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ before >> 30).wrapping_add(i as u32);
        }
        let mut mixed = Mixed { state, i: 1 };
        let mut j = 0;
        for _ in 0..N.max(key.len()) {
            mixed.mix(1_664_525, key[j].wrapping_add(j as u32));
            j = (j + 1) % key.len();
        }
        for _ in 1..N {
            mixed.mix(1_566_083_941, (mixed.i as u32).wrapping_neg());
        }
        mixed.state[0] = 0x8000_0000;
        Self { state: mixed.state, next: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let both = self.state[i] & 0x8000_0000 | self.state[(i + 1) % N] & 0x7fff_ffff;
                let odd = if both & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ both >> 1 ^ odd;
            }
            self.next = 0;
        }
        let mut x = self.state[self.next];
        self.next += 1;
        x ^= x >> 11;
        x ^= x << 7 & 0x9d2c_5680;
        x ^= x << 15 & 0xefc6_0000;
        x ^ x >> 18
    }

    /// A number below `n`, which is at least 1.
    pub(crate) fn below(&mut self, n: u32) -> usize {
        let bits = u32::BITS - n.leading_zeros();
        loop {
            let drawn = self.next_u32() >> (u32::BITS - bits);
            if drawn < n {
                return drawn as usize;
            }
        }
    }

    /// `count` places of a list of `len`, none twice.
    ///
    /// # Panics
    /// Where there are fewer, or more than 2³² of them.
    pub(crate) fn sample(&mut self, len: usize, count: usize) -> Vec<usize> {
        assert!(count <= len && u32::try_from(len).is_ok(), "{count} of {len}");
        let mut most = 21usize;
        if count > 5 {
            // 4 to the power of ceil(log4(3 count)).
            most += std::iter::successors(Some(1usize), |power| Some(power * 4))
                .find(|power| *power >= count * 3)
                .unwrap_or(0);
        }
        let mut drawn = Vec::with_capacity(count);
        if len <= most {
            let mut pool: Vec<usize> = (0..len).collect();
            for i in 0..count {
                let place = self.below((len - i) as u32);
                drawn.push(pool[place]);
                pool[place] = pool[len - i - 1];
            }
        } else {
            while drawn.len() < count {
                let place = self.below(len as u32);
                if !drawn.contains(&place) {
                    drawn.push(place);
                }
            }
        }
        drawn
    }
}

/// A state that a key is mixed into.
struct Mixed {
    state: [u32; N],
    i: usize,
}

impl Mixed {
    fn mix(&mut self, factor: u32, add: u32) {
        let before = self.state[self.i - 1];
        self.state[self.i] =
            (self.state[self.i] ^ (before ^ before >> 30).wrapping_mul(factor)).wrapping_add(add);
        self.i += 1;
        if self.i == N {
            self.state[0] = self.state[N - 1];
            self.i = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_python() {
        // Of `r = random.Random(seed)`: `r.sample(range(len), count)`, in this order.
        let mut random = PythonRandom::new(1234);
        assert_eq!(random.sample(7473, 5), [6374, 3610, 957, 61, 742]);
        assert_eq!(random.sample(7473, 5), [7462, 6610, 4769, 286, 5501]);
        assert_eq!(random.sample(20, 5), [2, 3, 11, 7, 0]);
        assert_eq!(
            random.sample(21, 21),
            [0, 20, 11, 15, 14, 4, 1, 2, 18, 16, 19, 8, 7, 3, 10, 5, 17, 9, 6, 13, 12]
        );
        assert_eq!(random.sample(100, 6), [34, 71, 8, 82, 38, 61]);
        assert_eq!(random.sample(85, 6), [45, 34, 31, 25, 58, 67]);
        assert_eq!(
            random.sample(1119, 25),
            [
                39, 1040, 144, 11, 683, 294, 968, 772, 342, 110, 156, 1016, 335, 154, 440, 295, 55, 709, 227,
                1084, 289, 625, 930, 81, 852
            ]
        );
        assert_eq!(random.sample(3, 1), [1]);
        assert_eq!(random.sample(1, 1), [0]);
        assert_eq!(random.sample(4096, 2), [1452, 2225]);
        let mut random = PythonRandom::new(0);
        assert_eq!(random.sample(7473, 5), [6917, 3155, 6209, 7292, 3445]);
        assert_eq!(random.sample(7473, 5), [331, 2121, 4188, 3980, 3317]);
        assert_eq!(random.sample(20, 5), [9, 15, 11, 6, 4]);
        assert_eq!(
            random.sample(21, 21),
            [9, 4, 3, 8, 19, 20, 1, 11, 14, 10, 5, 7, 17, 12, 2, 18, 6, 15, 16, 13, 0]
        );
        assert_eq!(random.sample(100, 6), [66, 33, 7, 70, 1, 11]);
        assert_eq!(random.sample(85, 6), [51, 80, 0, 78, 63, 42]);
        assert_eq!(
            random.sample(1119, 25),
            [
                499, 666, 128, 391, 454, 488, 291, 1112, 917, 186, 164, 655, 1040, 1002, 223, 617, 596, 255,
                681, 1106, 416, 589, 911, 187, 788
            ]
        );
        assert_eq!(random.sample(3, 1), [1]);
        assert_eq!(random.sample(1, 1), [0]);
        assert_eq!(random.sample(4096, 2), [2378, 1506]);
        let mut random = PythonRandom::new(1099511627783);
        assert_eq!(random.sample(7473, 5), [5027, 6122, 6675, 5238, 4672]);
        assert_eq!(random.sample(7473, 5), [5780, 3898, 2054, 5042, 1038]);
        assert_eq!(random.sample(20, 5), [16, 12, 19, 11, 18]);
        assert_eq!(
            random.sample(21, 21),
            [14, 20, 11, 7, 19, 5, 2, 18, 8, 13, 9, 16, 0, 4, 12, 10, 1, 17, 15, 6, 3]
        );
        assert_eq!(random.sample(100, 6), [6, 44, 37, 77, 61, 3]);
        assert_eq!(random.sample(85, 6), [48, 74, 44, 33, 60, 82]);
        assert_eq!(
            random.sample(1119, 25),
            [
                501, 1017, 392, 434, 322, 968, 103, 299, 834, 795, 145, 18, 715, 1099, 913, 994, 693, 383,
                584, 218, 403, 79, 1111, 596, 220
            ]
        );
        assert_eq!(random.sample(3, 1), [0]);
        assert_eq!(random.sample(1, 1), [0]);
        assert_eq!(random.sample(4096, 2), [2670, 3918]);
    }

    /// From Python 3.11's `Random(text)._randbelow(1000)`.
    #[test]
    fn texts_seed_as_in_python() {
        for (text, expected) in [
            ("I ate a cake.", [366, 143, 73, 698]),
            ("Ich aß Äpfel, viele.", [891, 68, 290, 533]),
            ("", [983, 465, 609, 211]),
            ("abcd", [315, 413, 443, 298]),
            ("I walked my dog in the park and it was sunny.", [275, 607, 530, 772]),
        ] {
            let mut random = PythonRandom::of_text(text);
            assert_eq!([0; 4].map(|_| random.below(1000)), expected, "{text:?}");
        }
    }
}
