//! `Q4_1`: 32 weights in 20 bytes. Half-precision scale `d` and minimum `m`, then 16 bytes of nibbles as in `Q4_0`;
//! `w = code · d + m`.

use super::{BlockCodec, f16_at, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q4_1";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 20;
    const GROUP: usize = 32;
    const OFFSETS: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<20>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        c[0] = f16_at(block, 2);
        for j in 0..16 {
            q[j] = (block[4 + j] & 15) as i8;
            q[j + 16] = (block[4 + j] >> 4) as i8;
        }
    }
}
