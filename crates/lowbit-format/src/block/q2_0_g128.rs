//! `Q2_0_G128`: 128 weights in 34 bytes, `Q2_0` with one scale for 128 weights. The ternary Bonsai models have it, first
//! under the type number that went to `Q2_0`, later as `PQ2_0`.

use super::{BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut, quads_minus_one};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q2_0_g128";
    const WEIGHTS: usize = 128;
    const BYTES: usize = 34;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 2, values: Values::From(-1), params: &[(0, 2)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<34, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<128, _>(q);
        for (four, byte) in q.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
            *four = quads_minus_one(*byte);
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s.fill(halves(&bytes[0], &bytes[1]));
    }
}
