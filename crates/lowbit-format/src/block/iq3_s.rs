//! `IQ3_S`: 256 weights in 110 bytes, groups of 32. Half-precision `d`, 64 low bytes and eight bytes of ninth bits of
//! numbers of four weights in a grid of 512, 32 bytes of signs, eight 4-bit scales;
//! `w = ±grid · (d · (2 · scale + 1))`.

use super::{BIT_MASKS, BlockCodec, Scale, f16_at, grid, head, head_mut, put8};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq3_s";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 110;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<110, _>(block);
        let (q, s) = (head_mut::<256, _>(q), head_mut::<8, _>(s));
        let d = f16_at(block, 0);
        for i in 0..8 {
            let scale = block[106 + i / 2] >> (4 * (i % 2)) & 15;
            s[i] = d * f32::from(2 * scale + 1);
        }
        for j in 0..32 {
            let number = |k: usize| {
                let ninth = block[66 + j / 4] >> (2 * (j % 4) + k) & 1;
                usize::from(block[2 + 2 * j + k]) | usize::from(ninth) << 8
            };
            let eight = grid::join(grid::IQ3_S[number(0)], grid::IQ3_S[number(1)]);
            let mask = BIT_MASKS[usize::from(block[74 + j])];
            put8(q, 8 * j, grid::signed(eight, mask));
        }
    }
}
