//! Layers as integers with a scale and a zero point for every group of a row: what other libraries store.
//!
//! A weight is `(code − zero) · scale`, here as there. Integers with integer zero points are that already. Ternary codes
//! and single bits around one half are two bits around their middle, with half the scale for single bits; blocks of GGUF
//! without minimums are signed numbers with a scale for 16 or 32 of them. Scales of two levels are multiplied, as decoding
//! does. Nothing is rounded: a scale that the other side's type does not hold is refused.

use super::hf::Part;
use lowbit_format::{
    Bits, BlockCodec, BlockFormat, BlockVisitor, ElementFormat, FloatFormat, GroupFit, GroupShape,
    GroupedSpec, GroupedTensor, NK, OnlineOp, Packing, ParamFormat, QuantTensor, ScaleLevel, TensorData,
    WeightSpec, ZeroPoint,
};
use lowbit_io::{Checkpoint, IoError};

/// Block formats whose weights are signed numbers of so many bits times the scale of their group.
const BLOCKS: [(BlockFormat, u8); 5] = [
    (BlockFormat::Q3_K, 3),
    (BlockFormat::Q4_0, 4),
    (BlockFormat::Q5_0, 5),
    (BlockFormat::Q6_K, 6),
    (BlockFormat::Q8_0, 8),
];

/// A layer, its rows in the folder's order and its columns in the input's.
pub(super) struct Integers {
    part: Part,
    tensor: QuantTensor,
    /// What a code takes.
    pub(super) bits: Bits,
    /// Whether groups have zero points of their own; if not, all are the middle.
    pub(super) zeros: ZeroPoint,
    /// Weights that share a scale, `None` for a whole row.
    pub(super) size: Option<usize>,
    /// For every stored column the input's; `None` where they are in its order.
    order: Option<Vec<u32>>,
    codes: Recode,
}

/// How stored codes become those of the layer.
#[derive(Clone, Copy)]
enum Recode {
    /// They are the same, plus this.
    Plus(u8),
    /// 0 and 1 become 1 and 3, with half the scale.
    OneBit,
    /// They are expanded from blocks.
    Blocks(BlockFormat),
}

impl Integers {
    /// A layer as integers, or why it is not made of any.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn of(checkpoint: &Checkpoint, part: &Part) -> Result<Result<Self, String>, IoError> {
        let (tensor, ops) = (checkpoint.tensor(&part.info.name)?, checkpoint.input_ops(&part.info.name)?);
        Ok(Self::new(part.clone(), tensor, &ops))
    }

    fn new(part: Part, tensor: QuantTensor, ops: &[OnlineOp]) -> Result<Self, String> {
        let k = tensor.shape().k;
        let (bits, zeros, size, codes) = match tensor.data() {
            TensorData::Grouped(grouped) => {
                let (bits, zeros, codes) = element(grouped)?;
                if let GroupShape::Column(_) = grouped.spec().levels()[0].shape {
                    return Err("its groups lie in columns".to_owned());
                }
                (bits, zeros, grouped.spec().levels()[0].shape.len_in_row(k), codes)
            }
            TensorData::Blocks { format, .. } => {
                let Some((_, bits)) = BLOCKS.iter().find(|(block, _)| block == format) else {
                    return Err("its blocks are no integers around zero with a scale".to_owned());
                };
                let bits = Bits::new(*bits).expect("bits of the list");
                (bits, ZeroPoint::Symmetric, format.layout().group, Recode::Blocks(*format))
            }
            TensorData::Float { .. } => return Err("its weights are floats".to_owned()),
            TensorData::Sum(_) => return Err("something is added to its codes".to_owned()),
        };
        let size = Some(size).filter(|size| *size < k);
        if size.is_some_and(|size| !k.is_multiple_of(size)) {
            let size = size.unwrap_or(k);
            return Err(format!("rows of {k} weights are no whole groups of {size}"));
        }
        Ok(Self { part, tensor, bits, zeros, size, order: order(ops)?, codes })
    }

    /// N and K.
    pub(super) fn shape(&self) -> NK {
        NK { n: self.part.dims[0], k: self.tensor.shape().k }
    }

    /// Groups of a row.
    pub(super) fn groups(&self) -> usize {
        let k = self.shape().k;
        (k / self.size.unwrap_or(k).max(1)).max(1)
    }

    /// The zero point where groups have none of their own.
    pub(super) fn middle(&self) -> u8 {
        (self.bits.levels() / 2) as u8
    }

    /// Label of the format, with scales of this type.
    pub(super) fn label(&self, scales: FloatFormat) -> String {
        let format = match scales {
            FloatFormat::F32 => ParamFormat::F32,
            FloatFormat::F16 => ParamFormat::F16,
            FloatFormat::Bf16 => ParamFormat::Bf16,
        };
        let shape = self.size.map_or(GroupShape::Row, |size| GroupShape::Group(size as u32));
        let element = ElementFormat::Int { bits: self.bits, zero: self.zeros };
        let spec = GroupedSpec::new(element, vec![ScaleLevel { shape, format }]);
        WeightSpec::Grouped(spec.expect("groups as they were read")).label()
    }

    /// The codes of row `n`, one a byte.
    pub(super) fn codes(&self, n: usize) -> Vec<u8> {
        let n = self.part.row(n);
        let stored: Vec<u8> = match (self.tensor.data(), self.codes) {
            (TensorData::Grouped(grouped), Recode::Plus(more)) => {
                grouped.codes().row(n).map(|code| code + more).collect()
            }
            (TensorData::Grouped(grouped), _) => grouped.codes().row(n).map(|code| 2 * code + 1).collect(),
            _ => self.expanded(n).0.iter().map(|q| (*q as u8).wrapping_add(self.middle())).collect(),
        };
        let Some(order) = &self.order else { return stored };
        let mut codes = vec![0; stored.len()];
        stored.iter().zip(order).for_each(|(code, to)| codes[*to as usize] = *code);
        codes
    }

    /// The codes of all rows, one a byte: `[N, K]`.
    pub(super) fn all_codes(&self) -> Vec<u8> {
        (0..self.shape().n).flat_map(|n| self.codes(n)).collect()
    }

    /// Scale and zero point of every group of row `n`.
    pub(super) fn fits(&self, n: usize) -> Vec<GroupFit> {
        let n = self.part.row(n);
        let middle = f32::from(self.middle());
        match (self.tensor.data(), self.codes) {
            (TensorData::Grouped(grouped), Recode::Plus(0)) => grouped.stored_fits(n),
            (TensorData::Grouped(grouped), codes) => {
                let factor = if matches!(codes, Recode::OneBit) { 0.5 } else { 1.0 };
                let fits = grouped.stored_fits(n).into_iter();
                fits.map(|fit| GroupFit { scale: fit.scale * factor, zero: middle }).collect()
            }
            _ => self.expanded(n).1.into_iter().map(|scale| GroupFit { scale, zero: middle }).collect(),
        }
    }

    /// Numbers and scales of a row of blocks.
    fn expanded(&self, n: usize) -> (Vec<i8>, Vec<f32>) {
        let (TensorData::Blocks { bytes, tensor_scale, .. }, Recode::Blocks(format)) =
            (self.tensor.data(), self.codes)
        else {
            unreachable!("only blocks are expanded")
        };
        let k = self.tensor.shape().k;
        let width = bytes.len() / self.tensor.shape().n.max(1);
        let row = &bytes.bytes()[n * width..][..width];
        let mut expanded = (vec![0; k], vec![0.0; k / format.layout().group]);
        format.visit(Expand { row, tensor_scale: *tensor_scale, out: &mut expanded });
        expanded
    }

    /// The group of every column.
    pub(super) fn index(&self) -> Vec<u32> {
        let NK { k, .. } = self.shape();
        let size = self.size.unwrap_or(k).max(1);
        let mut index = vec![0; k];
        for at in 0..k {
            let column = self.order.as_ref().map_or(at, |order| order[at] as usize);
            index[column] = (at / size) as u32;
        }
        index
    }

    /// Whether neighbours are in different groups.
    pub(super) fn scattered(&self) -> bool {
        !self.index().is_sorted()
    }

    /// Zero points, `[N, G]`.
    pub(super) fn zero_points(&self) -> Vec<u8> {
        (0..self.shape().n).flat_map(|n| self.fits(n)).map(|fit| fit.zero as u8).collect()
    }

    /// Scales, `[N, G]`.
    pub(super) fn scales(&self, format: FloatFormat) -> Vec<u8> {
        let scales = |n| self.fits(n).iter().map(|fit| fit.scale).collect::<Vec<_>>();
        (0..self.shape().n).flat_map(|n| format.encode(&scales(n))).collect()
    }

    /// Says which scale is no number of this type.
    pub(super) fn check_scales(&self, format: FloatFormat) -> Result<(), String> {
        let halved = matches!(self.codes, Recode::OneBit);
        for n in 0..self.shape().n {
            let scales: Vec<f32> = self.fits(n).iter().map(|fit| fit.scale).collect();
            let mut back = vec![0.0; scales.len()];
            format.decode(&format.encode(&scales), &mut back);
            // Half of the smallest numbers is none.
            let lost = |(a, b): (&f32, &f32)| a != b || !a.is_finite() || halved && a.is_subnormal();
            if let Some(group) = scales.iter().zip(&back).position(lost) {
                let (scale, label) = (scales[group], format.label());
                return Err(format!("row {n}, group {group}: the scale {scale} is no number of {label}"));
            }
        }
        Ok(())
    }

    /// Codes, rows filled up to whole words: `[N, ⌈K·b/32⌉]`.
    pub(super) fn packed_codes(&self) -> Vec<u8> {
        (0..self.shape().n).flat_map(|n| words(self.bits, &self.codes(n))).collect()
    }

    /// Zero points less `less`, those of a group packed over all rows and filled up to whole words: `[G, ⌈N·b/32⌉]`.
    pub(super) fn packed_zeros(&self, less: u8) -> Vec<u8> {
        let (zeros, groups) = (self.zero_points(), self.groups());
        let of = |group: usize| {
            let zeros = zeros.iter().skip(group).step_by(groups).map(|zero| zero - less);
            words(self.bits, &zeros.collect::<Vec<_>>())
        };
        (0..groups).flat_map(of).collect()
    }
}

/// What codes of a tensor become.
fn element(tensor: &GroupedTensor) -> Result<(Bits, ZeroPoint, Recode), String> {
    let two = Bits::new(2).expect("two bits");
    match tensor.spec().element() {
        ElementFormat::Ternary => Ok((two, ZeroPoint::Symmetric, Recode::Plus(1))),
        ElementFormat::Int { bits, zero: ZeroPoint::Symmetric } if bits.get() == 1 => {
            Ok((two, ZeroPoint::Symmetric, Recode::OneBit))
        }
        ElementFormat::Int { zero: ZeroPoint::Float, .. } => {
            Err("its zero points are floats, the layout has integers".to_owned())
        }
        ElementFormat::Int { bits, zero } => Ok((bits, zero, Recode::Plus(0))),
        ElementFormat::Codebook(book) => {
            Err(format!("codes of {} stand for numbers that are no integers", book.label()))
        }
    }
}

/// For every stored column the input's, of all operations together.
fn order(ops: &[OnlineOp]) -> Result<Option<Vec<u32>>, String> {
    let mut order: Option<Vec<u32>> = None;
    for op in ops {
        match op {
            OnlineOp::Permute(next) => {
                order = Some(match order {
                    None => next.clone(),
                    Some(order) => next.iter().map(|to| order[*to as usize]).collect(),
                });
            }
            OnlineOp::Pairs(_) => return Err("its inputs are added to each other first".to_owned()),
            OnlineOp::Scale(_) => return Err("its input is scaled first".to_owned()),
            OnlineOp::Hadamard { .. } => return Err("its input is rotated first".to_owned()),
        }
    }
    Ok(order)
}

/// Codes end to end, low bits first, filled up to a whole word.
fn words(bits: Bits, codes: &[u8]) -> Vec<u8> {
    let packing = Packing::Bits(bits);
    let mut row = vec![0; packing.row_bytes(codes.len())];
    packing.pack_row(codes, &mut row);
    row.resize(row.len().next_multiple_of(4), 0);
    row
}

/// The numbers of a row of blocks.
struct Expand<'a> {
    row: &'a [u8],
    tensor_scale: f32,
    out: &'a mut (Vec<i8>, Vec<f32>),
}

impl BlockVisitor for Expand<'_> {
    type Out = ();

    fn visit<C: BlockCodec>(self) {
        let (q, s) = self.out;
        // None of the formats has offsets, and what is left alone stays zero.
        let mut c = vec![0.0; C::WEIGHTS / C::GROUP];
        let out = q.chunks_exact_mut(C::WEIGHTS).zip(s.chunks_exact_mut(C::WEIGHTS / C::GROUP));
        for (block, (q, s)) in self.row.chunks_exact(C::BYTES).zip(out) {
            C::expand(block, self.tensor_scale, q, s, &mut c);
        }
    }
}
