//! `Q2_K`: 256 weights in 84 bytes, groups of 16. Sixteen bytes of 4-bit scales (low nibble) and minimums (high), 64
//! bytes of 2-bit codes, half-precision `d` and `dmin`; `w = code · (d · scale) − dmin · minimum`.
//!
//! Each half of 128 weights reads 32 bytes four times, two bits deeper every time.

use super::{BlockCodec, f16_at, head, head_mut, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q2_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 84;
    const GROUP: usize = 16;
    const OFFSETS: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<84>(block);
        let q = head_mut::<256, _>(q);
        let (s, c) = (head_mut::<16, _>(s), head_mut::<16, _>(c));
        let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
        for i in 0..16 {
            s[i] = d * f32::from(block[i] & 15);
            c[i] = -(dmin * f32::from(block[i] >> 4));
        }
        for half in 0..2 {
            let codes = part::<32>(block, 16 + 32 * half);
            for run in 0..4 {
                for l in 0..32 {
                    q[128 * half + 32 * run + l] = (codes[l] >> (2 * run) & 3) as i8;
                }
            }
        }
    }
}
