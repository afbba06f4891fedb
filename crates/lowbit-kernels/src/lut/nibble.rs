//! Tables of sixteen entries, and three ternary weights to one of them.
//!
//! Four signs index a table directly. Three ternary weights have 27 sums, thirteen pairs of opposite ones and zero: four
//! bits of magnitude and one of sign find them, 1⅔ bits a weight. Eight tuples of a row are a block of five bytes: indices
//! in four of them, two to a byte, then the signs, that of the first tuple on top. A shorter last block has as few bytes
//! as hold its bits; where one or three tuples are left, the last index has the lower half of the byte of signs.

use super::{TableBits, acts::ternary_digits};
use crate::isa::multiversion;

/// Tuples of a block of ternary codes.
pub(super) const BLOCK: usize = 8;

/// Bytes of a whole block.
pub(super) const BLOCK_BYTES: usize = 5;

/// Bytes of a row's codes for so many ternary tuples.
pub(super) const fn ternary_bytes(tuples: usize) -> usize {
    (BLOCK_BYTES * tuples).div_ceil(BLOCK)
}

/// Where the code of a ternary tuple is, as bytes of the row and bits of them.
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) index_shift: usize,
    pub(super) sign: usize,
    pub(super) sign_shift: usize,
}

impl Place {
    /// That of tuple `i` of `tuples`.
    pub(super) fn of(i: usize, tuples: usize) -> Self {
        let (block, within) = (i / BLOCK, i % BLOCK);
        let bytes = ternary_bytes((tuples - block * BLOCK).min(BLOCK));
        Self {
            index: BLOCK_BYTES * block + within / 2,
            index_shift: within % 2 * 4,
            sign: BLOCK_BYTES * block + bytes - 1,
            sign_shift: 7 - within,
        }
    }
}

/// The entry that the up to three ternary codes 0, 1, 2 of tuple `i` find, and 1 where it is to be negated.
pub(super) fn ternary_index(i: usize, codes: &[u8]) -> (u8, u8) {
    let value = codes.iter().rev().fold(0, |v, c| 3 * v + i32::from(*c) - 1);
    (value.unsigned_abs() as u8, u8::from(negated(i, value)))
}

/// Whether the entry of tuple `i`, whose codes are a number of base three, is to be negated. No 8-bit entry stands for zero,
/// the one of tuples of zeros for half a step: every other such tuple takes it the other way round, so that they do not
/// add up.
pub(crate) fn negated(i: usize, value: i32) -> bool {
    value < 0 || value == 0 && i % 2 == 1
}

/// What each activation of a table is multiplied with, entry by entry.
type Weights<const G: usize> = [[u16; 16]; G];

/// Entry `e` adds activation `i` where bit `i` is set and subtracts it elsewhere.
const SIGNS: Weights<4> = {
    let mut weights = [[0; 16]; 4];
    let mut e = 0;
    while e < 16 {
        let mut i = 0;
        while i < 4 {
            weights[i][e] = if e >> i & 1 == 1 { 1 } else { u16::MAX };
            i += 1;
        }
        e += 1;
    }
    weights
};

/// Entry `e` is that of the balanced ternary number `e`, up to 13.
const DIGITS: Weights<3> = {
    let mut weights = [[0; 16]; 3];
    let mut e = 0;
    while e < 14 {
        let digits = ternary_digits(e);
        let mut i = 0;
        while i < 3 {
            weights[i][e] = digits[i] as u16;
            i += 1;
        }
        e += 1;
    }
    weights
};

multiversion! {
    /// Makes the tables of tuples of activations, eight (two tables) or three, one after the other.
    pub(super) fn build(x: &[i16], tuple: usize, bits: TableBits, out: &mut [u8]) = build_any;
}

#[inline(always)]
fn build_any(x: &[i16], tuple: usize, bits: TableBits, out: &mut [u8]) {
    match (tuple, bits) {
        (3, TableBits::Eight) => eight(x, &DIGITS, out),
        (3, TableBits::Sixteen) => sixteen(x, &DIGITS, out),
        (_, TableBits::Eight) => eight(x, &SIGNS, out),
        (_, TableBits::Sixteen) => sixteen(x, &SIGNS, out),
    }
}

#[inline(always)]
fn eight<const G: usize>(x: &[i16], weights: &Weights<G>, out: &mut [u8]) {
    for (x, out) in x.as_chunks::<G>().0.iter().zip(out.as_chunks_mut::<16>().0) {
        *out = sums(x, weights, 1 << 15).map(|u| (u >> 8) as u8);
    }
}

#[inline(always)]
fn sixteen<const G: usize>(x: &[i16], weights: &Weights<G>, out: &mut [u8]) {
    for (x, out) in x.as_chunks::<G>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let u = sums(x, weights, 32640);
        // u / 255, as a multiplication.
        let high = u.map(|u| ((u32::from(u) * 0x8081) >> 23) as u16);
        for e in 0..16 {
            out[e] = high[e] as u8;
            // u mod 255, which is a byte.
            out[16 + e] = u[e].wrapping_add(high[e]) as u8;
        }
    }
}

/// The signed sums, of at most 16 bits, plus `offset`, which makes them unsigned.
#[inline(always)]
fn sums<const G: usize>(x: &[i16; G], weights: &Weights<G>, offset: u16) -> [u16; 16] {
    let mut sums = [offset; 16];
    for (x, weights) in x.iter().zip(weights) {
        for (sum, w) in sums.iter_mut().zip(weights) {
            *sum = sum.wrapping_add(w.wrapping_mul(*x as u16));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn bits_of_ternary_tuples_do_not_overlap_and_fill_their_bytes() {
        for tuples in 1..40 {
            let mut taken = vec![0u8; ternary_bytes(tuples)];
            for i in 0..tuples {
                let place = Place::of(i, tuples);
                for (at, bits) in
                    [(place.index, 15 << place.index_shift), (place.sign, 1 << place.sign_shift)]
                {
                    assert_eq!(taken[at] & bits, 0, "tuple {i} of {tuples}");
                    taken[at] |= bits;
                }
            }
            let free: u32 = taken.iter().map(|byte| byte.count_zeros()).sum();
            assert!(free < 8, "{tuples} tuples leave {free} bits");
        }
    }

    #[test]
    fn entries_are_the_sums_of_what_their_codes_stand_for() {
        let x = [300, -7000, 16383, 5, -300, 0, 12345, -12345i16];
        for isa in Isa::available() {
            let mut tables = [0; 64];
            build(isa, &x, 8, TableBits::Sixteen, &mut tables);
            for (e, half) in (0..32).map(|i| (i % 16, i / 16)) {
                let want: i32 =
                    (0..4).map(|i| i32::from(x[4 * half + i]) * if e >> i & 1 == 1 { 1 } else { -1 }).sum();
                let (h, l) = (tables[32 * half + e], tables[32 * half + 16 + e]);
                assert_eq!(255 * i32::from(h) + i32::from(l) - 32640, want, "entry {e} of {half}");
            }
            let mut table = [0; 16];
            build(isa, &x[..3], 3, TableBits::Eight, &mut table);
            for (i, codes) in (0..27).map(|c| (usize::from(c), [c % 3, c / 3 % 3, c / 9u8])) {
                let (index, negative) = ternary_index(i, &codes);
                let sum: i32 = codes.iter().zip(x).map(|(c, x)| (i32::from(*c) - 1) * i32::from(x)).sum();
                let want = if negative == 1 { -sum } else { sum };
                assert_eq!(ternary_index(i, &[1; 3]), (0, (i % 2) as u8));
                assert_eq!(i32::from(table[usize::from(index)]), (want >> 8) + 128, "{codes:?}");
            }
        }
    }
}
