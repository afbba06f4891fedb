//! `IQ4_NL`: 32 weights in 18 bytes, laid out as `Q4_0`. The codes are numbers of sixteen values, closer together near
//! zero; `w = value[code] · d`.

use super::{BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, lookup4, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq4_nl";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 4, values: Values::Table(VALUES), params: &[(0, 2)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<18, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<32, _>(q);
        values(part(block, 2), q);
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s[0] = halves(&bytes[0], &bytes[1]);
    }
}

/// The sixteen values of the 4-bit IQ formats.
pub(super) const VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The values of a group's codes: low nibbles first, then the high ones.
#[inline(always)]
pub(super) fn values(codes: &[u8; 16], q: &mut [i8; 32]) {
    for j in 0..16 {
        q[j] = lookup4(&VALUES, codes[j] & 15);
        q[j + 16] = lookup4(&VALUES, codes[j] >> 4);
    }
}
