//! Codebooks of the IQ formats: which 4 or 8 weights an index stands for, and sign patterns.
//!
//! The grids are facts of the GGUF format, kept as packed data files (`data/*.grid`, made by `data/extract.py`) and
//! unpacked by the compiler.

/// `N` entries of `D` weights. `levels` are the values that the stored numbers of `8 / PER_BYTE` bits stand for.
const fn unpack<const N: usize, const D: usize, const BYTES: usize>(
    file: &[u8; BYTES],
    levels: &[i8],
) -> [[i8; D]; N] {
    let per_byte = N * D / BYTES;
    let bits = 8 / per_byte;
    assert!(per_byte * BYTES == N * D && bits * per_byte == 8, "grid file has the wrong length");
    let mut grid = [[0; D]; N];
    let mut i = 0;
    while i < N * D {
        let level = (file[i / per_byte] >> (bits * (i % per_byte))) & ((1 << bits) - 1);
        grid[i / D][i % D] = levels[level as usize];
        i += 1;
    }
    grid
}

/// Eight times the grid of `IQ1_S` and `IQ1_M`.
pub(super) static IQ1: [[i8; 8]; 2048] = unpack(include_bytes!("data/iq1_s.grid"), &[-8, 0, 8]);
/// Grid of `IQ2_XXS`.
pub(super) static IQ2_XXS: [[i8; 8]; 256] = unpack(include_bytes!("data/iq2_xxs.grid"), &[8, 25, 43]);
/// Grid of `IQ2_XS`.
pub(super) static IQ2_XS: [[i8; 8]; 512] = unpack(include_bytes!("data/iq2_xs.grid"), &[8, 25, 43]);
/// Grid of `IQ2_S`.
pub(super) static IQ2_S: [[i8; 8]; 1024] = unpack(include_bytes!("data/iq2_s.grid"), &[8, 25, 43]);
/// Grid of `IQ3_XXS`.
pub(super) static IQ3_XXS: [[i8; 4]; 256] =
    unpack(include_bytes!("data/iq3_xxs.grid"), &[4, 12, 20, 28, 36, 44, 52, 62]);
/// Grid of `IQ3_S`.
pub(super) static IQ3_S: [[i8; 4]; 512] =
    unpack(include_bytes!("data/iq3_s.grid"), &[1, 3, 5, 7, 9, 11, 13, 15]);

const fn sign_masks<const N: usize, const EVEN: bool>() -> [[i8; 8]; N] {
    let mut masks = [[0; 8]; N];
    let mut i = 0;
    while i < N {
        let mut bit = 0;
        while bit < 8 {
            let set = if EVEN && bit == 7 { i.count_ones() % 2 == 1 } else { i >> bit & 1 == 1 };
            masks[i][bit] = if set { -1 } else { 0 };
            bit += 1;
        }
        i += 1;
    }
    masks
}

/// Byte masks of eight stored signs: −1 where the weight is negative.
pub(super) static SIGNS: [[i8; 8]; 256] = sign_masks::<256, false>();
/// The same for seven stored signs; the eighth makes the number of negative weights even.
pub(super) static EVEN_SIGNS: [[i8; 8]; 128] = sign_masks::<128, true>();

/// `weights` negated where `mask` is −1.
#[inline(always)]
pub(super) fn signed(weights: [i8; 8], mask: &[i8; 8]) -> [i8; 8] {
    let mut out = [0; 8];
    for i in 0..8 {
        out[i] = (weights[i] ^ mask[i]).wrapping_sub(mask[i]);
    }
    out
}

/// Two entries of four as one of eight.
#[inline(always)]
pub(super) fn join(a: [i8; 4], b: [i8; 4]) -> [i8; 8] {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}
