//! Which stored tensors a tensor of weights is made of.

use super::manifest::MAX_INPUT;
use lowbit_format::{
    FloatFormat, FormatError, GroupShape, NK, OnlineKind, OnlineOp, Packing, ParamFormat, WeightSpec,
    list_bytes,
};
use safetensors::Dtype;

/// One of the stored tensors that a tensor of weights is made of: a matrix of `rows` by `columns` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it holds.
    pub kind: PartKind,
    /// Rows of the stored matrix: those of the weights, or one where the whole tensor shares a parameter.
    pub rows: usize,
    /// Stored elements in a row: bytes where codes or blocks are packed, else parameters.
    pub columns: usize,
    /// Parameters or codes that a row holds.
    pub values: usize,
    /// Which term of a sum it belongs to, and which of its lists or matrices; `None` for the base.
    pub term: Option<(u8, u8)>,
}

/// What a [`Part`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Unquantized elements, the only part of their tensor.
    Floats(FloatFormat),
    /// Blocks as in GGUF.
    Blocks,
    /// Codes, packed row by row.
    Codes(Packing),
    /// Scales of the finer level, or the one that all blocks of a tensor share.
    Scales(ParamFormat),
    /// Scales of the coarser level, where there are two.
    CoarseScales(ParamFormat),
    /// Zero points, one for each group of the finer level.
    Zeros(ParamFormat),
    /// Where a term of a sum belongs, in numbers of so many bytes.
    List(usize),
}

/// Whether stored tensors of quantized ones can end so.
pub(super) fn is_ending(ending: &str) -> bool {
    [".blocks", ".codes", ".scales", ".scales2", ".zeros"].contains(&ending)
        || ending.starts_with(".term")
        || (0..MAX_INPUT).any(|i| input_ending(i) == ending)
}

/// What follows the tensor's name in that of the numbers of operation `i` on its input.
pub(super) fn input_ending(i: usize) -> String {
    format!(".input{i}")
}

/// Type and rows of the stored numbers of an operation, a matrix with a column for each activation.
pub(super) fn input_numbers(kind: OnlineKind) -> (Dtype, usize) {
    match kind {
        OnlineKind::Permute => (Dtype::U32, 1),
        OnlineKind::Scale => (Dtype::F32, 1),
        OnlineKind::Hadamard(_) => (Dtype::I8, 1),
        OnlineKind::Pairs => (Dtype::U32, 2),
    }
}

/// The stored numbers of an operation.
pub(super) fn input_bytes(op: &OnlineOp) -> Vec<u8> {
    match op {
        OnlineOp::Permute(order) => order.iter().flat_map(|p| p.to_le_bytes()).collect(),
        OnlineOp::Scale(scales) => scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
        OnlineOp::Hadamard { signs, .. } => signs.iter().map(|s| *s as u8).collect(),
        OnlineOp::Pairs(pairs) => {
            [0, 1].iter().flat_map(|i| pairs.iter().flat_map(|pair| pair[*i].to_le_bytes())).collect()
        }
    }
}

/// An operation on `k` columns from its stored numbers.
pub(super) fn input_op(kind: OnlineKind, bytes: &[u8], k: usize) -> Result<OnlineOp, FormatError> {
    let words = || bytes.as_chunks::<4>().0.iter();
    let op = match kind {
        OnlineKind::Permute => OnlineOp::Permute(words().map(|w| u32::from_le_bytes(*w)).collect()),
        OnlineKind::Scale => OnlineOp::Scale(words().map(|w| f32::from_le_bytes(*w)).collect()),
        OnlineKind::Hadamard(block) => {
            OnlineOp::Hadamard { block, signs: bytes.iter().map(|b| *b as i8).collect() }
        }
        OnlineKind::Pairs => {
            let numbers: Vec<u32> = words().map(|w| u32::from_le_bytes(*w)).collect();
            let (first, second) = numbers.split_at(numbers.len() / 2);
            OnlineOp::Pairs(first.iter().zip(second).map(|(a, b)| [*a, *b]).collect())
        }
    };
    op.check(k).map(|()| op)
}

impl Part {
    /// What follows the tensor's name in that of the part.
    pub fn ending(&self) -> String {
        let kind = match self.kind {
            PartKind::Floats(_) | PartKind::List(_) => "",
            PartKind::Blocks => ".blocks",
            PartKind::Codes(_) => ".codes",
            PartKind::Scales(_) => ".scales",
            PartKind::CoarseScales(_) => ".scales2",
            PartKind::Zeros(_) => ".zeros",
        };
        match (self.term, self.kind) {
            (None, _) => kind.to_owned(),
            (Some((term, list)), PartKind::List(_)) => format!(".term{term}.list{list}"),
            (Some((term, matrix)), _) => format!(".term{term}.matrix{matrix}{kind}"),
        }
    }

    pub(super) fn dtype(&self) -> Dtype {
        match self.kind {
            PartKind::Floats(FloatFormat::F32) => Dtype::F32,
            PartKind::Floats(FloatFormat::F16) => Dtype::F16,
            PartKind::Floats(FloatFormat::Bf16) => Dtype::BF16,
            PartKind::Blocks | PartKind::Codes(_) => Dtype::U8,
            PartKind::List(2) => Dtype::U16,
            PartKind::List(_) => Dtype::U32,
            PartKind::Scales(format) | PartKind::CoarseScales(format) | PartKind::Zeros(format) => {
                match format {
                    ParamFormat::F32 => Dtype::F32,
                    ParamFormat::F16 => Dtype::F16,
                    ParamFormat::Bf16 => Dtype::BF16,
                    ParamFormat::E8M0 => Dtype::F8_E8M0,
                    ParamFormat::E4M3 => Dtype::F8_E4M3,
                    ParamFormat::Int(_) => Dtype::U8,
                    ParamFormat::PowerOfTwo => Dtype::I8,
                }
            }
        }
    }
}

/// The stored tensors of a matrix of weights in the order in which [`super::Container`] keeps them: codes, scales,
/// zero points; or blocks and the scale they share; or floats. Of a sum those of the base, then of each term its lists and the
/// parts of its matrices.
pub(super) fn parts(spec: &WeightSpec, shape: NK) -> Result<Vec<Part>, FormatError> {
    let spec = match spec {
        WeightSpec::Float(format) => {
            let kind = PartKind::Floats(*format);
            return Ok(vec![Part { kind, rows: shape.n, columns: shape.k, values: shape.k, term: None }]);
        }
        WeightSpec::Sum(spec) => {
            let mut all = parts(spec.base(), shape)?;
            for (t, term) in (0..).zip(spec.terms()) {
                for (i, (len, bound)) in (0..).zip(term.kind.lists(shape)) {
                    let kind = PartKind::List(list_bytes(bound));
                    all.push(Part { kind, rows: 1, columns: len, values: len, term: Some((t, i)) });
                }
                for (i, matrix) in (0..).zip(term.kind.matrices(shape)) {
                    let of_matrix = parts(&term.weight, matrix)?.into_iter();
                    all.extend(of_matrix.map(|part| Part { term: Some((t, i)), ..part }));
                }
            }
            return Ok(all);
        }
        WeightSpec::Block(format) => {
            let layout = format.layout();
            if !shape.k.is_multiple_of(layout.weights) {
                let (format, block) = (layout.label, layout.weights);
                return Err(FormatError::RowNotBlocks { format, k: shape.k, block });
            }
            // Some block is larger than its weights are many: their product may overflow.
            let columns = (shape.k / layout.weights).checked_mul(layout.bytes);
            let columns = columns.ok_or(FormatError::Overflow { n: shape.n, k: shape.k })?;
            let blocks = Part { kind: PartKind::Blocks, rows: shape.n, columns, values: shape.k, term: None };
            let kind = PartKind::Scales(ParamFormat::F32);
            let scale = Part { kind, rows: 1, columns: 1, values: 1, term: None };
            return Ok(std::iter::once(blocks).chain(layout.tensor_scale.then_some(scale)).collect());
        }
        WeightSpec::Grouped(spec) => spec,
    };
    let packing = spec.element().packing();
    let codes = PartKind::Codes(packing);
    let columns = packing.row_bytes(shape.k);
    let mut parts = vec![Part { kind: codes, rows: shape.n, columns, values: shape.k, term: None }];
    let params = |kind, shares: GroupShape, format| {
        let rows = shares.rows(shape.n);
        let values = shares.per_row(shape.k);
        let columns = match format {
            ParamFormat::Int(bits) => Packing::Bits(bits).row_bytes(values),
            _ => values,
        };
        Part { kind, rows, columns, values, term: None }
    };
    for (i, level) in spec.levels().iter().enumerate() {
        let kind = if i == 0 { PartKind::Scales } else { PartKind::CoarseScales };
        parts.push(params(kind(level.format), level.shape, level.format));
    }
    if let Some(format) = spec.zero_format() {
        parts.push(params(PartKind::Zeros(format), spec.levels()[0].shape, format));
    }
    Ok(parts)
}
