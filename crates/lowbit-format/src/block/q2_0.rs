//! `Q2_0`: 64 weights in 18 bytes. A half-precision scale `d`, then four 2-bit codes a byte, low bits first;
//! `w = (code − 1) · d`, so that ternary weights leave the last code unused.

use super::{BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, quads_minus_one};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q2_0";
    const WEIGHTS: usize = 64;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 2, values: Values::From(-1), params: &[(0, 2)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<18, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<64, _>(q);
        for (four, byte) in q.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
            *four = quads_minus_one(*byte);
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s.fill(halves(&bytes[0], &bytes[1]));
    }
}
