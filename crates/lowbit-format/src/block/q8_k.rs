//! `Q8_K`: 256 weights in 292 bytes. A single-precision scale `d`, 256 signed bytes, sixteen 16-bit sums of codes;
//! `w = code · d`.
//!
//! A format of activations, as `Q8_1`: GGUF can name it, no tool writes one, the sums are not needed to decode.

use super::{BlockCodec, Elements, Scale, Values, expand_params, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q8_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 292;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f32(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 8, values: Values::From(-128), params: &[(0, 4)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<292, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<256, _>(q);
        for j in 0..256 {
            q[j] = block[4 + j] as i8;
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        let mut d = [0.0; L];
        for l in 0..L {
            d[l] = f32::from_le_bytes([bytes[0][l], bytes[1][l], bytes[2][l], bytes[3][l]]);
        }
        s.fill(d);
    }
}
