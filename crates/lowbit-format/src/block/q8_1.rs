//! `Q8_1`: 32 weights in 36 bytes. Half-precision scale `d` and sum `d · Σ code`, then 32 signed bytes; `w = code · d`.
//!
//! A format of activations: GGUF can name it as a tensor type, though no tool writes one. The sum is not needed to
//! decode. (The size table of the Python package still has the older block with two single-precision numbers.)

use super::{BlockCodec, f16_at, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q8_1";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 36;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<36>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        for j in 0..32 {
            q[j] = block[4 + j] as i8;
        }
    }
}
