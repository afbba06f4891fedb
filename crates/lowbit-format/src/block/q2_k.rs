//! `Q2_K`: 256 weights in 84 bytes, groups of 16. Sixteen bytes of 4-bit scales (low nibble) and minimums (high), 64
//! bytes of 2-bit codes, half-precision `d` and `dmin`; `w = code · (d · scale) − dmin · minimum`.
//!
//! Each half of 128 weights reads 32 bytes four rows, two bits deeper every time.

use super::{
    BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, multiples, part, rows,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q2_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 84;
    const GROUP: usize = 16;
    const OFFSETS: bool = true;
    const SCALES: &'static [Scale] = &[Scale::f16(80), Scale::f16(82).halves(3)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 2, values: Values::From(0), params: &[(0, 16), (80, 84)] });
    const STORES: bool = true;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<84, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<256, _>(q);
        for half in 0..2 {
            let codes = part::<32>(block, 16 + 32 * half);
            for run in 0..4 {
                for l in 0..32 {
                    q[128 * half + 32 * run + l] = (codes[l] >> (2 * run) & 3) as i8;
                }
            }
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], c: &mut [[f32; L]]) {
        let (d, dmin) = (halves(&bytes[16], &bytes[17]), halves(&bytes[18], &bytes[19]));
        for i in rows(16) {
            for l in 0..L {
                s[i][l] = d[l] * f32::from(bytes[i][l] & 15);
                c[i][l] = -(dmin[l] * f32::from(bytes[i][l] >> 4));
            }
        }
    }

    fn store(s: &[f32], c: &[f32], block: &mut [u8]) {
        let ((d, scales), (dmin, mins)) =
            (multiples(s.iter().copied(), 15), multiples(c.iter().map(|c| -c), 15));
        block[80..82].copy_from_slice(&d);
        block[82..84].copy_from_slice(&dmin);
        let both = scales.iter().zip(&mins);
        block.iter_mut().zip(both).for_each(|(byte, (scale, min))| *byte = scale | min << 4);
    }
}
