//! Which weights share a scale, and how scales are stored.

use half::{bf16, f16};
use std::borrow::Cow;

use crate::{Bits, FormatError, NK, float::f16_to_f32};

/// The weights that share one parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupShape {
    /// The whole tensor.
    Tensor,
    /// A row: one output feature.
    Row,
    /// Neighbours in a row, a multiple of four; the last group of a row may be short.
    Group(u32),
    /// Neighbours in a column, which meet the same input feature, a multiple of four; the last group of a column may be short.
    Column(u32),
}

impl GroupShape {
    /// Number of parameters in one of their rows, for rows of `k` weights.
    pub fn per_row(self, k: usize) -> usize {
        match self {
            Self::Tensor | Self::Row => 1,
            Self::Group(size) => k.div_ceil(size as usize),
            Self::Column(_) => k,
        }
    }

    /// Rows of parameters of `n` rows of weights.
    pub fn rows(self, n: usize) -> usize {
        match self {
            Self::Tensor => 1,
            Self::Row | Self::Group(_) => n,
            Self::Column(size) => n.div_ceil(size as usize),
        }
    }

    /// The row of parameters of row `n` of the weights.
    #[inline(always)]
    pub fn row(self, n: usize) -> usize {
        match self {
            Self::Tensor => 0,
            Self::Row | Self::Group(_) => n,
            Self::Column(size) => n / size as usize,
        }
    }

    /// The weights of every group, in the order in which parameters are stored.
    pub fn groups(self, weights: &[f32], shape: NK) -> Box<dyn Iterator<Item = Cow<'_, [f32]>> + '_> {
        let k = shape.k.max(1);
        match self {
            Self::Tensor => Box::new(std::iter::once(Cow::Borrowed(weights))),
            Self::Row | Self::Group(_) => {
                let len = self.len_in_row(k);
                Box::new(weights.chunks(k).flat_map(move |row| row.chunks(len)).map(Cow::Borrowed))
            }
            Self::Column(size) => {
                let panels = weights.chunks(size as usize * k);
                let columns = panels.flat_map(move |panel| (0..k).map(move |column| (panel, column)));
                Box::new(
                    columns
                        .map(move |(panel, column)| panel.iter().skip(column).step_by(k).copied().collect()),
                )
            }
        }
    }

    /// Weights of a row of `k` that share a parameter.
    pub fn len_in_row(self, k: usize) -> usize {
        match self {
            Self::Tensor | Self::Row => k,
            Self::Group(size) => size as usize,
            Self::Column(_) => 1,
        }
    }
}

/// How a scale is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamFormat {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// A power of two, 2^(e − 127) with e in a byte; 255 is not a number.
    E8M0,
    /// An 8-bit float with four exponent and three mantissa bits, at most 448.
    E4M3,
    /// An unsigned integer, in units of the next level's scale.
    Int(Bits),
    /// A power of two with a signed 8-bit exponent.
    PowerOfTwo,
}

impl ParamFormat {
    /// Bits a value takes.
    pub fn bits(self) -> u32 {
        match self {
            Self::F32 => 32,
            Self::F16 | Self::Bf16 => 16,
            Self::E8M0 | Self::E4M3 | Self::PowerOfTwo => 8,
            Self::Int(bits) => bits.get(),
        }
    }

    /// The largest value, 1 where the format has range to spare.
    pub(crate) fn unit(self) -> f32 {
        match self {
            Self::Int(bits) => (bits.levels() - 1) as f32,
            Self::E4M3 => 448.0,
            _ => 1.0,
        }
    }

    /// The value of stored bits, of which the lowest count.
    pub fn decode(self, bits: u32) -> f32 {
        match self {
            Self::F32 => f32::from_bits(bits),
            Self::F16 => f16_to_f32(bits as u16),
            Self::Bf16 => f32::from_bits(bits << 16),
            Self::E8M0 if bits == 255 => f32::NAN,
            Self::E8M0 => power_of_two(bits as i32 - 127),
            Self::E4M3 => e4m3(bits as u8),
            Self::Int(_) => bits as f32,
            Self::PowerOfTwo => power_of_two(i32::from(bits as u8 as i8)),
        }
    }

    /// The stored bits of the value nearest to `x ≥ 0`: for powers of two nearest in the exponent. What is too large
    /// becomes the largest. Floats of 16 and 32 bits have signs, and any `x` is stored.
    pub fn encode(self, x: f32) -> u32 {
        match self {
            Self::F32 => x.to_bits(),
            Self::F16 => u32::from(f16::from_f32(x.clamp(-65504.0, 65504.0)).to_bits()),
            Self::Bf16 => u32::from(bf16::from_f32(x.clamp(-3.389e38, 3.389e38)).to_bits()),
            Self::E8M0 => (exponent(x) + 127).clamp(0, 254) as u32,
            Self::E4M3 => (0..127)
                .min_by(|a, b| (e4m3(*a) - x).abs().total_cmp(&(e4m3(*b) - x).abs()))
                .map_or(0, u32::from),
            Self::Int(bits) => (x.round() as u32).min(bits.levels() - 1),
            Self::PowerOfTwo => u32::from(exponent(x).clamp(-128, 127) as i8 as u8),
        }
    }

    pub(crate) fn label(self) -> String {
        match self {
            Self::F32 => "f32".into(),
            Self::F16 => "f16".into(),
            Self::Bf16 => "bf16".into(),
            Self::E8M0 => "e8m0".into(),
            Self::E4M3 => "e4m3".into(),
            Self::Int(bits) => format!("int{}", bits.get()),
            Self::PowerOfTwo => "pow2".into(),
        }
    }

    pub(crate) fn parse(label: &str) -> Option<Self> {
        Some(match label {
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "e8m0" => Self::E8M0,
            "e4m3" => Self::E4M3,
            "pow2" => Self::PowerOfTwo,
            _ => Self::Int(Bits::new(label.strip_prefix("int")?.parse().ok()?).ok()?),
        })
    }
}

/// 2^e for −128 ≤ e ≤ 127, exactly.
fn power_of_two(e: i32) -> f32 {
    f32::from_bits(if e >= -126 { ((e + 127) as u32) << 23 } else { 0x0080_0000 >> (-126 - e) })
}

/// The exponent of the power of two nearest to `x` on a logarithmic scale; the smallest for zero.
fn exponent(x: f32) -> i32 {
    if x > 0.0 { x.log2().round() as i32 } else { -128 }
}

/// The 8-bit float with four exponent and three mantissa bits.
pub(crate) const fn e4m3(bits: u8) -> f32 {
    let magnitude = (bits & 127) as u32;
    let value = match magnitude {
        127 => f32::NAN,
        0..8 => magnitude as f32 / 512.0,
        _ => f32::from_bits((magnitude << 20) + (120 << 23)),
    };
    if bits >= 128 { -value } else { value }
}

/// One level of scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScaleLevel {
    /// The weights that share a scale.
    pub shape: GroupShape,
    /// How it is stored.
    pub format: ParamFormat,
}

impl ScaleLevel {
    /// A level of groups of `size` weights with half-precision scales.
    ///
    /// # Errors
    /// Where the size is zero or no multiple of four.
    pub fn group(size: u32) -> Result<Self, FormatError> {
        check_group(size)?;
        Ok(Self { shape: GroupShape::Group(size), format: ParamFormat::F16 })
    }
}

pub(crate) fn check_group(size: u32) -> Result<(), FormatError> {
    if size > 0 && size.is_multiple_of(4) { Ok(()) } else { Err(FormatError::GroupSize { found: size }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_scale_is_its_own_nearest() {
        let formats = [
            ParamFormat::E8M0,
            ParamFormat::E4M3,
            ParamFormat::PowerOfTwo,
            ParamFormat::F16,
            ParamFormat::Bf16,
        ];
        for format in formats {
            for bits in 0..1u32 << format.bits() {
                let value = format.decode(bits);
                let stored = value.is_finite() && value.is_sign_positive();
                // The step to 2^-127 and below is lost in the logarithm of subnormal numbers.
                if stored && value >= f32::MIN_POSITIVE {
                    assert_eq!(format.decode(format.encode(value)), value, "{format:?} {bits}");
                }
            }
        }
        assert_eq!(ParamFormat::E4M3.decode(126), 448.0);
        assert_eq!(ParamFormat::E4M3.decode(8), 1.0 / 64.0);
        assert_eq!(ParamFormat::E8M0.decode(127), 1.0);
        assert_eq!(ParamFormat::E8M0.decode(0), 2f32.powi(-127));
        assert_eq!(ParamFormat::PowerOfTwo.decode(0xff), 0.5);
    }

    #[test]
    fn too_large_a_scale_becomes_the_largest() {
        assert_eq!(ParamFormat::F16.decode(ParamFormat::F16.encode(1e9)), 65504.0);
        assert_eq!(ParamFormat::E4M3.decode(ParamFormat::E4M3.encode(1e9)), 448.0);
        assert_eq!(ParamFormat::Int(Bits::new(6).unwrap()).encode(1e9), 63);
    }
}
