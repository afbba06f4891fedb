//! The stored tensors of one packed layer, each looked up by its ending and held against its type and shape.

use crate::{IoError, TensorInfo, problem};
use lowbit_format::{
    Bits, Codes, ElementFormat, FormatError, GroupParams, GroupShape, GroupedSpec, GroupedTensor, NK,
    Packing, ParamFormat, QuantTensor, ScaleLevel, Storage, ZeroPoint,
};

/// The stored tensors of a folder.
pub(in crate::hf) struct Files<'a> {
    /// All of them.
    pub(in crate::hf) tensors: &'a [TensorInfo],
    /// Their numbers by name.
    pub(in crate::hf) sorted: &'a [u32],
    /// The files.
    pub(in crate::hf) bytes: &'a [Storage],
}

impl Files<'_> {
    /// A tensor by name.
    pub(in crate::hf) fn info(&self, name: &str) -> Option<&TensorInfo> {
        let found = self.sorted.binary_search_by(|i| self.tensors[*i as usize].name.as_str().cmp(name));
        found.ok().map(|i| &self.tensors[self.sorted[i] as usize])
    }

    /// The bytes of a tensor.
    pub(in crate::hf) fn slice(&self, info: &TensorInfo) -> Storage {
        let start = info.offset as usize;
        self.bytes[info.file].slice(start..start + info.bytes).expect("spans were checked at opening")
    }
}

/// What is stored for one module.
pub(super) struct Parts<'a> {
    pub(super) module: &'a str,
    pub(super) files: &'a Files<'a>,
}

/// One stored tensor.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) dtype: &'static str,
    pub(super) dims: Vec<usize>,
    pub(super) bytes: Storage,
}

impl Parts<'_> {
    /// The tensor with an ending, `None` where there is none.
    pub(super) fn find(&self, ending: &str) -> Option<Part> {
        let info = self.files.info(&format!("{}{ending}", self.module))?;
        Some(Part {
            name: info.name.clone(),
            dtype: info.encoding.label(),
            dims: info.dims.clone(),
            bytes: self.files.slice(info),
        })
    }

    /// The tensor with an ending, of one of these types and of so many dimensions.
    pub(super) fn get(&self, ending: &str, types: &[&str], rank: usize) -> Result<Part, IoError> {
        let name = || format!("{}{ending}", self.module);
        let names = || self.files.tensors.iter().map(|t| t.name.as_str());
        let part = self.find(ending).ok_or_else(|| problem::missing(&name(), names()))?;
        if types.contains(&part.dtype) && part.dims.len() == rank {
            return Ok(part);
        }
        Err(part.wrong(&format!("{} of {rank} dimensions", types.join(" or "))))
    }

    /// An error of the weight as a whole.
    pub(super) fn refused(&self, error: FormatError) -> IoError {
        IoError::Tensor { name: format!("{}.weight", self.module), error }
    }
}

impl Part {
    /// Checks the dimensions.
    pub(super) fn expect(&self, dims: &[usize]) -> Result<(), IoError> {
        if self.dims == dims { Ok(()) } else { Err(self.wrong(&format!("{} {dims:?}", self.dtype))) }
    }

    /// An error that says what was found.
    pub(super) fn wrong(&self, expected: &str) -> IoError {
        let found = format!("{} {:?}", self.dtype, self.dims);
        IoError::invalid(format!("tensor {:?}", self.name), found, expected)
    }

    /// The format of scales of this type.
    pub(super) fn param_format(&self) -> Result<ParamFormat, IoError> {
        match self.dtype {
            "f32" => Ok(ParamFormat::F32),
            "f16" => Ok(ParamFormat::F16),
            "bf16" => Ok(ParamFormat::Bf16),
            _ => Err(self.wrong("f32, f16 or bf16")),
        }
    }

    /// The elements of a tensor of `i32` or `i64`.
    pub(super) fn integers(&self) -> Result<Vec<i64>, IoError> {
        let bytes = self.bytes.bytes();
        match self.dtype {
            "i32" => Ok(bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()),
            "i64" => Ok(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            _ => Err(self.wrong("i32 or i64")),
        }
    }
}

/// Types of scales.
pub(super) const FLOATS: &[&str] = &["f16", "bf16", "f32"];

/// A number of bits that fits a format.
pub(super) fn bits(count: usize) -> Option<Bits> {
    Bits::new(u8::try_from(count).ok()?).ok()
}

/// A format of integers with one level of scales.
pub(super) fn integers(
    bits: Bits,
    zero: ZeroPoint,
    shape: GroupShape,
    format: ParamFormat,
) -> Result<GroupedSpec, FormatError> {
    GroupedSpec::new(ElementFormat::Int { bits, zero }, vec![ScaleLevel { shape, format }])
}

/// The weights that share a scale where a row of `k` has `groups`: `size` of them if that fits, else equal parts.
pub(super) fn group_shape(k: usize, groups: usize, size: Option<usize>) -> Option<GroupShape> {
    if groups == 1 && size.is_none_or(|size| size >= k) {
        return Some(GroupShape::Row);
    }
    let size = match size.filter(|size| *size > 0 && k.div_ceil(*size) == groups) {
        Some(size) => size,
        None if groups > 0 && k.is_multiple_of(groups) => k / groups,
        None => return None,
    };
    Some(GroupShape::Group(u32::try_from(size).ok()?))
}

/// Codes, scales and zero points put together, each as lowbit packs them.
pub(super) fn grouped(
    spec: &GroupedSpec,
    shape: NK,
    codes: Storage,
    scales: Storage,
    zeros: Option<Storage>,
) -> Result<QuantTensor, FormatError> {
    let codes = Codes::new(spec.element().packing(), shape, codes)?;
    let params = GroupParams::new(spec, shape, vec![scales], zeros)?;
    GroupedTensor::new(spec.clone(), codes, params).map(QuantTensor::from_grouped)
}

/// The order in which columns are stored so that those of a group are neighbours, `None` where they are already. `index`
/// has the group of every column.
pub(super) fn order(index: &Part, groups: usize, size: usize) -> Result<Option<Vec<u32>>, IoError> {
    let of = index.integers()?;
    let k = of.len();
    let mut members = vec![Vec::new(); groups];
    for (column, group) in of.iter().enumerate() {
        match usize::try_from(*group).ok().and_then(|group| members.get_mut(group)) {
            Some(members) => members.push(column as u32),
            None => {
                let what = format!("tensor {:?}", index.name);
                let found = format!("group {group} of column {column}");
                return Err(IoError::invalid(what, found, format!("0 to {}", groups.saturating_sub(1))));
            }
        }
    }
    for (group, members) in members.iter().enumerate() {
        let expected = size.min(k.saturating_sub(group * size));
        if members.len() != expected {
            let what = format!("tensor {:?}", index.name);
            let found = format!("{} columns of group {group}", members.len());
            return Err(IoError::invalid(what, found, expected.to_string()));
        }
    }
    let order: Vec<u32> = members.into_iter().flatten().collect();
    Ok((!order.is_sorted()).then_some(order))
}

/// Rows of packed codes with their columns in another order.
pub(super) fn reordered(codes: &Codes, order: &[u32]) -> Storage {
    let NK { n, k } = codes.shape();
    let (mut row, mut moved) = (vec![0i8; k], vec![0u8; k]);
    let width = codes.packing().row_bytes(k);
    let mut out = vec![0; n * width];
    for (i, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
        codes.unpack_row(i, &mut row);
        moved.iter_mut().zip(order).for_each(|(code, from)| *code = row[*from as usize] as u8);
        codes.packing().pack_row(&moved, out);
    }
    out.into()
}

/// Codes `[rows, columns]`, one a byte, as packed rows of columns.
pub(super) fn packed_columns(bits: Bits, codes: &[u8], rows: usize, columns: usize) -> Storage {
    let turned: Vec<u8> = (0..columns).flat_map(|c| (0..rows).map(move |r| codes[r * columns + c])).collect();
    Codes::pack(Packing::Bits(bits), NK { n: columns, k: rows }, &turned).bytes().clone()
}
