//! `Q4_1`: 32 weights in 20 bytes. Half-precision scale `d` and minimum `m`, then 16 bytes of nibbles as in `Q4_0`;
//! `w = code · d + m`.

use super::{BlockCodec, Elements, Scale, Values, expand_params, half, halves, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q4_1";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 20;
    const GROUP: usize = 32;
    const OFFSETS: bool = true;
    const SCALES: &'static [Scale] = &[Scale::f16(0), Scale::f16(2).halves(-15)];
    const ELEMENTS: Option<Elements> = Some(Elements { bits: 4, values: Values::From(0), params: &[(0, 4)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<20, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<32, _>(q);
        for j in 0..16 {
            q[j] = (block[4 + j] & 15) as i8;
            q[j + 16] = (block[4 + j] >> 4) as i8;
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
