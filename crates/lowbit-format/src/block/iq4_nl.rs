//! `IQ4_NL`: 32 weights in 18 bytes, laid out as `Q4_0`. The codes are numbers of sixteen values, closer together near
//! zero; `w = value[code] · d`.

use super::{BlockCodec, f16_at, head, head_mut, nibbles, part};

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
        let (low, high) = nibbles::<16>(part(block, 2));
        q[..16].copy_from_slice(&values(low));
        q[16..].copy_from_slice(&values(high));
    }
}

/// The sixteen values of the 4-bit IQ formats.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The values of 4-bit codes.
///
/// Sums up the steps between neighbouring values that lie below the code: an array lookup would be scalar code.
#[inline(always)]
pub(super) fn values<const N: usize>(codes: [u8; N]) -> [i8; N] {
    let mut out = [VALUES[0]; N];
    for k in 1..16 {
        let step = VALUES[k].wrapping_sub(VALUES[k - 1]);
        for j in 0..N {
            out[j] = out[j].wrapping_add(if codes[j] >= k as u8 { step } else { 0 });
        }
    }
    out
}
