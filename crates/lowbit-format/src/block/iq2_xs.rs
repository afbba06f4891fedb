//! `IQ2_XS`: 256 weights in 74 bytes, groups of 16. Half-precision `d`, 32 16-bit words (nine bits number eight weights
//! in a grid of 512, seven are their signs as in `IQ2_XXS`), then sixteen 4-bit scales;
//! `w = ±grid · (d · (scale + ½) / 4)`.

use super::{BlockCodec, Scale, f16_at, grid, head, head_mut, put8, u16_at};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq2_xs";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 74;
    const GROUP: usize = 16;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<74, _>(block);
        let (q, s) = (head_mut::<256, _>(q), head_mut::<16, _>(s));
        let d = f16_at(block, 0);
        for i in 0..16 {
            let scale = block[66 + i / 2] >> (4 * (i % 2)) & 15;
            s[i] = d * (0.5 + f32::from(scale)) * 0.25;
        }
        for j in 0..32 {
            let word = usize::from(u16_at(block, 2 + 2 * j));
            put8(q, 8 * j, grid::signed(grid::IQ2_XS[word & 511], grid::EVEN_SIGNS[word >> 9]));
        }
    }
}
