//! `IQ1_S`: 256 weights in 50 bytes, groups of 32. Half-precision `d`, 32 low bytes of eleven-bit numbers of eight
//! weights in a ternary grid of 2048, then per group 16 bits: four times three upper bits of the numbers, a 3-bit
//! scale, and the sign of a shift by an eighth; `w = (grid ± ⅛) · (d · (2 · scale + 1))`.
//!
//! `q` is eight times the bracket and `s` an eighth of the scale, so that both are exact.

use super::{BlockCodec, Scale, f16_at, grid, head, head_mut, put8, u16_at};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq1_s";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 50;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<50, _>(block);
        let (q, s) = (head_mut::<256, _>(q), head_mut::<8, _>(s));
        let d = f16_at(block, 0);
        for i in 0..8 {
            let word = u16_at(block, 34 + 2 * i);
            s[i] = d * f32::from(2 * (word >> 12 & 7) + 1) * 0.125;
            let down = (word >> 15) as u8;
            for j in 0..4 {
                let number = usize::from(block[2 + 4 * i + j]) | usize::from(word >> (3 * j) & 7) << 8;
                put8(q, 32 * i + 8 * j, grid::iq1_shifted(number, down));
            }
        }
    }
}
