//! `MXFP4`: 32 weights in 17 bytes, the OCP microscaling format. A power of two as a biased 8-bit exponent, then 16
//! bytes of 4-bit floats (sign, two exponent bits, one mantissa bit) laid out as in `Q4_0`.
//!
//! `q` is twice the 4-bit float and `s` half the power of two. Exponent 255, "not a number" in the standard, is decoded
//! as the reference does: as the largest power.

use super::{BlockCodec, Elements, Scale, Values, expand_params, head, head_mut, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "mxfp4";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 17;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::e8m0(0)];
    const ELEMENTS: Option<Elements> =
        Some(Elements { bits: 4, values: Values::Table(DOUBLED_E2M1), params: &[(0, 1)] });

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let block = head::<17, _>(block);
        expand_params::<Self>(block, 1.0, s, c);
        let q = head_mut::<32, _>(q);
        let codes = part::<16>(block, 1);
        for j in 0..16 {
            q[j] = doubled_e2m1(codes[j] & 15);
            q[j + 16] = doubled_e2m1(codes[j] >> 4);
        }
    }

    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], _: f32, s: &mut [[f32; L]], _: &mut [[f32; L]]) {
        for l in 0..L {
            s[0][l] = half_power(bytes[0][l]);
        }
    }
}

/// `2^(e − 128)`, exactly; the first two are subnormal.
#[inline(always)]
fn half_power(e: u8) -> f32 {
    let e = u32::from(e);
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

/// Twice the value of every 4-bit float.
pub(super) const DOUBLED_E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Twice the value of a 4-bit float: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives; 8 is zero without a sign.
///
/// From 4 on the values are one, two, … past the code, the last two more.
#[inline(always)]
pub(super) fn doubled_e2m1(code: u8) -> i8 {
    let low = code & 7;
    let magnitude = (low + low.saturating_sub(4) + if low == 7 { 2 } else { 0 }) as i8;
    if code >= 8 { -magnitude } else { magnitude }
}
