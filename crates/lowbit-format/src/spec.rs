//! Weight formats by name.
//!
//! | Label | Meaning |
//! |---|---|
//! | `f32`, `f16`, `bf16` | unquantized |
//! | `q4_k`, `iq2_xxs`, … | a block format of GGUF, see [`BlockFormat`] |
//! | `int4-sym-row` | 4-bit integers around the middle, one f16 scale a row |
//! | `int2-asym-g128` | 2-bit integers, an integer zero point and an f16 scale for every 128 |
//! | `int3-fzero-g64-f32` | 3-bit integers, zero point and scale in f32 |
//! | `int4-asym-g32-int6-g256` | two levels: 6-bit scales for every 32, in units of an f16 scale for every 256 |
//! | `int4-asym-c128` | 4-bit integers, an integer zero point and an f16 scale for every 128 of a column |
//! | `ternary-tensor-f32` | −1, 0, +1 and one f32 scale |
//! | `nf4-g64-f32` | NF4 with an f32 scale for every 64, see [`Codebook`] |
//! | `e4m3-row-bf16` | 8-bit floats with a bf16 scale a row |
//! | `int3-asym-g128+rank32-int8-sym-row` | 3-bit integers, and a product of two matrices of rank 32 that is added, see [`TermKind`] |
//!
//! After the element come one or two scale levels, the finer first: a shape (`gN`, `row`, `cN`, `tensor`) and a format, which
//! is left out where it is f16. After each `+` come a term, `rankR`, `rowsC`, `columnsC` or `sparseCxWIDTH`, and the format of
//! its matrices.
//!
//! [`TermKind`]: crate::TermKind

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Bits, BlockFormat, Codebook, ElementFormat, FloatFormat, FormatError, GroupFit, GroupShape, NK,
    ParamFormat, ScaleLevel, SumSpec, ZeroPoint, group::check_group, params, suggest, sum,
};

/// The whole meaning of a stored weight.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WeightSpec {
    /// Unquantized elements.
    Float(FloatFormat),
    /// Blocks as in GGUF.
    Block(BlockFormat),
    /// Codes with scales beside them.
    Grouped(GroupedSpec),
    /// Any of these, and what is added to it.
    Sum(SumSpec),
}

/// Codes with one or two levels of scales.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupedSpec {
    element: ElementFormat,
    levels: Vec<ScaleLevel>,
}

impl GroupedSpec {
    /// Scale levels from the finer to the coarser.
    ///
    /// # Errors
    /// Where there are not one or two levels, a group size is no multiple of four, the second level is not made of
    /// whole groups of the first, or integer scales have no level to be in units of.
    pub fn new(element: ElementFormat, levels: Vec<ScaleLevel>) -> Result<Self, FormatError> {
        let wrong = |reason| Err(FormatError::Levels { reason });
        for level in &levels {
            if let GroupShape::Group(size) | GroupShape::Column(size) = level.shape {
                check_group(size)?;
            }
        }
        match levels[..] {
            [_] => {}
            [fine, coarse] => {
                let nested = match (fine.shape, coarse.shape) {
                    (GroupShape::Group(a), GroupShape::Group(b)) => b > a && b % a == 0,
                    (GroupShape::Group(_), GroupShape::Row | GroupShape::Tensor)
                    | (GroupShape::Row, GroupShape::Tensor) => true,
                    _ => false,
                };
                if !nested {
                    return wrong("the groups of the second scale level are no whole groups of the first");
                }
            }
            _ => return wrong("expected one or two scale levels"),
        }
        if matches!(levels.last(), Some(ScaleLevel { format: ParamFormat::Int(_), .. })) {
            return wrong("integer scales need a coarser level to be in units of");
        }
        Ok(Self { element, levels })
    }

    /// Where integer scales are in units of one scale a row, the format without that level: its weights are those of a row in units of the
    /// row's scale. It has no label that is read back.
    pub fn in_units_of_rows(&self) -> Option<Self> {
        match self.levels[..] {
            [
                fine @ ScaleLevel { format: ParamFormat::Int(_), .. },
                ScaleLevel { shape: GroupShape::Row, .. },
            ] => Some(Self { element: self.element, levels: vec![fine] }),
            _ => None,
        }
    }

    /// What a code means.
    pub fn element(&self) -> ElementFormat {
        self.element
    }

    /// The scales, the finer level first.
    pub fn levels(&self) -> &[ScaleLevel] {
        &self.levels
    }

    /// The format of zero points, `None` where groups have none of their own.
    pub fn zero_format(&self) -> Option<ParamFormat> {
        match self.element {
            ElementFormat::Int { bits, zero: ZeroPoint::Integer } => Some(ParamFormat::Int(bits)),
            ElementFormat::Int { zero: ZeroPoint::Float, .. } => Some(match self.levels[0].format {
                real @ (ParamFormat::F32 | ParamFormat::F16 | ParamFormat::Bf16) => real,
                _ => ParamFormat::F16,
            }),
            _ => None,
        }
    }

    /// Scale and zero point as they are after storing them. With two levels the scale is stored in units that depend on
    /// its neighbours and is left as it is.
    pub fn stored(&self, fit: GroupFit) -> GroupFit {
        let through = |format: ParamFormat, x: f32| format.decode(format.encode(x));
        let scale = match self.levels[..] {
            [level] => through(level.format, fit.scale),
            _ => fit.scale,
        };
        let zero = match self.zero_format() {
            Some(format) => through(format, fit.zero),
            None => self.element.center().unwrap_or(0.0),
        };
        GroupFit { scale, zero }
    }

    /// Bytes of a tensor of this format: codes, scales and zero points, every row in whole bytes.
    pub fn stored_bytes(&self, shape: NK) -> usize {
        let params = |level: GroupShape, format: ParamFormat| {
            level.rows(shape.n)
                * params::row_bytes(format, level.per_row(shape.k)).unwrap_or(usize::MAX / shape.n.max(1))
        };
        let scales: usize = self.levels.iter().map(|level| params(level.shape, level.format)).sum();
        let zeros = self.zero_format().map_or(0, |format| params(self.levels[0].shape, format));
        shape.n * self.element.packing().row_bytes(shape.k) + scales + zeros
    }

    /// Weights that share a scale and an offset after [`GroupedTensor::expand_row`]: the largest of 4, 16 and 32 that
    /// divides the finer groups; 1 for groups in columns, which are not expanded.
    ///
    /// [`GroupedTensor::expand_row`]: crate::GroupedTensor::expand_row
    pub fn expansion_group(&self) -> usize {
        match self.levels[0].shape {
            GroupShape::Column(_) => 1,
            GroupShape::Group(size) if size % 16 != 0 => 4,
            GroupShape::Group(size) if size % 32 != 0 => 16,
            _ => 32,
        }
    }

    /// Weights that share a scale in products of 8-bit integers: 16 or 32. `None` for groups that are too small for them
    /// or lie in columns, and for codes that stand for numbers of a table: such weights are multiplied as floats.
    pub fn integer_group(&self) -> Option<usize> {
        let integers = !matches!(self.element, ElementFormat::Codebook(_));
        Some(self.expansion_group()).filter(|group| integers && *group >= 16)
    }

    fn label(&self) -> String {
        let mut label = match self.element {
            ElementFormat::Ternary => "ternary".to_string(),
            ElementFormat::Codebook(book) => book.label().to_string(),
            ElementFormat::Int { bits, zero } => {
                let zero = match zero {
                    ZeroPoint::Symmetric => "sym",
                    ZeroPoint::Integer => "asym",
                    ZeroPoint::Float => "fzero",
                };
                format!("int{}-{zero}", bits.get())
            }
        };
        for level in &self.levels {
            label += &match level.shape {
                GroupShape::Tensor => "-tensor".to_string(),
                GroupShape::Row => "-row".to_string(),
                GroupShape::Group(size) => format!("-g{size}"),
                GroupShape::Column(size) => format!("-c{size}"),
            };
            if level.format != ParamFormat::F16 {
                label += &format!("-{}", level.format.label());
            }
        }
        label
    }

    /// `Ok(None)` where the label is none of these.
    fn parse(label: &str) -> Result<Option<Self>, FormatError> {
        let mut words = label.split('-').peekable();
        let book = |word: &str| Codebook::ALL.into_iter().find(|book| book.label() == word);
        let element = match words.next() {
            Some("ternary") => ElementFormat::Ternary,
            Some(word) if book(word).is_some() => ElementFormat::Codebook(book(word).expect("just found")),
            Some(word) => {
                let Some(bits) = word.strip_prefix("int").and_then(|b| b.parse().ok()) else {
                    return Ok(None);
                };
                let zero = match words.next() {
                    Some("sym") => ZeroPoint::Symmetric,
                    Some("asym") => ZeroPoint::Integer,
                    Some("fzero") => ZeroPoint::Float,
                    _ => return Ok(None),
                };
                ElementFormat::Int { bits: Bits::new(bits)?, zero }
            }
            None => return Ok(None),
        };
        let mut levels = Vec::new();
        while let Some(word) = words.next() {
            let shape = match word {
                "tensor" => GroupShape::Tensor,
                "row" => GroupShape::Row,
                _ => {
                    let size = |letter| word.strip_prefix(letter).and_then(|size| size.parse().ok());
                    match (size('g'), size('c')) {
                        (Some(size), _) => GroupShape::Group(size),
                        (_, Some(size)) => GroupShape::Column(size),
                        _ => return Ok(None),
                    }
                }
            };
            let format = words.peek().and_then(|word| ParamFormat::parse(word));
            if format.is_some() {
                words.next();
            }
            levels.push(ScaleLevel { shape, format: format.unwrap_or(ParamFormat::F16) });
        }
        if levels.is_empty() {
            return Ok(None);
        }
        Self::new(element, levels).map(Some)
    }

    fn bits_per_weight(&self) -> f64 {
        let per = |shape, bits: u32| match shape {
            GroupShape::Group(size) | GroupShape::Column(size) => f64::from(bits) / f64::from(size),
            GroupShape::Row | GroupShape::Tensor => 0.0,
        };
        let code = match self.element {
            ElementFormat::Int { bits, .. } => f64::from(bits.get()),
            ElementFormat::Ternary => 8.0 / 5.0,
            ElementFormat::Codebook(book) => f64::from(book.bits().get()),
        };
        let scales: f64 = self.levels.iter().map(|l| per(l.shape, l.format.bits())).sum();
        code + scales + self.zero_format().map_or(0.0, |f| per(self.levels[0].shape, f.bits()))
    }
}

impl WeightSpec {
    /// Label in files, reports and commands; [`Self::parse`] reads it back.
    pub fn label(&self) -> String {
        match self {
            Self::Float(format) => format.label().to_string(),
            Self::Block(format) => format.label().to_string(),
            Self::Grouped(spec) => spec.label(),
            Self::Sum(spec) => spec.label(),
        }
    }

    /// Reads a label.
    ///
    /// # Errors
    /// [`FormatError::UnknownSpec`] with the nearest known label; what [`GroupedSpec::new`] refuses.
    pub fn parse(label: &str) -> Result<Self, FormatError> {
        let float = FloatFormat::ALL.into_iter().find(|f| f.label() == label).map(Self::Float);
        let block = || BlockFormat::ALL.iter().find(|f| f.label() == label).map(|f| Self::Block(*f));
        if let Some(spec) = float.or_else(block) {
            return Ok(spec);
        }
        if let Some(sum) = SumSpec::parse(label)? {
            return Ok(Self::Sum(sum));
        }
        GroupedSpec::parse(label)?.map(Self::Grouped).ok_or_else(|| {
            let known: Vec<String> = all_specs().into_iter().map(|s| s.spec.label()).collect();
            let nearest = suggest::nearest(label, known.iter().map(String::as_str)).map(str::to_string);
            FormatError::UnknownSpec { label: label.to_string(), nearest }
        })
    }

    /// Bits stored for each weight of a long row: scales and zero points of groups are counted, those of rows and
    /// tensors and the padding of rows are not, nor is what is added: how much that is depends on the shape.
    pub fn bits_per_weight(&self) -> f64 {
        match self {
            Self::Float(format) => 8.0 * format.bytes() as f64,
            Self::Block(format) => 8.0 * format.layout().bytes as f64 / format.layout().weights as f64,
            Self::Grouped(spec) => spec.bits_per_weight(),
            Self::Sum(spec) => spec.base().bits_per_weight(),
        }
    }

    /// Bytes of a tensor of this format.
    ///
    /// # Errors
    /// Where rows of the shape are no whole number of blocks, or a term is none of such a matrix.
    pub fn stored_bytes(&self, shape: NK) -> Result<usize, FormatError> {
        match self {
            Self::Float(format) => Ok(shape.weights() * format.bytes()),
            Self::Block(format) => {
                let layout = format.layout();
                if !shape.k.is_multiple_of(layout.weights) {
                    let (format, block) = (layout.label, layout.weights);
                    return Err(FormatError::RowNotBlocks { format, k: shape.k, block });
                }
                Ok(shape.weights() / layout.weights * layout.bytes)
            }
            Self::Grouped(spec) => Ok(spec.stored_bytes(shape)),
            Self::Sum(spec) => {
                let mut bytes = spec.base().stored_bytes(shape)?;
                for term in spec.terms() {
                    term.kind.check(shape)?;
                    let lists = term.kind.lists(shape);
                    bytes += lists.iter().map(|(len, bound)| len * sum::list_bytes(*bound)).sum::<usize>();
                    for matrix in term.kind.matrices(shape) {
                        bytes += term.weight.stored_bytes(matrix)?;
                    }
                }
                Ok(bytes)
            }
        }
    }

    /// The format of the codes that most weights have: the base of a sum, else itself.
    pub fn base(&self) -> &Self {
        match self {
            Self::Sum(spec) => spec.base(),
            other => other,
        }
    }
}

impl fmt::Display for WeightSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl FromStr for WeightSpec {
    type Err = FormatError;
    fn from_str(label: &str) -> Result<Self, FormatError> {
        Self::parse(label)
    }
}

impl TryFrom<String> for WeightSpec {
    type Error = FormatError;
    fn try_from(label: String) -> Result<Self, FormatError> {
        Self::parse(&label)
    }
}

impl From<WeightSpec> for String {
    fn from(spec: WeightSpec) -> String {
        spec.label()
    }
}

/// One line of the table of formats.
#[derive(Clone, Debug)]
pub struct SpecInfo {
    /// The format.
    pub spec: WeightSpec,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Where it comes from.
    pub source: SpecSource,
}

/// Who defines a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecSource {
    /// A number type of the CPU or of IEEE 754.
    Float,
    /// GGUF files.
    Gguf,
    /// GGUF files of one project, under type numbers of its own.
    GgufDialect,
    /// lowbit's own packing.
    Lowbit,
}

/// Every float and block format, and of the grouped ones, which are without number, those in common use.
pub fn all_specs() -> Vec<SpecInfo> {
    let float = FloatFormat::ALL.into_iter().map(|format| SpecInfo {
        spec: WeightSpec::Float(format),
        summary: "unquantized",
        source: SpecSource::Float,
    });
    let block = BlockFormat::ALL.iter().map(|&format| SpecInfo {
        spec: WeightSpec::Block(format),
        summary: format.summary(),
        source: match format {
            BlockFormat::Q1_0_G32 | BlockFormat::Q2_0_G128 | BlockFormat::I2_S => SpecSource::GgufDialect,
            _ => SpecSource::Gguf,
        },
    });
    let zeros = [
        (ZeroPoint::Symmetric, "integers around the middle"),
        (ZeroPoint::Integer, "integers with integer zero points"),
        (ZeroPoint::Float, "integers with float zero points"),
    ];
    let shapes = [
        GroupShape::Row,
        GroupShape::Group(32),
        GroupShape::Group(64),
        GroupShape::Group(128),
        GroupShape::Column(128),
    ];
    let ints = (1..=8).filter_map(|bits| Bits::new(bits).ok()).flat_map(move |bits| {
        zeros.into_iter().flat_map(move |(zero, summary)| {
            shapes
                .into_iter()
                .map(move |shape| (ElementFormat::Int { bits, zero }, shape, ParamFormat::F16, summary))
        })
    });
    let ternary = [(GroupShape::Tensor, ParamFormat::F32), (GroupShape::Row, ParamFormat::F16)];
    let ternary =
        ternary.map(|(shape, format)| (ElementFormat::Ternary, shape, format, "ternary, five codes a byte"));
    // As the libraries store them: blocks of 64 of bitsandbytes, one scale a tensor or for 128.
    let books = [
        (Codebook::Nf4, GroupShape::Group(64)),
        (Codebook::Fp4, GroupShape::Group(64)),
        (Codebook::E4M3, GroupShape::Group(128)),
        (Codebook::E4M3, GroupShape::Tensor),
    ];
    let books =
        books.map(|(book, shape)| (ElementFormat::Codebook(book), shape, ParamFormat::F32, book.summary()));
    let grouped = ints.chain(ternary).chain(books).map(|(element, shape, format, summary)| SpecInfo {
        spec: WeightSpec::Grouped(GroupedSpec { element, levels: vec![ScaleLevel { shape, format }] }),
        summary,
        source: SpecSource::Lowbit,
    });
    float.chain(block).chain(grouped).collect()
}
