//! `Q3_K`: 256 weights in 110 bytes, groups of 16. 32 bytes of third bits, 64 bytes of 2-bit codes as in `Q2_K`, twelve
//! bytes of 6-bit scales, half-precision `d`; `w = (code − 4) · (d · (scale − 32))`.
//!
//! The third bit of weight `32 r + l` is bit `r` of byte `l`.

use super::{BlockCodec, f16_at, head, head_mut, part, u32_at};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q3_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 110;
    const GROUP: usize = 16;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<110>(block);
        let q = head_mut::<256, _>(q);
        let s = head_mut::<16, _>(s);
        let d = f16_at(block, 108);
        let scales = scales(block);
        for i in 0..16 {
            s[i] = d * f32::from(scales[i] as i8 - 32);
        }
        let high = part::<32>(block, 0);
        for half in 0..2 {
            let low = part::<32>(block, 32 + 32 * half);
            for run in 0..4 {
                for l in 0..32 {
                    let third = (high[l] >> (4 * half + run) & 1) << 2;
                    q[128 * half + 32 * run + l] = (low[l] >> (2 * run) & 3 | third) as i8 - 4;
                }
            }
        }
    }
}

/// Low nibbles of scales 0–7 and 8–15 in bytes 0–7, their upper two bits, four scales a byte, in bytes 8–11.
#[inline(always)]
fn scales(block: &[u8; 110]) -> [u8; 16] {
    let (a, b, top) = (u32_at(block, 96), u32_at(block, 100), u32_at(block, 104));
    let words = [
        a & 0x0f0f_0f0f | (top & 0x0303_0303) << 4,
        b & 0x0f0f_0f0f | (top >> 2 & 0x0303_0303) << 4,
        a >> 4 & 0x0f0f_0f0f | (top >> 4 & 0x0303_0303) << 4,
        b >> 4 & 0x0f0f_0f0f | (top >> 6 & 0x0303_0303) << 4,
    ];
    let mut bytes = [0; 16];
    for i in 0..4 {
        bytes[4 * i..4 * i + 4].copy_from_slice(&words[i].to_le_bytes());
    }
    bytes
}
