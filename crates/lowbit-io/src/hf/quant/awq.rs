//! AWQ in the packing of its `gemm` version: 4-bit codes of eight rows in a word, in the order 0 2 4 6 1 3 5 7.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `qweight` | i32 | K × N/8 | codes of eight rows, those of the even ones in the lower half |
//! | `qzeros` | i32 | G × N/8 | zero points, likewise |
//! | `scales` | float | G × N | |

use super::{
    Entry, Layer, Layout, Settings,
    parts::{self, FLOATS, Parts},
    words::transposed_floats,
};
use crate::IoError;
use lowbit_format::{Bits, NK, OnlineOp, Packing, QuantTensor, WeightSpec, ZeroPoint};
use std::sync::Arc;

pub(super) const ENTRY: Entry = Entry {
    method: "awq",
    open: |settings| {
        settings.one_of("version", &["gemm", "GEMM"])?;
        if settings.flag("zero_point")? == Some(false) {
            return Err(settings.refused("zero_point", "false", "true: the packing has zero points"));
        }
        Awq::open(settings)
    },
};

/// Rows whose codes share a word.
const TOGETHER: usize = 8;
/// Which four bits of a word a row of the eight has.
const PLACE: [u32; TOGETHER] = [0, 4, 1, 5, 2, 6, 3, 7];

/// What the settings say of all layers.
#[derive(Debug)]
pub(super) struct Awq {
    group: Option<usize>,
}

impl Awq {
    pub(super) fn open(settings: &Settings<'_>) -> Result<Arc<dyn Layout>, IoError> {
        let bits = settings.number("bits")?.or(settings.number("w_bit")?);
        if bits != Some(4) {
            return Err(settings.refused("bits", &bits.unwrap_or(0).to_string(), "4"));
        }
        let size = settings.number("group_size")?.or(settings.number("q_group_size")?);
        let group = match size {
            None | Some(-1) => None,
            Some(size) if size > 0 => Some(size as usize),
            Some(size) => return Err(settings.refused("group_size", &size.to_string(), "-1 or more than 0")),
        };
        Ok(Arc::new(Self { group }))
    }
}

/// The codes of `rows` words of a matrix of words, as packed rows: the transpose of what is stored.
fn unpacked(words: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let words = words.as_chunks::<4>().0;
    let packing = Packing::Bits(Bits::new(4).expect("4 bits"));
    let width = packing.row_bytes(rows);
    let mut out = vec![0; columns * TOGETHER * width];
    let mut codes = vec![0u8; rows];
    for (n, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
        let (column, shift) = (n / TOGETHER, 4 * PLACE[n % TOGETHER]);
        for (row, code) in codes.iter_mut().enumerate() {
            *code = (u32::from_le_bytes(words[row * columns + column]) >> shift & 15) as u8;
        }
        packing.pack_row(&codes, out);
    }
    out
}

impl Layout for Awq {
    fn markers(&self) -> &'static [&'static str] {
        &[".qweight"]
    }

    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError> {
        let qweight = parts.get(".qweight", &["i32"], 2)?;
        let scales = parts.get(".scales", FLOATS, 2)?;
        let (k, words, groups) = (qweight.dims[0], qweight.dims[1], scales.dims[0]);
        let n = words * TOGETHER;
        scales.expect(&[groups, n])?;
        parts.get(".qzeros", &["i32"], 2)?.expect(&[groups, words])?;
        let shape = parts::group_shape(k, groups, self.group)
            .ok_or_else(|| scales.wrong(&format!("one row for every group of {k} columns")))?;
        let bits = Bits::new(4).expect("4 bits");
        let spec = parts::integers(bits, ZeroPoint::Integer, shape, scales.param_format()?);
        Ok(Layer {
            spec: WeightSpec::Grouped(spec.map_err(|e| parts.refused(e))?),
            shape: NK { n, k },
            endings: vec![".qweight", ".qzeros", ".scales"],
        })
    }

    fn tensor(&self, parts: &Parts<'_>, layer: &Layer) -> Result<QuantTensor, IoError> {
        let NK { n, k } = layer.shape;
        let WeightSpec::Grouped(spec) = &layer.spec else { unreachable!("layers of AWQ are grouped") };
        let qweight = parts.get(".qweight", &["i32"], 2)?;
        let qzeros = parts.get(".qzeros", &["i32"], 2)?;
        let scales = parts.get(".scales", FLOATS, 2)?;
        let groups = scales.dims[0];
        let codes = unpacked(qweight.bytes.bytes(), k, n / TOGETHER);
        let zeros = unpacked(qzeros.bytes.bytes(), groups, n / TOGETHER);
        let scales = transposed_floats(scales.bytes.bytes(), groups, n);
        parts::grouped(spec, layer.shape, codes.into(), scales.into(), Some(zeros.into()))
            .map_err(|e| parts.refused(e))
    }

    fn input(&self, _: &Parts<'_>, _: &Layer) -> Result<Vec<OnlineOp>, IoError> {
        Ok(Vec::new())
    }
}
