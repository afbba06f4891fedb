//! `IQ2_XXS`: 256 weights in 66 bytes, groups of 32. Half-precision `d`, then per group four bytes, each the number of
//! eight weights in a grid of 256, and 32 bits: four times seven signs (the eighth makes their number even) and a 4-bit
//! scale on top; `w = ±grid · (d · (scale + ½) / 4)`.

use super::{BlockCodec, Scale, f16_at, grid, head, head_mut, put8, u32_at};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq2_xxs";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 66;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<66, _>(block);
        let (q, s) = (head_mut::<256, _>(q), head_mut::<8, _>(s));
        let d = f16_at(block, 0);
        for i in 0..8 {
            let numbers = u32_at(block, 2 + 8 * i).to_le_bytes();
            let signs = u32_at(block, 6 + 8 * i);
            s[i] = d * (0.5 + (signs >> 28) as f32) * 0.25;
            for j in 0..4 {
                let eight = grid::IQ2_XXS[usize::from(numbers[j])];
                let mask = grid::EVEN_SIGNS[(signs >> (7 * j) & 127) as usize];
                put8(q, 32 * i + 8 * j, grid::signed(eight, mask));
            }
        }
    }
}
