//! Codebooks of the IQ formats: which 4 or 8 weights an index stands for, and sign patterns.
//!
//! The grids are facts of the GGUF format, kept as packed data files (`data/*.grid`, made by `data/extract.py`) and
//! unpacked by the compiler into words of one byte a weight, the first weight lowest. Words are added and negated whole:
//! byte vectors of eight are too short for the vectorizer.

use super::bits::{BIT_MASKS, splat};

/// `N` entries of `D` weights. `levels` are the values that the stored numbers of 2 or 4 bits stand for.
const fn unpack<const N: usize, const D: usize, const BYTES: usize>(
    file: &[u8; BYTES],
    levels: &[u8],
) -> [u64; N] {
    let per_byte = N * D / BYTES;
    let bits = 8 / per_byte;
    assert!(per_byte * BYTES == N * D && bits * per_byte == 8, "grid file has the wrong length");
    let mut grid = [0; N];
    let mut i = 0;
    while i < N * D {
        let level = (file[i / per_byte] >> (bits * (i % per_byte))) & ((1 << bits) - 1);
        grid[i / D] |= (levels[level as usize] as u64) << (8 * (i % D));
        i += 1;
    }
    grid
}

const fn halves<const N: usize>(words: [u64; N]) -> [u32; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = words[i] as u32;
        i += 1;
    }
    out
}

/// Eight times the grid of `IQ1_S` and `IQ1_M`, plus eight.
static IQ1: [u64; 2048] = unpack::<2048, 8, 4096>(include_bytes!("data/iq1_s.grid"), &[0, 8, 16]);
/// Grid of `IQ2_XXS`.
pub(super) static IQ2_XXS: [u64; 256] =
    unpack::<256, 8, 512>(include_bytes!("data/iq2_xxs.grid"), &[8, 25, 43]);
/// Grid of `IQ2_XS`.
pub(super) static IQ2_XS: [u64; 512] =
    unpack::<512, 8, 1024>(include_bytes!("data/iq2_xs.grid"), &[8, 25, 43]);
/// Grid of `IQ2_S`.
pub(super) static IQ2_S: [u64; 1024] =
    unpack::<1024, 8, 2048>(include_bytes!("data/iq2_s.grid"), &[8, 25, 43]);
/// Grid of `IQ3_XXS`.
pub(super) static IQ3_XXS: [u32; 256] =
    halves(unpack::<256, 4, 512>(include_bytes!("data/iq3_xxs.grid"), &[4, 12, 20, 28, 36, 44, 52, 62]));
/// Grid of `IQ3_S`.
pub(super) static IQ3_S: [u32; 512] =
    halves(unpack::<512, 4, 1024>(include_bytes!("data/iq3_s.grid"), &[1, 3, 5, 7, 9, 11, 13, 15]));

/// Byte masks of seven stored signs; the eighth makes the number of negative weights even.
pub(super) static EVEN_SIGNS: [u64; 128] = {
    let mut masks = [0; 128];
    let mut i = 0usize;
    while i < 128 {
        masks[i] = BIT_MASKS[i | (i.count_ones() as usize % 2) << 7];
        i += 1;
    }
    masks
};

/// Eight weights, those negated whose byte in `mask` is 0xff.
///
/// The weights are 1 to 127: their complements leave room for adding one without a carry into the next byte.
#[inline(always)]
pub(super) fn signed(weights: u64, mask: u64) -> u64 {
    (weights ^ mask) + (mask & splat(1))
}

/// Two entries of four as one of eight.
#[inline(always)]
pub(super) fn join(a: u32, b: u32) -> u64 {
    u64::from(a) | u64::from(b) << 32
}

/// Eight times entry `number` of the IQ1 grid, shifted down where `down` is 1 and up where it is 0.
#[inline(always)]
pub(super) fn iq1_shifted(number: usize, down: u8) -> u64 {
    // Byte-wise subtraction of the 8 that the table is above, and of the shift: the set top bits stop the borrows.
    ((IQ1[number] | splat(0x80)) - splat(1) * u64::from(7 + 2 * down)) ^ splat(0x80)
}
