//! `Q1_0`: 128 binary weights in 18 bytes. A half-precision scale `d`, then one bit a weight, low bits first; `w` is `d`
//! where the bit is set, else `−d`.
//!
//! The same block was first called `Q1_0_G128` by the makers of the Bonsai models.

use super::{BIT_MASKS, BlockCodec, f16_at, head, head_mut, put8, splat};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q1_0";
    const WEIGHTS: usize = 128;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<18>(block);
        let q = head_mut::<128, _>(q);
        *head_mut::<4, _>(s) = [f16_at(block, 0); 4];
        for i in 0..16 {
            put8(q, 8 * i, !BIT_MASKS[usize::from(block[2 + i])] | splat(1));
        }
    }
}
