//! `Q1_0_G32`: 32 binary weights in 6 bytes, `Q1_0` of the first Bonsai tools, before the name went to groups of 128. A
//! half-precision scale `d`, then one bit a weight, low bits first.

use super::{BIT_MASKS, BlockCodec, f16_at, head, head_mut, put8, splat};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q1_0_g32";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 6;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<6>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        for i in 0..4 {
            put8(q, 8 * i, !BIT_MASKS[usize::from(block[2 + i])] | splat(1));
        }
    }
}
