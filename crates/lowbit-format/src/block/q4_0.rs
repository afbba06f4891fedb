//! `Q4_0`: 32 weights in 18 bytes. A half-precision scale `d`, then 16 bytes; byte `j` holds the codes of weight `j`
//! (low nibble) and weight `j + 16` (high nibble); `w = (code − 8) · d`.

use super::{BlockCodec, Elements, Scale, Values, expand_params, half, halves, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q4_0";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 4, values: Values::From(-8), params: &[(0, 2)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<18, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<32, _>(q);
        for j in 0..16 {
            q[j] = (block[2 + j] & 15) as i8 - 8;
            q[j + 16] = (block[2 + j] >> 4) as i8 - 8;
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
