//! `NVFP4`: 64 weights in 36 bytes, groups of 16. Four scales in 8-bit floating point (four exponent bits, three
//! mantissa bits; the sign bit is ignored), then per group eight bytes of 4-bit floats: the first eight weights in the
//! low, the others in the high nibbles.
//!
//! Checkpoints keep one more scale a tensor beside the tensor: pass it as `tensor_scale`. The product of the two scales
//! is rounded once here, where multiplying the decoded weights would round twice.

use super::{
    BlockCodec, Elements, Scale, Values, expand_params, head, head_mut,
    mxfp4::{DOUBLED_E2M1, doubled_e2m1},
    part,
};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "nvfp4";
    const WEIGHTS: usize = 64;
    const BYTES: usize = 36;
    const GROUP: usize = 16;
    const OFFSETS: bool = false;
    const TENSOR_SCALE: bool = true;
    const SCALES: &'static [Scale] = &[Scale::e4m3(0), Scale::e4m3(1), Scale::e4m3(2), Scale::e4m3(3)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 4, values: Values::Table(DOUBLED_E2M1), params: &[(0, 4)] });

    #[inline(always)]
    fn expand(block: &[u8], tensor_scale: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<36, _>(block);
        expand_params::<Self>(block, tensor_scale, s, c);
        let q = head_mut::<64, _>(q);
        // All groups at once, then into their places: eight weights are too few for the vectorizer.
        let codes = part::<32>(block, 4);
        let (mut low, mut high) = ([0; 32], [0; 32]);
        for j in 0..32 {
            low[j] = doubled_e2m1(codes[j] & 15);
            high[j] = doubled_e2m1(codes[j] >> 4);
        }
        for i in 0..4 {
            q[16 * i..16 * i + 8].copy_from_slice(&low[8 * i..8 * i + 8]);
            q[16 * i + 8..16 * i + 16].copy_from_slice(&high[8 * i..8 * i + 8]);
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], tensor_scale: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        for i in 0..4 {
            for l in 0..L {
                s[i][l] = half_e4m3(bytes[i][l]) * tensor_scale;
            }
        }
    }
}

/// Half the 8-bit float, exactly. 127, "not a number", is zero as in the reference.
#[inline(always)]
fn half_e4m3(bits: u8) -> f32 {
    let magnitude = u32::from(bits & 127);
    // Exponent and mantissa in place give the value times 2^(7 − 127); subnormals are mantissas times 2^-9.
    let normal = f32::from_bits((magnitude << 20) + (119 << 23));
    let subnormal = magnitude as f32 * (1.0 / 1024.0);
    let value = if magnitude < 8 { subnormal } else { normal };
    if bits == 127 { 0.0 } else { value }
}
