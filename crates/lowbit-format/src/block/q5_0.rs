//! `Q5_0`: 32 weights in 22 bytes. A half-precision scale `d`, a 32-bit word with the fifth bit of every code, then 16
//! bytes of nibbles as in `Q4_0`; `w = (code − 16) · d`.

use super::{
    BIT_MASKS, BlockCodec, Elements, Scale, Values, expand_params, half, halves, head, head_mut, part, put8,
    splat,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q5_0";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 22;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 5, values: Values::From(-16), params: &[(0, 2)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<22, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<32, _>(q);
        for i in 0..2 {
            let codes = u64::from_le_bytes(*part(block, 6 + 8 * i));
            // The fifth bit is worth 16 and 16 is taken off: a clear one leaves the upper nibble of −16.
            let high = |byte: usize| !BIT_MASKS[usize::from(block[2 + byte])] & splat(0xf0);
            put8(q, 8 * i, codes & splat(15) | high(i));
            put8(q, 8 * i + 16, codes >> 4 & splat(15) | high(i + 2));
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s[0] = halves(&bytes[0], &bytes[1]);
    }

    fn store(s: &[f32], _: &[f32], block: &mut [u8]) {
        block[..2].copy_from_slice(&half(s[0]).0);
    }
}
