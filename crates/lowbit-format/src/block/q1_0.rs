//! `Q1_0`: 128 binary weights in 18 bytes. A half-precision scale `d`, then one bit a weight, low bits first; `w` is `d`
//! where the bit is set, else `−d`.
//!
//! The same block was first called `Q1_0_G128` by the makers of the Bonsai models.

use super::{
    BIT_MASKS, BlockCodec, Elements, SIGNS, Scale, Values, expand_params, halves, head, head_mut, put8, splat,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q1_0";
    const WEIGHTS: usize = 128;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 1, values: Values::Table(SIGNS), params: &[(0, 2)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<18, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<128, _>(q);
        for i in 0..16 {
            put8(q, 8 * i, !BIT_MASKS[usize::from(block[2 + i])] | splat(1));
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s.fill(halves(&bytes[0], &bytes[1]));
    }
}
