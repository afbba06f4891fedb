//! `IQ1_M`: 256 weights in 56 bytes, groups of 16. 32 low bytes of numbers as in `IQ1_S`, sixteen bytes with two times
//! three upper bits and a shift's sign, then four 16-bit words: sixteen 3-bit scales below, and in the top nibbles the
//! half-precision `d`; `w = (grid ± ⅛) · (d · (2 · scale + 1))`, the shift for eight weights at a time.

use super::{BlockCodec, Scale, grid, head, head_mut, put8, u16_at};
use crate::float::f16_to_f32;

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq1_m";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 56;
    const GROUP: usize = 16;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::top_nibbles(48)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<56, _>(block);
        let (q, s) = (head_mut::<256, _>(q), head_mut::<16, _>(s));
        let words = [48, 50, 52, 54].map(|at| u16_at(block, at));
        let d = f16_to_f32(words[0] >> 12 | words[1] >> 12 << 4 | words[2] >> 12 << 8 | words[3] >> 12 << 12);
        for i in 0..16 {
            let scale = words[i / 4] >> (3 * (i % 4)) & 7;
            s[i] = d * f32::from(2 * scale + 1) * 0.125;
        }
        for j in 0..32 {
            let top = block[32 + j / 2] >> (4 * (j % 2)) & 15;
            let number = usize::from(block[j]) | usize::from(top & 7) << 8;
            let down = top >> 3;
            put8(q, 8 * j, grid::iq1_shifted(number, down));
        }
    }
}
