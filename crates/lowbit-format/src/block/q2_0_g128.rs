//! `Q2_0_G128`: 128 weights in 34 bytes, `Q2_0` with one scale for 128 weights. The ternary Bonsai models have it, first
//! under the type number that went to `Q2_0`, later as `PQ2_0`.

use super::{BlockCodec, f16_at, head, head_mut, quads_minus_one};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q2_0_g128";
    const WEIGHTS: usize = 128;
    const BYTES: usize = 34;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<34>(block);
        let q = head_mut::<128, _>(q);
        *head_mut::<4, _>(s) = [f16_at(block, 0); 4];
        for (four, byte) in q.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
            *four = quads_minus_one(*byte);
        }
    }
}
