//! `Q4_K`: 256 weights in 144 bytes, groups of 32. Half-precision `d` and `dmin`, twelve bytes of 6-bit scales and
//! minimums, 128 bytes of nibbles; `w = code · (d · scale) − dmin · minimum`.
//!
//! Each run of 32 bytes holds group `2 r` in its low and group `2 r + 1` in its high nibbles.

use super::{BlockCodec, f16_at, head, head_mut, k_scales, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q4_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 144;
    const GROUP: usize = 32;
    const OFFSETS: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<144>(block);
        let q = head_mut::<256, _>(q);
        let (s, c) = (head_mut::<8, _>(s), head_mut::<8, _>(c));
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let (scales, mins) = k_scales(part(block, 4));
        for i in 0..8 {
            s[i] = d * f32::from(scales[i]);
            c[i] = -(dmin * f32::from(mins[i]));
        }
        for run in 0..4 {
            let codes = part::<32>(block, 16 + 32 * run);
            for l in 0..32 {
                q[64 * run + l] = (codes[l] & 15) as i8;
                q[64 * run + 32 + l] = (codes[l] >> 4) as i8;
            }
        }
    }
}
