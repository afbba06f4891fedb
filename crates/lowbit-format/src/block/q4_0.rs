//! `Q4_0`: 32 weights in 18 bytes. A half-precision scale `d`, then 16 bytes; byte `j` holds the codes of weight `j`
//! (low nibble) and weight `j + 16` (high nibble); `w = (code − 8) · d`.

use super::{BlockCodec, f16_at, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q4_0";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<18>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        for j in 0..16 {
            q[j] = (block[2 + j] & 15) as i8 - 8;
            q[j + 16] = (block[2 + j] >> 4) as i8 - 8;
        }
    }
}
