//! `Q6_K`: 256 weights in 210 bytes, groups of 16. 128 bytes of low nibbles, 64 bytes of upper two bits, sixteen signed
//! 8-bit scales, half-precision `d`; `w = (code − 32) · (d · scale)`.
//!
//! Each half of 128 weights has 64 bytes of nibbles (the low ones first) and 32 bytes of upper bits, read four times.

use super::{
    BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, part, signed_multiples,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q6_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 210;
    const GROUP: usize = 16;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(208)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 6, values: Values::From(-32), params: &[(192, 210)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<210, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<256, _>(q);
        for half in 0..2 {
            let low = part::<64>(block, 64 * half);
            let high = part::<32>(block, 128 + 32 * half);
            let q = head_mut::<128, _>(&mut q[128 * half..]);
            for l in 0..32 {
                q[l] = (low[l] & 15 | (high[l] & 3) << 4) as i8 - 32;
                q[l + 32] = (low[l + 32] & 15 | (high[l] >> 2 & 3) << 4) as i8 - 32;
                q[l + 64] = (low[l] >> 4 | (high[l] >> 4 & 3) << 4) as i8 - 32;
                q[l + 96] = (low[l + 32] >> 4 | (high[l] >> 6) << 4) as i8 - 32;
            }
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        let d = halves(&bytes[16], &bytes[17]);
        for i in 0..16 {
            for l in 0..L {
                s[i][l] = d[l] * f32::from(bytes[i][l] as i8);
            }
        }
    }

    fn store(s: &[f32], _: &[f32], block: &mut [u8]) {
        let (d, scales) = signed_multiples(s, 128);
        block[208..210].copy_from_slice(&d);
        let bytes = block[192..208].iter_mut();
        bytes.zip(&scales).for_each(|(byte, scale)| *byte = *scale as u8);
    }
}
