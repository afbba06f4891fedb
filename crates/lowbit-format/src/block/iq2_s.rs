//! `IQ2_S`: 256 weights in 82 bytes, groups of 16. Half-precision `d`, 32 low bytes of ten-bit numbers of eight weights
//! in a grid of 1024, 32 bytes of signs, eight bytes with the upper two bits of the numbers, sixteen 4-bit scales;
//! `w = ±grid · (d · (scale + ½) / 4)`.

use super::{BIT_MASKS, BlockCodec, Scale, f16_at, grid, head, head_mut, put8};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq2_s";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 82;
    const GROUP: usize = 16;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<82, _>(block);
        let (q, s) = (head_mut::<256, _>(q), head_mut::<16, _>(s));
        let d = f16_at(block, 0);
        for i in 0..16 {
            let scale = block[74 + i / 2] >> (4 * (i % 2)) & 15;
            s[i] = d * (0.5 + f32::from(scale)) * 0.25;
        }
        for j in 0..32 {
            let top = block[66 + j / 4] >> (2 * (j % 4)) & 3;
            let number = usize::from(block[2 + j]) | usize::from(top) << 8;
            let mask = BIT_MASKS[usize::from(block[34 + j])];
            put8(q, 8 * j, grid::signed(grid::IQ2_S[number], mask));
        }
    }
}
