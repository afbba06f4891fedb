//! `Q5_0`: 32 weights in 22 bytes. A half-precision scale `d`, a 32-bit word with the fifth bit of every code, then 16
//! bytes of nibbles as in `Q4_0`; `w = (code − 16) · d`.

use super::{BlockCodec, f16_at, head, head_mut, part, spread_bits};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q5_0";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 22;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<22>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        let high = spread_bits(*part(block, 2), 16);
        for j in 0..16 {
            q[j] = (block[6 + j] & 15 | high[j]) as i8 - 16;
            q[j + 16] = (block[6 + j] >> 4 | high[j + 16]) as i8 - 16;
        }
    }
}
