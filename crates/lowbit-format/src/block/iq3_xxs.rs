//! `IQ3_XXS`: 256 weights in 98 bytes, groups of 32. Half-precision `d`, 64 bytes, each the number of four weights in a
//! grid of 256, then per group 32 bits of signs and scale as in `IQ2_XXS`; `w = ±grid · (d · (scale + ½) / 2)`.

use super::{BlockCodec, Scale, f16_at, grid, head, head_mut, put8, u32_at};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq3_xxs";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 98;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<98, _>(block);
        let (q, s) = (head_mut::<256, _>(q), head_mut::<8, _>(s));
        let d = f16_at(block, 0);
        for i in 0..8 {
            let signs = u32_at(block, 66 + 4 * i);
            s[i] = d * (0.5 + (signs >> 28) as f32) * 0.5;
            for j in 0..4 {
                let number = |k: usize| usize::from(block[2 + 8 * i + 2 * j + k]);
                let eight = grid::join(grid::IQ3_XXS[number(0)], grid::IQ3_XXS[number(1)]);
                let mask = grid::EVEN_SIGNS[(signs >> (7 * j) & 127) as usize];
                put8(q, 32 * i + 8 * j, grid::signed(eight, mask));
            }
        }
    }
}
