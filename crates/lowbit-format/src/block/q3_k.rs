//! `Q3_K`: 256 weights in 110 bytes, groups of 16. 32 bytes of third bits, 64 bytes of 2-bit codes as in `Q2_K`, twelve
//! bytes of 6-bit scales, half-precision `d`; `w = (code − 4) · (d · (scale − 32))`.
//!
//! The third bit of weight `32 r + l` is bit `r` of byte `l`.

use super::{
    BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, part, signed_multiples,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q3_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 110;
    const GROUP: usize = 16;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(108)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 3, values: Values::From(-4), params: &[(96, 110)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<110, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<256, _>(q);
        let high = part::<32>(block, 0);
        for half in 0..2 {
            let low = part::<32>(block, 32 + 32 * half);
            for run in 0..4 {
                for l in 0..32 {
                    let third = (high[l] >> (4 * half + run) & 1) << 2;
                    q[128 * half + 32 * run + l] = (low[l] >> (2 * run) & 3 | third) as i8 - 4;
                }
            }
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        let d = halves(&bytes[12], &bytes[13]);
        for i in 0..16 {
            // Low nibbles of scales 0–7 and 8–15 in bytes 0–7, their upper two bits, four scales a byte, in bytes 8–11.
            for l in 0..L {
                let low = bytes[i % 8][l] >> (i / 8 * 4) & 15;
                let high = bytes[8 + i % 4][l] >> (i / 4 * 2) & 3;
                s[i][l] = d[l] * f32::from((low | high << 4) as i8 - 32);
            }
        }
    }

    fn store(s: &[f32], _: &[f32], block: &mut [u8]) {
        let (d, scales) = signed_multiples(s, 32);
        block[108..110].copy_from_slice(&d);
        for (i, scale) in scales.iter().enumerate() {
            let scale = (scale + 32) as u8;
            block[96 + i % 8] |= (scale & 15) << (i / 8 * 4);
            block[104 + i % 4] |= scale >> 4 << (i / 4 * 2);
        }
    }
}
