//! Codes of one to eight bits in whole vectors.
//!
//! A chunk is 32 weights of each of sixteen rows: 512 codes, as eight vectors `u[0..8]` of 64 bytes, vector `i` with
//! weights `4 i..4 i + 4` of row `r` at bytes `4 r..4 r + 4`. A field of `w` bits (8, 4, 2 or 1, the powers of two that
//! add up to the code's bits) takes `w` vectors: bits `w j..w j + w` of vector `v` belong to `u[v + w j]`. Taking them
//! apart costs a shift and a mask for 64 weights.

use lowbit_format::block::Values;

/// Codes that are kept in fields, as a type: shifts and masks are constants.
pub(crate) trait Coded {
    /// Bits of a code.
    const BITS: u32;
    /// The integers that codes stand for.
    const VALUES: Values;
}

/// Codes of so many bits that are 0 in the middle, `2ᵇ⁻¹`.
pub(crate) struct Middle<const BITS: u32>;

impl<const BITS: u32> Coded for Middle<BITS> {
    const BITS: u32 = BITS;
    const VALUES: Values = Values::From(((1u8 << (BITS - 1)) as i8).wrapping_neg());
}

/// Weights of a row in a chunk.
pub(crate) const CHUNK: usize = 32;

/// Codes in a chunk of sixteen rows.
const CODES: usize = 16 * CHUNK;

/// What is done with a field of `WIDTH` bits, worth `LOW` bits and more of a code, whose vectors start at byte `at` of a
/// chunk.
pub(crate) trait Field {
    fn visit<const WIDTH: usize, const LOW: usize>(&mut self, at: usize);
}

/// Visits the fields of codes of so many bits, in the order in which they are stored. The widths are constants to the
/// visitor, which makes every shift one of a fixed distance.
#[inline(always)]
pub(crate) fn each_field(bits: u32, field: &mut impl Field) {
    match bits {
        1 => field.visit::<1, 0>(0),
        2 => field.visit::<2, 0>(0),
        3 => {
            field.visit::<2, 0>(0);
            field.visit::<1, 2>(128);
        }
        4 => field.visit::<4, 0>(0),
        5 => {
            field.visit::<4, 0>(0);
            field.visit::<1, 4>(256);
        }
        6 => {
            field.visit::<4, 0>(0);
            field.visit::<2, 4>(256);
        }
        7 => {
            field.visit::<4, 0>(0);
            field.visit::<2, 4>(256);
            field.visit::<1, 6>(384);
        }
        _ => field.visit::<8, 0>(0),
    }
}

/// Turns the integers of a panel, `[k / 4][16][4]`, into its codes.
#[inline(always)]
pub(crate) fn pack_panel<C: Coded>(q: &[i8], codes: &mut [u8]) {
    let bits = const { C::BITS as usize };
    for (q, codes) in q.as_chunks::<CODES>().0.iter().zip(codes.chunks_exact_mut(64 * bits)) {
        let mut u = [0u8; CODES];
        match const { C::VALUES } {
            Values::From(first) => {
                for (u, q) in u.iter_mut().zip(q) {
                    *u = q.wrapping_sub(first) as u8;
                }
            }
            Values::Table(table) => {
                let inverse = const { inverse(&C::VALUES) };
                debug_assert!(table.iter().all(|q| table[usize::from(inverse[usize::from(*q as u8)])] == *q));
                for (u, q) in u.iter_mut().zip(q) {
                    *u = inverse[usize::from(*q as u8)];
                }
            }
        }
        each_field(bits as u32, &mut Put { u: &u, codes });
    }
}

struct Put<'a> {
    u: &'a [u8; CODES],
    codes: &'a mut [u8],
}

impl Field for Put<'_> {
    #[inline(always)]
    fn visit<const WIDTH: usize, const LOW: usize>(&mut self, at: usize) {
        for v in 0..WIDTH {
            let field: &mut [u8; 64] =
                self.codes[at + 64 * v..].first_chunk_mut().expect("a vector of the chunk");
            let mut bytes = [0; 64];
            for j in 0..8 / WIDTH {
                let u: &[u8; 64] =
                    self.u[64 * (v + WIDTH * j)..].first_chunk().expect("a vector of the chunk");
                for i in 0..64 {
                    bytes[i] |= (u[i] >> LOW & mask(WIDTH)) << (WIDTH * j);
                }
            }
            *field = bytes;
        }
    }
}

struct Get<'a> {
    u: &'a mut [u8; CODES],
    codes: &'a [u8],
}

impl Field for Get<'_> {
    #[inline(always)]
    fn visit<const WIDTH: usize, const LOW: usize>(&mut self, at: usize) {
        for v in 0..WIDTH {
            let field: &[u8; 64] = self.codes[at + 64 * v..].first_chunk().expect("a vector of the chunk");
            for j in 0..8 / WIDTH {
                let u: &mut [u8; 64] =
                    self.u[64 * (v + WIDTH * j)..].first_chunk_mut().expect("a vector of the chunk");
                for i in 0..64 {
                    let bits = (field[i] >> (WIDTH * j) & mask(WIDTH)) << LOW;
                    u[i] = if LOW == 0 { bits } else { u[i] | bits };
                }
            }
        }
    }
}

/// The integers of a panel, `[k / 4][16][4]`, each plus `raise`.
#[inline(always)]
pub(crate) fn unpack_panel<C: Coded>(codes: &[u8], raise: u8, q: &mut [i8]) {
    let bits = const { C::BITS as usize };
    for (q, codes) in q.as_chunks_mut::<CODES>().0.iter_mut().zip(codes.chunks_exact(64 * bits)) {
        let mut u = [0u8; CODES];
        each_field(bits as u32, &mut Get { u: &mut u, codes });
        match const { C::VALUES } {
            Values::From(first) => {
                let first = raise.wrapping_add(first as u8);
                for (q, u) in q.iter_mut().zip(&u) {
                    *q = u.wrapping_add(first) as i8;
                }
            }
            Values::Table(table) => {
                for (q, u) in q.iter_mut().zip(&u) {
                    *q = lowbit_format::block::lookup4(&table, *u).wrapping_add(raise as i8);
                }
            }
        }
    }
}

/// The lowest `width` bits.
const fn mask(width: usize) -> u8 {
    (0xff_u16 >> (8 - width)) as u8
}

/// The code of every integer that has one; 0 for the others, which fill the rows of a panel that do not exist.
const fn inverse(values: &Values) -> [u8; 256] {
    let mut codes = [0; 256];
    if let Values::Table(table) = values {
        let mut code = table.len();
        // From the last, so that of equal entries the first is found.
        while code > 0 {
            code -= 1;
            codes[table[code] as u8 as usize] = code as u8;
        }
    }
    codes
}
