//! `Q2_0`: 64 weights in 18 bytes. A half-precision scale `d`, then four 2-bit codes a byte, low bits first;
//! `w = (code − 1) · d`, so that ternary weights leave the last code unused.

use super::{BlockCodec, f16_at, head, head_mut, quads_minus_one};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q2_0";
    const WEIGHTS: usize = 64;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<18>(block);
        let q = head_mut::<64, _>(q);
        *head_mut::<2, _>(s) = [f16_at(block, 0); 2];
        for (four, byte) in q.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
            *four = quads_minus_one(*byte);
        }
    }
}
