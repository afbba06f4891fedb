//! `Q8_K`: 256 weights in 292 bytes. A single-precision scale `d`, 256 signed bytes, sixteen 16-bit sums of codes;
//! `w = code · d`.
//!
//! A format of activations, as `Q8_1`: GGUF can name it, no tool writes one, the sums are not needed to decode.

use super::{BlockCodec, head, head_mut, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "q8_k";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 292;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<292>(block);
        let q = head_mut::<256, _>(q);
        *head_mut::<8, _>(s) = [f32::from_le_bytes(*part(block, 0)); 8];
        for j in 0..256 {
            q[j] = block[4 + j] as i8;
        }
    }
}
