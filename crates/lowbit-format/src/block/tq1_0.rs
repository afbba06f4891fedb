//! `TQ1_0`: 256 ternary weights in 54 bytes. Five (in the last four bytes: four) base-3 digits a byte, then a
//! half-precision scale `d`; `w = (digit − 1) · d`.
//!
//! A byte is the fraction `0.d₀d₁d₂d₃d₄` in base 3, times 256 and rounded up: multiplying by 3ⁿ modulo 256 brings digit
//! n to the front, and the digit is which third of 0–255 the product lies in. Digit n of 32 (then 16, then 4) bytes are
//! neighbours.

use super::{BlockCodec, Scale, f16_at, head, head_mut, part};

pub(super) struct Codec;

impl BlockCodec for Codec {
    const LABEL: &'static str = "tq1_0";
    const WEIGHTS: usize = 256;
    const BYTES: usize = 54;
    const GROUP: usize = 32;
    const OFFSETS: bool = false;
    const SCALES: &'static [Scale] = &[Scale::f16(52)];

    #[inline(always)]
    fn expand(block: &[u8], _: f32, q: &mut [i8], s: &mut [f32], _: &mut [f32]) {
        let block = head::<54, _>(block);
        let q = head_mut::<256, _>(q);
        *head_mut::<8, _>(s) = [f16_at(block, 52); 8];
        let mut power = 1u8;
        for n in 0..5 {
            digits(part::<32>(block, 0), power, head_mut(&mut q[32 * n..]));
            digits(part::<16>(block, 32), power, head_mut(&mut q[160 + 16 * n..]));
            if n < 4 {
                digits(part::<4>(block, 48), power, head_mut(&mut q[240 + 4 * n..]));
            }
            power = power.wrapping_mul(3);
        }
    }
}

/// The digit in front of every byte times `power`, minus one: `3 · x ≥ 256` from 86, `≥ 512` from 171.
#[inline(always)]
fn digits<const N: usize>(bytes: &[u8; N], power: u8, out: &mut [i8; N]) {
    for j in 0..N {
        let x = bytes[j].wrapping_mul(power);
        out[j] = i8::from(x >= 86) + i8::from(x >= 171) - 1;
    }
}
