//! GPTQ, as AutoGPTQ and GPTQModel store it: codes by columns in words, a zero point for every group, and with act-order
//! the group of every column.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `qweight` | i32 | K·b/32 × N | codes of a column of K, end to end, low bits first |
//! | `qzeros` | i32 | G × N·b/32 | zero points of a group, likewise; of format `gptq` one less than they are |
//! | `scales` | float | G × N | |
//! | `g_idx` | i32 | K | the group of a column; absent in old files, which have them in order |
//!
//! A column of words is a row of lowbit's packing, so only the matrix of words is turned. Columns in act-order are sorted by
//! group, and the input with them.

use super::{
    Entry, Layer, Layout, Settings,
    parts::{self, FLOATS, Part, Parts},
    words::{transposed, transposed_floats},
};
use crate::IoError;
use lowbit_format::{
    Bits, Codes, GroupShape, NK, OnlineOp, Packing, QuantTensor, Storage, WeightSpec, ZeroPoint,
};
use std::sync::Arc;

pub(super) const ENTRY: Entry = Entry {
    method: "gptq",
    open: |settings| {
        settings.one_of("checkpoint_format", &["gptq", "gptq_v2"])?;
        settings.one_of("pack_dtype", &["int32"])?;
        settings.absent("is_marlin_format")?;
        let zeros = match settings.text("checkpoint_format")? {
            Some("gptq_v2") => Zeros::AsTheyAre,
            _ => Zeros::OneLess,
        };
        Gptq::open(settings, zeros)
    },
};

/// How zero points are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zeros {
    /// Less one, word by word: format `gptq`.
    OneLess,
    /// As they are: `gptq_v2`.
    AsTheyAre,
}

/// What the settings say of all layers.
#[derive(Debug)]
pub(super) struct Gptq {
    /// `None` where layers may differ.
    bits: Option<usize>,
    /// Columns of a group, `None` for whole rows.
    group: Option<usize>,
    zeros: Zeros,
}

impl Gptq {
    pub(super) fn open(settings: &Settings<'_>, zeros: Zeros) -> Result<Arc<dyn Layout>, IoError> {
        let wrong = |key, found: i64, expected| Err(settings.refused(key, &found.to_string(), expected));
        let bits = match settings.number("bits")? {
            Some(bits @ (2 | 3 | 4 | 8)) => bits as usize,
            found => return wrong("bits", found.unwrap_or(0), "2, 3, 4 or 8"),
        };
        let group = match settings.number("group_size")? {
            None | Some(-1) => None,
            Some(size) if size > 0 => Some(size as usize),
            Some(size) => return wrong("group_size", size, "-1 or more than 0"),
        };
        // Settings of single layers show in their tensors' shapes.
        let mixed = ["dynamic", "extra_config"].iter().any(|key| settings.get(key).is_some());
        Ok(Arc::new(Self { bits: (!mixed).then_some(bits), group, zeros }))
    }

    /// The zero points of every group of every row, `[G, N]`, one a byte.
    fn zeros(&self, part: &Part, bits: Bits, n: usize) -> Vec<u8> {
        let mut bytes = part.bytes.bytes().to_vec();
        let one_more = self.zeros == Zeros::OneLess;
        if one_more && bits.get() != 3 {
            // The libraries subtract from and add to whole words, so that a borrow comes back.
            let ones = (0..32 / bits.get()).fold(0u32, |ones, i| ones | 1 << (bits.get() * i));
            for word in bytes.as_chunks_mut::<4>().0 {
                *word = u32::from_le_bytes(*word).wrapping_add(ones).to_le_bytes();
            }
        }
        let groups = part.dims[0];
        let codes = Codes::new(Packing::Bits(bits), NK { n: groups, k: n }, bytes.into());
        let codes = codes.expect("the shape of zero points was checked");
        let mut zeros: Vec<u8> = (0..groups).flat_map(|g| codes.row(g).collect::<Vec<_>>()).collect();
        if one_more && bits.get() == 3 {
            zeros.iter_mut().for_each(|zero| *zero = (*zero + 1) & 7);
        }
        zeros
    }

    fn order(&self, parts: &Parts<'_>, layer: &Layer) -> Result<Option<Vec<u32>>, IoError> {
        let k = layer.shape.k;
        let Some(index) = parts.find(".g_idx") else { return Ok(None) };
        index.expect(&[k])?;
        let size = match &layer.spec {
            WeightSpec::Grouped(spec) => spec.levels()[0].shape.len_in_row(k),
            _ => k,
        };
        parts::order(&index, k.div_ceil(size.max(1)), size)
    }
}

impl Layout for Gptq {
    fn markers(&self) -> &'static [&'static str] {
        &[".qweight"]
    }

    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError> {
        let qweight = parts.get(".qweight", &["i32"], 2)?;
        let qzeros = parts.get(".qzeros", &["i32"], 2)?;
        let scales = parts.get(".scales", FLOATS, 2)?;
        let (words, n) = (qweight.dims[0], qweight.dims[1]);
        let (groups, zero_words) = (qzeros.dims[0], qzeros.dims[1]);
        let bits = Some(zero_words * 32).filter(|all| n > 0 && all.is_multiple_of(n)).map(|all| all / n);
        let known = |bits: &usize| matches!(bits, 2 | 3 | 4 | 8) && self.bits.is_none_or(|all| all == *bits);
        let Some(bits) = bits.filter(known) else {
            let expected = match self.bits {
                Some(bits) => format!("zero points of {bits} bits for {n} rows, as quantization_config says"),
                None => format!("zero points of 2, 3, 4 or 8 bits for {n} rows"),
            };
            return Err(qzeros.wrong(&expected));
        };
        if !(words * 32).is_multiple_of(bits) {
            return Err(qweight.wrong(&format!("whole codes of {bits} bits")));
        }
        let k = words * 32 / bits;
        scales.expect(&[groups, n])?;
        let shape = parts::group_shape(k, groups, self.group)
            .ok_or_else(|| scales.wrong(&format!("one row for every group of {k} columns")))?;
        let bits = parts::bits(bits).expect("one of four numbers");
        let middle = (bits.levels() / 2) as u8;
        let symmetric = self.zeros(&qzeros, bits, n).iter().all(|zero| *zero == middle);
        let zero = if symmetric { ZeroPoint::Symmetric } else { ZeroPoint::Integer };
        let spec =
            parts::integers(bits, zero, shape, scales.param_format()?).map_err(|e| parts.refused(e))?;
        let mut endings = vec![".qweight", ".qzeros", ".scales"];
        if parts.find(".g_idx").is_some() {
            endings.push(".g_idx");
        }
        let layer = Layer { spec: WeightSpec::Grouped(spec), shape: NK { n, k }, endings };
        self.order(parts, &layer)?;
        Ok(layer)
    }

    fn tensor(&self, parts: &Parts<'_>, layer: &Layer) -> Result<QuantTensor, IoError> {
        let NK { n, k } = layer.shape;
        let WeightSpec::Grouped(spec) = &layer.spec else { unreachable!("layers of GPTQ are grouped") };
        let Packing::Bits(bits) = spec.element().packing() else {
            unreachable!("codes of GPTQ are integers")
        };
        let qweight = parts.get(".qweight", &["i32"], 2)?;
        let scales = parts.get(".scales", FLOATS, 2)?;
        let groups = scales.dims[0];
        let mut codes = Storage::from(transposed::<4>(qweight.bytes.bytes(), qweight.dims[0], n));
        if let Some(order) = self.order(parts, layer)? {
            let stored = Codes::new(Packing::Bits(bits), layer.shape, codes).map_err(|e| parts.refused(e))?;
            codes = parts::reordered(&stored, &order);
        }
        let scales = transposed_floats(scales.bytes.bytes(), groups, n);
        let zeros = match spec.zero_format() {
            Some(_) => {
                let zeros = self.zeros(&parts.get(".qzeros", &["i32"], 2)?, bits, n);
                Some(parts::packed_columns(bits, &zeros, groups, n))
            }
            None => None,
        };
        debug_assert!(spec.levels()[0].shape != GroupShape::Row || groups == 1, "{k} columns in a group");
        parts::grouped(spec, layer.shape, codes, scales.into(), zeros).map_err(|e| parts.refused(e))
    }

    fn input(&self, parts: &Parts<'_>, layer: &Layer) -> Result<Vec<OnlineOp>, IoError> {
        Ok(self.order(parts, layer)?.map(OnlineOp::Permute).into_iter().collect())
    }
}
