//! A matrix of stored weights.

use crate::{
    BlockCodec, BlockFormat, BlockVisitor, Codes, FloatFormat, FormatError, GroupParams, GroupedTensor, NK,
    Storage, SumTensor, Term, WeightSpec, block,
};

/// A weight matrix `W[N, K]` as it is stored: bytes, and what they mean.
#[derive(Clone, Debug)]
pub struct QuantTensor {
    shape: NK,
    data: TensorData,
}

/// The bytes of a [`QuantTensor`] by kind of format.
#[derive(Clone, Debug)]
pub enum TensorData {
    /// Unquantized elements, row after row.
    Float {
        /// Element type.
        format: FloatFormat,
        /// `n * k` elements.
        bytes: Storage,
    },
    /// Blocks as in GGUF, row after row.
    Blocks {
        /// Block format.
        format: BlockFormat,
        /// `n * k / weights_per_block` blocks.
        bytes: Storage,
        /// The scale that the format stores once a tensor, else 1.
        tensor_scale: f32,
    },
    /// Codes with scales beside them.
    Grouped(GroupedTensor),
    /// Any of these, and what is added to it.
    Sum(SumTensor),
}

impl QuantTensor {
    /// A matrix of unquantized elements.
    ///
    /// # Errors
    /// Where the bytes are not exactly those of the shape.
    pub fn from_floats(format: FloatFormat, shape: NK, bytes: Storage) -> Result<Self, FormatError> {
        let row = checked_mul(shape, shape.k, format.bytes())?;
        check_len(format.label(), shape, row, &bytes)?;
        Ok(Self { shape, data: TensorData::Float { format, bytes } })
    }

    /// A matrix of blocks whose format stores no scale of the whole tensor.
    ///
    /// # Errors
    /// Where K is no whole number of blocks, or the bytes are not exactly those of the shape.
    pub fn from_blocks(format: BlockFormat, shape: NK, bytes: Storage) -> Result<Self, FormatError> {
        Self::from_scaled_blocks(format, shape, bytes, 1.0)
    }

    /// A matrix of blocks that are all multiplied by `tensor_scale`.
    ///
    /// # Errors
    /// As [`Self::from_blocks`].
    pub fn from_scaled_blocks(
        format: BlockFormat,
        shape: NK,
        bytes: Storage,
        tensor_scale: f32,
    ) -> Result<Self, FormatError> {
        let layout = format.layout();
        if !shape.k.is_multiple_of(layout.weights) {
            return Err(FormatError::RowNotBlocks {
                format: layout.label,
                k: shape.k,
                block: layout.weights,
            });
        }
        let row = checked_mul(shape, shape.k / layout.weights, layout.bytes)?;
        check_len(layout.label, shape, row, &bytes)?;
        Ok(Self { shape, data: TensorData::Blocks { format, bytes, tensor_scale } })
    }

    /// A matrix of codes with scales beside them.
    pub fn from_grouped(grouped: GroupedTensor) -> Self {
        Self { shape: grouped.shape(), data: TensorData::Grouped(grouped) }
    }

    /// A matrix and what is added to it.
    pub fn from_sum(sum: SumTensor) -> Self {
        Self { shape: sum.base().shape(), data: TensorData::Sum(sum) }
    }

    /// Rounds `n · k` weights, row after row, to the nearest codes of a float or grouped format, with scales from the
    /// range of each group. An all-zero group decodes to zeros.
    ///
    /// # Errors
    /// What [`GroupedTensor::quantize_nearest`] refuses; where the count of weights is not the shape's, or the format is a block format.
    pub fn quantize_nearest(spec: &WeightSpec, weights: &[f32], shape: NK) -> Result<Self, FormatError> {
        match spec {
            WeightSpec::Float(format) => {
                if checked_mul(shape, shape.n, shape.k)? != weights.len() {
                    return Err(FormatError::WeightCount { shape, found: weights.len() });
                }
                Self::from_floats(*format, shape, Storage::from(format.encode(weights)))
            }
            WeightSpec::Grouped(spec) => {
                GroupedTensor::quantize_nearest(spec, weights, shape).map(Self::from_grouped)
            }
            WeightSpec::Block(_) | WeightSpec::Sum(_) => Err(FormatError::NoEncoder { label: spec.label() }),
        }
    }

    /// A matrix from the runs of bytes that [`Self::parts`] gives.
    ///
    /// # Errors
    /// Where a run has not the bytes of its part, bytes of ternary codes are none, the scale of a tensor is not finite, or a
    /// list of what is added names a place that is not there.
    ///
    /// # Panics
    /// Where there are fewer runs than the format has parts.
    pub fn from_parts(
        spec: &WeightSpec,
        shape: NK,
        parts: impl IntoIterator<Item = Storage>,
    ) -> Result<Self, FormatError> {
        Self::from_parts_of(spec, shape, &mut parts.into_iter())
    }

    pub(crate) fn from_parts_of(
        spec: &WeightSpec,
        shape: NK,
        parts: &mut dyn Iterator<Item = Storage>,
    ) -> Result<Self, FormatError> {
        if let WeightSpec::Sum(spec) = spec {
            return SumTensor::from_parts(spec, shape, parts).map(Self::from_sum);
        }
        let mut next = || parts.next().expect("a run of bytes for every part");
        match spec {
            WeightSpec::Float(format) => Self::from_floats(*format, shape, next()),
            WeightSpec::Block(format) => {
                let bytes = next();
                let scale = if format.layout().tensor_scale { tensor_scale(&next())? } else { 1.0 };
                Self::from_scaled_blocks(*format, shape, bytes, scale)
            }
            WeightSpec::Grouped(spec) => {
                let codes = Codes::new(spec.element().packing(), shape, next())?;
                let scales = spec.levels().iter().map(|_| next()).collect();
                let zeros = spec.zero_format().map(|_| next());
                let params = GroupParams::new(spec, shape, scales, zeros)?;
                GroupedTensor::new(spec.clone(), codes, params).map(Self::from_grouped)
            }
            WeightSpec::Sum(_) => unreachable!("sums were made above"),
        }
    }

    /// The runs of bytes that it is made of, shared: floats; or blocks and the scale of the tensor where the format has one,
    /// an f32; or codes, scales from the finer level on, and zero points where the format has them. Of a sum the base's, then
    /// of each term its lists and the runs of its matrices.
    pub fn parts(&self) -> Vec<Storage> {
        match &self.data {
            TensorData::Float { bytes, .. } => vec![bytes.clone()],
            TensorData::Blocks { format, bytes, tensor_scale } => {
                let scale = format.layout().tensor_scale.then(|| tensor_scale.to_le_bytes().to_vec().into());
                std::iter::once(bytes.clone()).chain(scale).collect()
            }
            TensorData::Grouped(grouped) => {
                let params = grouped.params();
                let params = params.levels.iter().chain(&params.zeros).map(|p| p.bytes().clone());
                std::iter::once(grouped.codes().bytes().clone()).chain(params).collect()
            }
            TensorData::Sum(sum) => sum.parts(),
        }
    }

    /// The format.
    pub fn spec(&self) -> WeightSpec {
        match &self.data {
            TensorData::Float { format, .. } => WeightSpec::Float(*format),
            TensorData::Blocks { format, .. } => WeightSpec::Block(*format),
            TensorData::Grouped(grouped) => WeightSpec::Grouped(grouped.spec().clone()),
            TensorData::Sum(sum) => WeightSpec::Sum(sum.spec()),
        }
    }

    /// N and K.
    pub fn shape(&self) -> NK {
        self.shape
    }

    /// The stored bytes and their meaning.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Rows `rows` of this matrix, sharing its bytes.
    ///
    /// # Panics
    /// Where the rows are not inside the matrix.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.shape.n, "rows {rows:?} of {}", self.shape);
        let shape = NK { n: rows.len(), k: self.shape.k };
        let cut = |bytes: &Storage| {
            let row = bytes.len() / self.shape.n.max(1);
            bytes.slice(rows.start * row..rows.end * row).expect("rows lie inside the tensor")
        };
        let data = match &self.data {
            TensorData::Float { format, bytes } => TensorData::Float { format: *format, bytes: cut(bytes) },
            TensorData::Blocks { format, bytes, tensor_scale } => {
                TensorData::Blocks { format: *format, bytes: cut(bytes), tensor_scale: *tensor_scale }
            }
            TensorData::Grouped(grouped) => TensorData::Grouped(grouped.rows(rows)),
            TensorData::Sum(sum) => return sum.rows(rows),
        };
        Self { shape, data }
    }

    /// Decodes row `n` into `out`, which has K elements: the meaning of the stored bytes, rounded to f32 as the
    /// format's reference does.
    ///
    /// # Panics
    /// Where `n` or the length of `out` does not fit the shape.
    pub fn decode_row(&self, n: usize, out: &mut [f32]) {
        assert!(
            n < self.shape.n && out.len() == self.shape.k,
            "row {n} of {} into {}",
            self.shape,
            out.len()
        );
        match &self.data {
            TensorData::Float { format, bytes } => {
                let row = self.shape.k * format.bytes();
                format.decode(&bytes.bytes()[n * row..][..row], out);
            }
            TensorData::Blocks { format, bytes, tensor_scale } => {
                let row = bytes.len() / self.shape.n;
                let row = &bytes.bytes()[n * row..][..row];
                format.visit(DecodeRow { row, tensor_scale: *tensor_scale, out });
            }
            TensorData::Grouped(grouped) => grouped.decode_row(n, out),
            TensorData::Sum(sum) => sum.decode_row(n, out),
        }
    }

    /// Bytes stored.
    pub fn bytes(&self) -> usize {
        match &self.data {
            TensorData::Float { bytes, .. } | TensorData::Blocks { bytes, .. } => bytes.len(),
            TensorData::Grouped(grouped) => grouped.bytes(),
            TensorData::Sum(sum) => sum.bytes(),
        }
    }

    /// This matrix with one more term.
    ///
    /// # Errors
    /// As [`SumTensor::new`].
    pub fn plus(self, term: Term<Self>) -> Result<Self, FormatError> {
        let (base, mut terms) = match self.data {
            TensorData::Sum(sum) => sum.into_parts(),
            _ => (self, Vec::new()),
        };
        terms.push(term);
        SumTensor::new(base, terms).map(Self::from_sum)
    }

    /// The matrices that are not sums of which it is made: itself, or the base and those of the terms.
    pub fn plain(&self) -> Vec<&QuantTensor> {
        match &self.data {
            TensorData::Sum(sum) => std::iter::once(sum.base())
                .chain(sum.terms().iter().flat_map(|term| &term.matrices))
                .collect(),
            _ => vec![self],
        }
    }

    /// Bits stored for each weight, scales and offsets included.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes() as f64 / self.shape.weights() as f64
    }
}

struct DecodeRow<'a> {
    row: &'a [u8],
    tensor_scale: f32,
    out: &'a mut [f32],
}

impl BlockVisitor for DecodeRow<'_> {
    type Out = ();
    fn visit<C: BlockCodec>(self) {
        block::decode_row::<C>(self.row, self.tensor_scale, self.out);
    }
}

/// The scale of a tensor of blocks from its bytes.
fn tensor_scale(bytes: &Storage) -> Result<f32, FormatError> {
    let one = NK { n: 1, k: 1 };
    check_len("tensor scale", one, size_of::<f32>(), bytes)?;
    let value = bytes.bytes().first_chunk().map_or(0.0, |b| f32::from_le_bytes(*b));
    if value.is_finite() { Ok(value) } else { Err(FormatError::NotFinite { n: 0, k: 0, value }) }
}

fn checked_mul(shape: NK, a: usize, b: usize) -> Result<usize, FormatError> {
    a.checked_mul(b).ok_or(FormatError::Overflow { n: shape.n, k: shape.k })
}

fn check_len(format: &'static str, shape: NK, row: usize, bytes: &Storage) -> Result<(), FormatError> {
    let expected = checked_mul(shape, shape.n, row)?;
    if expected == bytes.len() {
        Ok(())
    } else {
        Err(FormatError::Length { format, shape, expected, found: bytes.len() })
    }
}
