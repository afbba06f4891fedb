//! `Q5_K`: 256 weights in 176 bytes, groups of 32. As `Q4_K` with 32 bytes of fifth bits before the nibbles: that of
//! weight `32 r + l` is bit `r` of byte `l`.

use super::{BlockCodec, f16_at, head, head_mut, k_scales, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q5_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 176;
    const GROUP: usize = 32;
    const OFFSETS: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<176>(block);
        let q = head_mut::<256, _>(q);
        let (s, c) = (head_mut::<8, _>(s), head_mut::<8, _>(c));
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let (scales, mins) = k_scales(part(block, 4));
        for i in 0..8 {
            s[i] = d * f32::from(scales[i]);
            c[i] = -(dmin * f32::from(mins[i]));
        }
        let high = part::<32>(block, 16);
        for run in 0..4 {
            let low = part::<32>(block, 48 + 32 * run);
            for l in 0..32 {
                let (even, odd) = (high[l] >> (2 * run) & 1, high[l] >> (2 * run + 1) & 1);
                q[64 * run + l] = (low[l] & 15 | even << 4) as i8;
                q[64 * run + 32 + l] = (low[l] >> 4 | odd << 4) as i8;
            }
        }
    }
}
