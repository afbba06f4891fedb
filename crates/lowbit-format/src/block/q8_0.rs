//! `Q8_0`: 32 weights in 34 bytes. A half-precision scale `d`, then 32 signed bytes; `w = code · d`.

use super::{BlockCodec, f16_at, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q8_0";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 34;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<34>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        for j in 0..32 {
            q[j] = block[2 + j] as i8;
        }
    }
}
