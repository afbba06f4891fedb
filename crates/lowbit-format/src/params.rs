//! Scales and zero points of a grouped tensor, kept as they are stored.

use std::ops::Range;

use crate::{
    Codes, FormatError, GroupShape, GroupedSpec, NK, ParamFormat, Storage, codes::Packing, float::f16_to_f32,
};

/// The parameters of one level: row after row, one for every group of a row (one in all for a tensor). Integers are
/// packed as [`Codes`] are, other formats are little endian.
#[derive(Clone, Debug)]
pub struct Params {
    shape: GroupShape,
    format: ParamFormat,
    count: NK,
    /// Rows of weights before the first one that has the same parameters: of a part of a matrix.
    before: usize,
    bytes: Storage,
}

impl Params {
    /// Parameters of a tensor of shape `weights`.
    ///
    /// # Errors
    /// Where the bytes are not exactly those of the groups.
    pub fn new(
        shape: GroupShape,
        format: ParamFormat,
        weights: NK,
        bytes: Storage,
    ) -> Result<Self, FormatError> {
        let count = Self::count(shape, weights);
        let overflow = FormatError::Overflow { n: weights.n, k: weights.k };
        let expected = row_bytes(format, count.k).and_then(|row| row.checked_mul(count.n)).ok_or(overflow)?;
        if bytes.len() == expected {
            Ok(Self { shape, format, count, before: 0, bytes })
        } else {
            Err(FormatError::Length { format: "scales", shape: count, expected, found: bytes.len() })
        }
    }

    /// Stores values as they are nearest in `format`.
    pub(crate) fn encode(shape: GroupShape, format: ParamFormat, weights: NK, values: &[f32]) -> Self {
        let count = Self::count(shape, weights);
        assert_eq!(values.len(), count.weights(), "one value a group");
        let bytes = if let ParamFormat::Int(bits) = format {
            let codes: Vec<u8> = values.iter().map(|x| format.encode(*x) as u8).collect();
            Codes::pack(Packing::Bits(bits), count, &codes).bytes().clone()
        } else {
            let width = format.bits() as usize / 8;
            let bytes: Vec<u8> =
                values.iter().flat_map(|x| format.encode(*x).to_le_bytes().into_iter().take(width)).collect();
            Storage::from(bytes)
        };
        Self { shape, format, count, before: 0, bytes }
    }

    fn count(shape: GroupShape, weights: NK) -> NK {
        NK { n: shape.rows(weights.n), k: shape.per_row(weights.k) }
    }

    /// How the values are stored.
    pub fn format(&self) -> ParamFormat {
        self.format
    }

    /// The weights that share one.
    pub fn shape(&self) -> GroupShape {
        self.shape
    }

    /// Bytes stored.
    pub fn bytes(&self) -> &Storage {
        &self.bytes
    }

    /// The stored bytes of the parameters of row `n` of the weights.
    #[inline(always)]
    fn row(&self, n: usize) -> &[u8] {
        let n = self.shape.row(self.before + n);
        let row = self.bytes.len() / self.count.n.max(1);
        &self.bytes.bytes()[n * row..][..row]
    }

    /// The parameter of group `group` of row `n` of the weights.
    pub fn get(&self, n: usize, group: usize) -> f32 {
        let row = self.row(n);
        if let ParamFormat::Int(bits) = self.format {
            return f32::from(Packing::Bits(bits).get(row, group));
        }
        let width = self.format.bits() as usize / 8;
        let mut word = [0; 4];
        word[..width].copy_from_slice(&row[group * width..][..width]);
        self.format.decode(u32::from_le_bytes(word))
    }

    /// The parameters of row `n` of the weights, one for every group.
    #[inline(always)]
    pub fn decode_row(&self, n: usize, out: &mut [f32]) {
        let row = self.row(n);
        match self.format {
            ParamFormat::F16 => {
                for (x, b) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                    *x = f16_to_f32(u16::from_le_bytes(*b));
                }
            }
            ParamFormat::F32 => {
                for (x, b) in out.iter_mut().zip(row.as_chunks::<4>().0) {
                    *x = f32::from_le_bytes(*b);
                }
            }
            ParamFormat::Int(bits) => {
                // A multiple of eight integers is whole bytes.
                let mut codes = [0; 256];
                let bytes = codes.len() / 8 * bits.get() as usize;
                for (some, bytes) in out.chunks_mut(codes.len()).zip(row.chunks(bytes)) {
                    Packing::Bits(bits).unpack_row(bytes, some.len(), &mut codes);
                    some.iter_mut().zip(codes).for_each(|(x, code)| *x = f32::from(code as u8));
                }
            }
            _ => {
                for (i, x) in out.iter_mut().enumerate() {
                    *x = self.get(n, i);
                }
            }
        }
    }

    fn rows(&self, rows: &Range<usize>) -> Self {
        if self.shape == GroupShape::Tensor {
            return self.clone();
        }
        let (start, end) = (self.before + rows.start, self.before + rows.end);
        let first = self.shape.row(start);
        let count = self.shape.rows(end).max(first) - first;
        let row = self.bytes.len() / self.count.n.max(1);
        let bytes = self.bytes.slice(first * row..(first + count) * row);
        let bytes = bytes.expect("rows lie inside the parameters");
        let before = match self.shape {
            GroupShape::Column(size) => start % size as usize,
            _ => 0,
        };
        Self { count: NK { n: count, k: self.count.k }, before, bytes, ..self.clone() }
    }
}

pub(crate) fn row_bytes(format: ParamFormat, groups: usize) -> Option<usize> {
    match format {
        ParamFormat::Int(bits) => Some(Packing::Bits(bits).row_bytes(groups)),
        format => groups.checked_mul(format.bits() as usize / 8),
    }
}

/// All parameters of a grouped tensor.
#[derive(Clone, Debug)]
pub struct GroupParams {
    /// Scales, the finer level first.
    pub levels: Vec<Params>,
    /// Zero points of the groups of the first level, where the format has them.
    pub zeros: Option<Params>,
}

impl GroupParams {
    /// Parameters from stored bytes: of every scale level, and of the zero points where `spec` has them.
    ///
    /// # Errors
    /// Where a count of bytes is not that of the groups, or there are more or fewer of them than the format has.
    pub fn new(
        spec: &GroupedSpec,
        weights: NK,
        scales: Vec<Storage>,
        zeros: Option<Storage>,
    ) -> Result<Self, FormatError> {
        if scales.len() != spec.levels().len() || zeros.is_some() != spec.zero_format().is_some() {
            return Err(FormatError::Levels { reason: "scales and zero points are not those of the format" });
        }
        let levels = spec.levels().iter().zip(scales);
        let levels = levels.map(|(l, bytes)| Params::new(l.shape, l.format, weights, bytes));
        let zeros = zeros.zip(spec.zero_format());
        let zeros = zeros.map(|(bytes, format)| Params::new(spec.levels()[0].shape, format, weights, bytes));
        Ok(Self { levels: levels.collect::<Result<_, _>>()?, zeros: zeros.transpose()? })
    }

    /// Bytes stored.
    pub fn bytes(&self) -> usize {
        self.levels.iter().chain(&self.zeros).map(|p| p.bytes.len()).sum()
    }

    pub(crate) fn rows(&self, rows: &Range<usize>) -> Self {
        Self {
            levels: self.levels.iter().map(|p| p.rows(rows)).collect(),
            zeros: self.zeros.as_ref().map(|p| p.rows(rows)),
        }
    }
}
