//! Codes and their canonical packing.
//!
//! Rows follow each other, each padded with zero bits to whole bytes. Inside a row codes of `b` bits are laid end to
//! end, low bits first: code `i` starts at bit `b · i`, and bit `j` of the row is bit `j mod 8` of byte `j / 8`. Ternary
//! codes go five to a byte, code `5 i + d` as base-3 digit `d` (the first is worth 1) of byte `i`; absent digits are 0.

use crate::{Bits, FormatError, NK, Storage, block::put8};

/// How codes become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// So many bits a code.
    Bits(Bits),
    /// Codes 0, 1, 2, five to a byte.
    Trits,
}

impl Packing {
    /// Bytes of a row of `k` codes.
    pub fn row_bytes(self, k: usize) -> usize {
        match self {
            Self::Bits(bits) => row_bytes(k, bits.get() as usize),
            Self::Trits => k.div_ceil(5),
        }
    }

    /// Number of different codes.
    pub fn levels(self) -> u32 {
        match self {
            Self::Bits(bits) => bits.levels(),
            Self::Trits => 3,
        }
    }

    /// Packs one row.
    ///
    /// # Panics
    /// Where `row` is not [`Self::row_bytes`] long or a code is too large.
    pub fn pack_row(self, codes: &[u8], row: &mut [u8]) {
        assert_eq!(row.len(), self.row_bytes(codes.len()), "row and codes differ in length");
        let levels = self.levels();
        assert!(codes.iter().all(|c| u32::from(*c) < levels), "a code is not below {levels}");
        match self {
            Self::Bits(bits) => {
                let bits = bits.get() as usize;
                for (codes, bytes) in codes.chunks(8).zip(row.chunks_mut(bits)) {
                    let word = codes.iter().rev().fold(0u64, |word, c| word << bits | u64::from(*c));
                    bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
                }
            }
            Self::Trits => {
                for (codes, byte) in codes.chunks(5).zip(row) {
                    *byte = codes.iter().rev().fold(0, |byte, c| 3 * byte + c);
                }
            }
        }
    }

    /// Code `i` of a row.
    pub(crate) fn get(self, row: &[u8], i: usize) -> u8 {
        match self {
            Self::Bits(bits) => {
                let at = i * bits.get() as usize;
                let low = u32::from(row[at / 8]);
                let high = u32::from(row.get(at / 8 + 1).copied().unwrap_or(0));
                ((low | high << 8) >> (at % 8) & (bits.levels() - 1)) as u8
            }
            Self::Trits => row[i / 5] / 3u8.pow((i % 5) as u32) % 3,
        }
    }

    /// Unpacks a row into `q[..k]`; 8-bit codes wrap. What follows in `q` is left in an unknown state.
    #[inline(always)]
    pub(crate) fn unpack_row(self, row: &[u8], k: usize, q: &mut [i8]) {
        match self {
            Self::Bits(bits) => match bits.get() {
                1 => unpack_bits::<1>(row, k, q),
                2 => unpack_bits::<2>(row, k, q),
                3 => unpack_bits::<3>(row, k, q),
                4 => unpack_bits::<4>(row, k, q),
                5 => unpack_bits::<5>(row, k, q),
                6 => unpack_bits::<6>(row, k, q),
                7 => unpack_bits::<7>(row, k, q),
                _ => unpack_bits::<8>(row, k, q),
            },
            Self::Trits => unpack_trits(row, k, q),
        }
    }
}

/// Eight codes from `B` bytes at a time.
#[inline(always)]
fn unpack_bits<const B: usize>(row: &[u8], k: usize, q: &mut [i8]) {
    let (eights, rest) = row[..row_bytes(k, B)].as_chunks::<B>();
    let (out, tail) = q[..k].as_chunks_mut::<8>();
    for (bytes, out) in eights.iter().zip(out.iter_mut()) {
        let mut word = [0; 8];
        word[..B].copy_from_slice(bytes);
        put8(out, 0, spread::<B>(u64::from_le_bytes(word)));
    }
    if !tail.is_empty() {
        // Fewer than eight codes may still fill all B bytes of a chunk.
        let bytes = if rest.is_empty() { eights.last().map_or(&[][..], |b| &b[..]) } else { rest };
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let codes = spread::<B>(u64::from_le_bytes(word)).to_le_bytes();
        for (q, code) in tail.iter_mut().zip(codes) {
            *q = code as i8;
        }
    }
}

/// Moves eight `B`-bit codes from end to end to one a byte, in three steps of moving the upper half of every run up.
#[inline(always)]
fn spread<const B: usize>(word: u64) -> u64 {
    let ones = |n: usize| if n == 64 { u64::MAX } else { (1u64 << n) - 1 };
    let four = ones(4 * B);
    let two = ones(2 * B) * 0x0000_0001_0000_0001;
    let one = ones(B) * 0x0001_0001_0001_0001;
    let word = word & four | (word >> (4 * B) & four) << 32;
    let word = word & two | (word >> (2 * B) & two) << 16;
    word & one | (word >> B & one) << 8
}

/// The five codes of a byte, one a byte. Bytes above 242 are no five digits; they are refused before.
static TRITS: [u64; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut rest, mut d) = (i as u64, 0);
        while d < 5 {
            table[i] |= (rest % 3) << (8 * d);
            rest /= 3;
            d += 1;
        }
        i += 1;
    }
    table
};

#[inline(always)]
fn unpack_trits(row: &[u8], k: usize, q: &mut [i8]) {
    // Eight bytes are written for five codes, the last three to be overwritten by the next.
    let whole = (k / 5).saturating_sub(1);
    for j in 0..whole {
        put8(&mut q[..k], 5 * j, TRITS[usize::from(row[j])]);
    }
    for j in whole..k.div_ceil(5) {
        let codes = TRITS[usize::from(row[j])].to_le_bytes();
        for (q, code) in q[5 * j..k].iter_mut().zip(&codes[..5]) {
            *q = *code as i8;
        }
    }
}

/// Bytes of `k` codes, without the product `k · bits`, which may overflow for a row of bytes that does not.
const fn row_bytes(k: usize, bits: usize) -> usize {
    k / 8 * bits + (k % 8 * bits).div_ceil(8)
}

/// A matrix of codes.
#[derive(Clone, Debug)]
pub struct Codes {
    packing: Packing,
    shape: NK,
    bytes: Storage,
}

impl Codes {
    /// Codes that are packed already.
    ///
    /// # Errors
    /// Where the bytes are not exactly those of the shape, or a byte is no five ternary codes.
    pub fn new(packing: Packing, shape: NK, bytes: Storage) -> Result<Self, FormatError> {
        let expected = packing
            .row_bytes(shape.k)
            .checked_mul(shape.n)
            .ok_or(FormatError::Overflow { n: shape.n, k: shape.k })?;
        if bytes.len() != expected {
            return Err(FormatError::Length { format: "codes", shape, expected, found: bytes.len() });
        }
        if packing == Packing::Trits
            && let Some(at) = bytes.bytes().iter().position(|b| *b > 242)
        {
            return Err(FormatError::TernaryByte { at, found: bytes.bytes()[at] });
        }
        Ok(Self { packing, shape, bytes })
    }

    /// Packs `n · k` codes.
    ///
    /// # Panics
    /// Where the number of codes is another or a code is too large.
    pub fn pack(packing: Packing, shape: NK, codes: &[u8]) -> Self {
        assert_eq!(codes.len(), shape.weights(), "codes of {shape}");
        let row = packing.row_bytes(shape.k);
        let mut bytes = vec![0; row * shape.n];
        if shape.k > 0 {
            for (codes, row) in codes.chunks(shape.k).zip(bytes.chunks_mut(row)) {
                packing.pack_row(codes, row);
            }
        }
        Self { packing, shape, bytes: Storage::from(bytes) }
    }

    /// How the codes are packed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// N and K.
    pub fn shape(&self) -> NK {
        self.shape
    }

    /// Bytes stored.
    pub fn bytes(&self) -> &Storage {
        &self.bytes
    }

    /// The packed bytes of row `n`.
    #[inline(always)]
    pub fn row_bytes(&self, n: usize) -> &[u8] {
        let row = self.packing.row_bytes(self.shape.k);
        &self.bytes.bytes()[n * row..][..row]
    }

    /// The code of row `n`, column `k`.
    ///
    /// # Panics
    /// Outside the shape.
    pub fn get(&self, n: usize, k: usize) -> u8 {
        assert!(n < self.shape.n && k < self.shape.k, "code {n}, {k} of {}", self.shape);
        self.packing.get(self.row_bytes(n), k)
    }

    /// Unpacks row `n`; codes of eight bits wrap.
    ///
    /// # Panics
    /// Where `out` has not K elements.
    #[inline(always)]
    pub fn unpack_row(&self, n: usize, out: &mut [i8]) {
        assert_eq!(out.len(), self.shape.k, "codes of a row of {}", self.shape);
        self.packing.unpack_row(self.row_bytes(n), self.shape.k, out);
    }

    /// The codes of row `n`.
    pub fn row(&self, n: usize) -> impl Iterator<Item = u8> + '_ {
        let row = self.row_bytes(n);
        (0..self.shape.k).map(move |k| self.packing.get(row, k))
    }

    /// Rows `rows`, sharing the bytes.
    pub(crate) fn rows(&self, rows: &std::ops::Range<usize>) -> Self {
        let row = self.packing.row_bytes(self.shape.k);
        let bytes = self.bytes.slice(rows.start * row..rows.end * row).expect("rows lie inside the codes");
        Self { packing: self.packing, shape: NK { n: rows.len(), k: self.shape.k }, bytes }
    }
}
