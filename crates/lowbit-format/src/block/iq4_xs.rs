//! `IQ4_XS`: 256 weights in 136 bytes, groups of 32. Half-precision `d`, 16 bits with the upper two bits and four bytes
//! with the low nibbles of eight 6-bit scales, then per group 16 bytes of nibbles as in `IQ4_NL`;
//! `w = value[code] · (d · (scale − 32))`.

use super::{
    BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut,
    iq4_nl::{VALUES, values},
    part, rows,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq4_xs";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 136;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 4, values: Values::Table(VALUES), params: &[(0, 8)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<136, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<256, _>(q);
        for i in 0..8 {
            values(part(block, 8 + 16 * i), head_mut(&mut q[32 * i..]));
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        let d = halves(&bytes[0], &bytes[1]);
        for i in rows(8) {
            // Four bytes of low nibbles, two to a byte, and two bytes of the upper two bits, four to a byte.
            for l in 0..L {
                let low = bytes[4 + i / 2][l] >> (i % 2 * 4) & 15;
                let high = bytes[2 + i / 4][l] >> (i % 4 * 2) & 3;
                s[i][l] = d[l] * f32::from((low | high << 4) as i8 - 32);
            }
        }
    }
}
