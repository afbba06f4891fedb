//! `I2_S`: 128 ternary weights in 32 bytes, the format of bitnet.cpp. Byte `j` holds weights `j`, `j + 32`, `j + 64` and
//! `j + 96`, the first in its top two bits; one single-precision scale follows the data of the whole tensor;
//! `w = (code − 1) · tensor_scale`.
//!
//! This is the layout that bitnet.cpp writes on x86 and that the published files have. Its ARM build writes blocks of
//! 64 under the same type number and cannot be told apart. Code 3 is never written; it decodes to 2.

use super::{BlockCodec, Elements, Scale, Values, expand_params, head, head_mut};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "i2_s";
    const WEIGHTS: usize = 128;
    const BYTES: usize = 32;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const TENSOR_SCALE: bool = true;
    const SCALES: &'static [Scale] = &[];
    const ELEMENTS: Option<Elements> = Some(Elements { bits: 2, values: Values::From(-1), params: &[] });

    #[inline(always)]
    fn expand(block: &[u8], tensor_scale: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<32, _>(block);
        expand_params::<Self>(block, tensor_scale, s, c);
        let q = head_mut::<128, _>(q);
        for run in 0..4 {
            for j in 0..32 {
                q[32 * run + j] = (block[j] >> (6 - 2 * run) & 3) as i8 - 1;
            }
        }
    }

    #[inline(always)]
    fn params<const L: usize>(_: &[[u8; L]], tensor_scale: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        s.fill([tensor_scale; L]);
    }
}
