//! `Q5_1`: 32 weights in 24 bytes. Half-precision scale `d` and minimum `m`, the fifth bits and nibbles as in `Q5_0`;
//! `w = code · d + m`.

use super::{BIT_MASKS, BlockCodec, f16_at, head, head_mut, part, put8, splat};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q5_1";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 24;
    const GROUP: usize = 32;
    const OFFSETS: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<24>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        c[0] = f16_at(block, 2);
        for i in 0..2 {
            let codes = u64::from_le_bytes(*part(block, 8 + 8 * i));
            let high = |byte: usize| BIT_MASKS[usize::from(block[4 + byte])] & splat(16);
            put8(q, 8 * i, codes & splat(15) | high(i));
            put8(q, 8 * i + 16, codes >> 4 & splat(15) | high(i + 2));
        }
    }
}
