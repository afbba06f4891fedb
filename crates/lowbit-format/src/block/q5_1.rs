//! `Q5_1`: 32 weights in 24 bytes. Half-precision scale `d` and minimum `m`, the fifth bits and nibbles as in `Q5_0`;
//! `w = code · d + m`.

use super::{BlockCodec, f16_at, head, head_mut, part, spread_bits};

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
        let high = spread_bits(*part(block, 4), 16);
        for j in 0..16 {
            q[j] = (block[8 + j] & 15 | high[j]) as i8;
            q[j + 16] = (block[8 + j] >> 4 | high[j + 16]) as i8;
        }
    }
}
