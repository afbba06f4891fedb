//! `IQ4_NL`: 32 weights in 18 bytes, laid out as `Q4_0`. The codes are numbers of sixteen values, closer together near
//! zero; `w = value[code] · d`.

use super::{BlockCodec, f16_at, head, head_mut, lookup4, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "iq4_nl";
    const WEIGHTS: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<18>(block);
        let q = head_mut::<32, _>(q);
        s[0] = f16_at(block, 0);
        values(part(block, 2), q);
    }
}

/// The sixteen values of the 4-bit IQ formats.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The values of a group's codes: low nibbles first, then the high ones.
#[inline(always)]
pub(super) fn values(codes: &[u8; 16], q: &mut [i8; 32]) {
    for j in 0..16 {
        q[j] = lookup4(&VALUES, codes[j] & 15);
        q[j + 16] = lookup4(&VALUES, codes[j] >> 4);
    }
}
