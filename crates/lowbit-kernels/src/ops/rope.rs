//! Rotary position embedding of one head.

use crate::isa::multiversion;

/// Which elements of a head form the rotated pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopePairs {
    /// Element `i` with `i + d/2`: Hugging Face checkpoints, and GGUF files of most architectures.
    Halves,
    /// Element `2i` with `2i + 1`: the original Llama layout, kept by GGUF files of Llama models.
    Adjacent,
}

multiversion! {
    /// Rotates the first `2 · cos.len()` elements of a head in place, pair `i` by the angle of `cos[i]`, `sin[i]`.
    ///
    /// # Panics
    /// Where the head is shorter than that or the tables differ in length.
    pub fn rope(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) = rope_head;
}

#[inline(always)]
fn rope_head(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    assert!(sin.len() == half && head.len() >= 2 * half);
    match pairs {
        RopePairs::Halves => {
            let (a, b) = head[..2 * half].split_at_mut(half);
            for i in 0..half {
                let (x, y) = (a[i], b[i]);
                a[i] = x * cos[i] - y * sin[i];
                b[i] = x * sin[i] + y * cos[i];
            }
        }
        RopePairs::Adjacent => {
            for (i, pair) in head[..2 * half].as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let [x, y] = *pair;
                *pair = [x * cos[i] - y * sin[i], x * sin[i] + y * cos[i]];
            }
        }
    }
}
