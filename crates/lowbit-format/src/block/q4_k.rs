//! `Q4_K`: 256 weights in 144 bytes, groups of 32. Half-precision `d` and `dmin`, twelve bytes of 6-bit scales and
//! minimums, 128 bytes of nibbles; `w = code · (d · scale) − dmin · minimum`.
//!
//! Each run of 32 bytes holds group `2 r` in its low and group `2 r + 1` in its high nibbles.

use super::{
    BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, k_scales, part, store_k,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q4_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 144;
    const GROUP: usize = 32;
    const OFFSETS: bool = true;
    const SCALES: &'static [Scale] = &[Scale::f16(0), Scale::f16(2).halves(15)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 4, values: Values::From(0), params: &[(0, 16)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<144, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<256, _>(q);
        for run in 0..4 {
            let codes = part::<32>(block, 16 + 32 * run);
            for l in 0..32 {
                q[64 * run + l] = (codes[l] & 15) as i8;
                q[64 * run + 32 + l] = (codes[l] >> 4) as i8;
            }
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], c: &mut [[f32; L]]) {
        let (scales, mins) = k_scales(head(&bytes[4..]));
        let (d, dmin) = (halves(&bytes[0], &bytes[1]), halves(&bytes[2], &bytes[3]));
        for i in 0..8 {
            for l in 0..L {
                s[i][l] = d[l] * f32::from(scales[i][l]);
                c[i][l] = -(dmin[l] * f32::from(mins[i][l]));
            }
        }
    }

    fn store(s: &[f32], c: &[f32], block: &mut [u8]) {
        store_k(s, c, &mut block[..16]);
    }
}
