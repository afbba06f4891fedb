//! Codes that stand for the numbers of a fixed table.
//!
//! The numbers are no multiples of one of them that would fit eight bits, so weights of these elements are multiplied as
//! floats: each code is looked up, then scaled.

use crate::{Bits, group::e4m3};

/// A fixed table of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codebook {
    /// NormalFloat4: 16 quantiles of a normal distribution between −1 and 1, as bitsandbytes has them.
    Nf4,
    /// The 4-bit float of bitsandbytes: 0, 1/192 and the six numbers 1/6 to 1, with signs. It is not the `e2m1` of MXFP4
    /// and NVFP4.
    Fp4,
    /// An 8-bit float with four exponent and three mantissa bits, at most 448; codes 127 and 255 are not numbers.
    E4M3,
}

impl Codebook {
    /// Every table.
    pub const ALL: [Self; 3] = [Self::Nf4, Self::Fp4, Self::E4M3];

    /// The element's name in labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
            Self::E4M3 => "e4m3",
        }
    }

    /// What the element is, in a few words.
    pub(crate) const fn summary(self) -> &'static str {
        match self {
            Self::Nf4 => "16 quantiles of a normal distribution (bitsandbytes NF4)",
            Self::Fp4 => "4-bit float of bitsandbytes",
            Self::E4M3 => "8-bit float, 4 exponent and 3 mantissa bits",
        }
    }

    /// Bits of a code.
    pub fn bits(self) -> Bits {
        let bits = match self {
            Self::Nf4 | Self::Fp4 => 4,
            Self::E4M3 => 8,
        };
        Bits::new(bits).expect("1 to 8")
    }

    /// The number of every code.
    pub fn values(self) -> &'static [f32] {
        &self.table()[..self.bits().levels() as usize]
    }

    /// [`Self::values`], and zeros for what is no code: with 256 places a byte needs no check.
    #[inline(always)]
    pub(crate) fn table(self) -> &'static [f32; 256] {
        match self {
            Self::Nf4 => &NF4,
            Self::Fp4 => &FP4,
            Self::E4M3 => &E4M3,
        }
    }

    /// The largest number.
    pub(crate) fn largest(self) -> f32 {
        if self == Self::E4M3 { 448.0 } else { 1.0 }
    }

    /// The code of the number nearest to `x`, the first of two; 0 for what is not a number.
    pub(crate) fn nearest(self, x: f32) -> u8 {
        // Far outside, all distances would be rounded to the same.
        let x = x.clamp(-self.largest(), self.largest());
        let distance = |code: &u8| (self.table()[usize::from(*code)] - x).abs();
        let codes = (0..self.bits().levels()).map(|code| code as u8).filter(|code| !distance(code).is_nan());
        codes.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    }
}

static NF4: [f32; 256] = padded([
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
]);

/// In twelfths: 0, 1/16, 8, 12, 4, 6, 2, 3.
static FP4: [f32; 256] = {
    let mut values = [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let mut i = 0;
    while i < 8 {
        values[i] /= 12.0;
        values[i + 8] = -values[i];
        i += 1;
    }
    padded(values)
};

static E4M3: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut i = 0;
    while i < 256 {
        values[i] = e4m3(i as u8);
        i += 1;
    }
    values
};

const fn padded(values: [f32; 16]) -> [f32; 256] {
    let mut all = [0.0; 256];
    let mut i = 0;
    while i < 16 {
        all[i] = values[i];
        i += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_its_own_nearest() {
        for book in Codebook::ALL {
            let numbers = book.values().iter().filter(|v| v.is_finite());
            assert_eq!(numbers.clone().fold(0f32, |m, v| m.max(v.abs())), book.largest(), "{book:?}");
            for value in numbers {
                assert_eq!(book.table()[usize::from(book.nearest(*value))], *value, "{book:?}");
            }
            for far in [1e9, f32::INFINITY] {
                assert_eq!(book.table()[usize::from(book.nearest(far))], book.largest(), "{book:?}");
            }
        }
        assert!(Codebook::E4M3.values()[127].is_nan() && Codebook::E4M3.values()[255].is_nan());
        assert_eq!(Codebook::Fp4.values()[2], 2.0 / 3.0);
        assert_eq!(Codebook::Fp4.values()[15], -0.25);
    }
}
