//! `Q5_1`: 32 weights in 24 bytes. Half-precision scale `d` and minimum `m`, the fifth bits and nibbles as in `Q5_0`;
//! `w = code · d + m`.

use super::{
    BIT_MASKS, BlockCodec, Elements, Scale, Values, expand_params, half, halves, head, head_mut, part, put8,
    splat,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q5_1";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 24;
    const GROUP: usize = 32;
    const OFFSETS: bool = true;
    const SCALES: &'static [Scale] = &[Scale::f16(0), Scale::f16(2).halves(-31)];
    const ELEMENTS: Option<Elements> = Some(Elements { bits: 5, values: Values::From(0), params: &[(0, 4)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<24, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<32, _>(q);
        for i in 0..2 {
            let codes = u64::from_le_bytes(*part(block, 8 + 8 * i));
            let high = |byte: usize| BIT_MASKS[usize::from(block[4 + byte])] & splat(16);
            put8(q, 8 * i, codes & splat(15) | high(i));
            put8(q, 8 * i + 16, codes >> 4 & splat(15) | high(i + 2));
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], c: &mut [[f32; L]]) {
        s[0] = halves(&bytes[0], &bytes[1]);
        c[0] = halves(&bytes[2], &bytes[3]);
    }

    fn store(s: &[f32], c: &[f32], block: &mut [u8]) {
        block[..2].copy_from_slice(&half(s[0]).0);
        block[2..4].copy_from_slice(&half(c[0]).0);
    }
}
