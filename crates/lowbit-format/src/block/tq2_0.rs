//! `TQ2_0`: 256 ternary weights in 66 bytes. 64 bytes of 2-bit codes, each run of 32 bytes read four times as in
//! `Q2_K`, then a half-precision scale `d`; `w = (code − 1) · d`.

use super::{BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "tq2_0";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 66;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(64)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 2, values: Values::From(-1), params: &[(64, 66)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<66, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<256, _>(q);
        for half in 0..2 {
            let codes = part::<32>(block, 32 * half);
            for run in 0..4 {
                for l in 0..32 {
                    q[128 * half + 32 * run + l] = (codes[l] >> (2 * run) & 3) as i8 - 1;
                }
            }
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s.fill(halves(&bytes[0], &bytes[1]));
    }
}
