//! `Q8_1`: 32 weights in 36 bytes. Half-precision scale `d` and sum `d · Σ code`, then 32 signed bytes; `w = code · d`.
//!
//! A format of activations: GGUF can name it as a tensor type, though no tool writes one. The sum is not needed to
//! decode. (The size table of the Python package still has the older block with two single-precision numbers.)

use super::{BlockCodec, Elements, Scale, Values, expand_params, halves, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q8_1";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 36;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(0), Scale::f16(2).halves(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 8, values: Values::From(-128), params: &[(0, 2)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<36, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<32, _>(q);
        for j in 0..32 {
            q[j] = block[4 + j] as i8;
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s[0] = halves(&bytes[0], &bytes[1]);
    }
}
