//! Where blocks keep the numbers that all their weights are proportional to: enough to make blocks of random codes
//! whose weights are finite and of a chosen size.

use super::BlockFormat;
use crate::ParamFormat;

/// One of the outermost scales of a block, or an offset in proportion to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    place: Place,
    /// What it is in halves of the block's scale.
    halves: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Whole bytes from `at` on.
    Bytes { at: usize, format: ParamFormat },
    /// The upper nibbles of four 16-bit words from `at` on, the lowest first.
    TopNibbles { at: usize },
}

/// Some bits of one byte of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleBits {
    at: usize,
    keep: u8,
    bits: u8,
}

impl Scale {
    pub(super) const fn f16(at: usize) -> Self {
        Self::bytes(at, ParamFormat::F16)
    }

    pub(super) const fn f32(at: usize) -> Self {
        Self::bytes(at, ParamFormat::F32)
    }

    pub(super) const fn e8m0(at: usize) -> Self {
        Self::bytes(at, ParamFormat::E8M0)
    }

    pub(super) const fn e4m3(at: usize) -> Self {
        Self::bytes(at, ParamFormat::E4M3)
    }

    pub(super) const fn top_nibbles(at: usize) -> Self {
        Self { place: Place::TopNibbles { at }, halves: 2 }
    }

    const fn bytes(at: usize, format: ParamFormat) -> Self {
        Self { place: Place::Bytes { at, format }, halves: 2 }
    }

    /// For offsets: how many halves of the scale they are where codes of every value leave weights around zero.
    pub(super) const fn halves(self, halves: i32) -> Self {
        Self { halves, ..self }
    }

    fn bits(&self, value: f32) -> Vec<ScaleBits> {
        let value = value * self.halves as f32 / 2.0;
        match self.place {
            Place::Bytes { at, format } => {
                let stored = format.encode(value).to_le_bytes();
                let bytes = stored.into_iter().take(format.bits() as usize / 8).enumerate();
                bytes.map(|(i, bits)| ScaleBits { at: at + i, keep: 0, bits }).collect()
            }
            Place::TopNibbles { at } => {
                let stored = ParamFormat::F16.encode(value);
                let nibble = |i: usize| (stored >> (4 * i) & 15) as u8;
                (0..4).map(|i| ScaleBits { at: at + 2 * i + 1, keep: 15, bits: nibble(i) << 4 }).collect()
            }
        }
    }
}

impl ScaleBits {
    /// Writes them into a block.
    ///
    /// # Panics
    /// Where the block is none of the format.
    #[inline]
    pub fn put(self, block: &mut [u8]) {
        block[self.at] = block[self.at] & self.keep | self.bits;
    }
}

impl BlockFormat {
    /// The bits that make a block's outermost scale `value`, or what is stored nearest to it, and its offsets such that
    /// weights of random codes lie around zero. With them every block is finite, whatever its other bytes.
    pub fn scale_bits(self, value: f32) -> Vec<ScaleBits> {
        self.layout().scales.iter().flat_map(|scale| scale.bits(value)).collect()
    }
}
