//! `IQ4_XS`: 256 weights in 136 bytes, groups of 32. Half-precision `d`, 16 bits with the upper two bits and four bytes
//! with the low nibbles of eight 6-bit scales, then per group 16 bytes of nibbles as in `IQ4_NL`;
//! `w = value[code] · (d · (scale − 32))`.

use super::{BlockCodec, f16_at, head, head_mut, iq4_nl::values, part, u16_at, u32_at};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq4_xs";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 136;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<136>(block);
        let q = head_mut::<256, _>(q);
        let s = head_mut::<8, _>(s);
        let d = f16_at(block, 0);
        let (high, low) = (u16_at(block, 2), u32_at(block, 4));
        for i in 0..8 {
            let scale = low >> (4 * i) & 15 | (u32::from(high) >> (2 * i) & 3) << 4;
            s[i] = d * f32::from(scale as i8 - 32);
        }
        for i in 0..8 {
            values(part(block, 8 + 16 * i), head_mut(&mut q[32 * i..]));
        }
    }
}
