//! GGUF tensor type numbers: what each means, how many bytes it takes, and why some are refused.

use crate::Encoding;
use lowbit_format::{BlockFormat, FloatFormat};

/// One meaning of a type number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    /// As GGUF tools print it.
    pub(super) name: &'static str,
    pub(super) encoding: Encoding,
    /// Elements in a block.
    pub(super) weights: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    /// Bytes after the last block (I2_S: a scale and padding).
    pub(super) tail: usize,
    /// Whose files carry it, where several meanings share a number.
    pub(super) origin: &'static str,
}

impl Meaning {
    fn from(self, origin: &'static str) -> Self {
        Self { origin, ..self }
    }

    /// Bytes of a tensor, `None` on overflow or where a row is no whole number of blocks.
    pub(super) fn size(&self, dims: &[usize]) -> Option<usize> {
        let k = *dims.last()?;
        if !k.is_multiple_of(self.weights) {
            return None;
        }
        let rows = dims[..dims.len() - 1].iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        let blocks = (k / self.weights).checked_mul(rows)?;
        blocks.checked_mul(self.bytes)?.checked_add(self.tail)
    }
}

/// What a type number can mean: nothing known, one thing, or several to be told apart by the tensors' spans. What
/// current llama.cpp means by it comes first.
pub(super) fn meanings(number: u32) -> Vec<Meaning> {
    use BlockFormat::*;
    match number {
        0 => vec![float("F32", FloatFormat::F32)],
        1 => vec![float("F16", FloatFormat::F16)],
        30 => vec![float("BF16", FloatFormat::Bf16)],
        2 => vec![blocks("Q4_0", Q4_0)],
        3 => vec![blocks("Q4_1", Q4_1)],
        6 => vec![blocks("Q5_0", Q5_0)],
        7 => vec![blocks("Q5_1", Q5_1)],
        8 => vec![blocks("Q8_0", Q8_0)],
        10 => vec![blocks("Q2_K", Q2_K)],
        11 => vec![blocks("Q3_K", Q3_K)],
        12 => vec![blocks("Q4_K", Q4_K)],
        13 => vec![blocks("Q5_K", Q5_K)],
        14 => vec![blocks("Q6_K", Q6_K)],
        15 => vec![blocks("Q8_K", Q8_K)],
        16 => vec![blocks("IQ2_XXS", IQ2_XXS)],
        17 => vec![blocks("IQ2_XS", IQ2_XS)],
        18 => vec![blocks("IQ3_XXS", IQ3_XXS)],
        19 => vec![blocks("IQ1_S", IQ1_S)],
        20 => vec![blocks("IQ4_NL", IQ4_NL)],
        21 => vec![blocks("IQ3_S", IQ3_S)],
        22 => vec![blocks("IQ2_S", IQ2_S)],
        23 => vec![blocks("IQ4_XS", IQ4_XS)],
        29 => vec![blocks("IQ1_M", IQ1_M)],
        34 => vec![blocks("TQ1_0", TQ1_0)],
        35 => vec![blocks("TQ2_0", TQ2_0)],
        39 => vec![blocks("MXFP4", MXFP4)],
        41 => vec![blocks("Q1_0", Q1_0)],
        142 => vec![blocks("PQ2_0", Q2_0_G128)],
        24 => vec![other("I8", "i8", (1, 1))],
        25 => vec![other("I16", "i16", (1, 2))],
        26 => vec![other("I32", "i32", (1, 4))],
        27 => vec![other("I64", "i64", (1, 8))],
        28 => vec![other("F64", "f64", (1, 8))],
        143 => vec![other("PTQ1_0", "ptq1_0", (128, 28))],
        // The numbers below mean different things by whose program wrote the file.
        9 => vec![
            blocks("Q8_1", Q8_1).from("llama.cpp"),
            other("Q8_1", "q8_1 with f32 scales", (32, 40)).from("llama.cpp of 2023"),
        ],
        // After the codes bitnet.cpp writes the tensor's scale as f32 and pads it to 32 bytes.
        36 => vec![
            Meaning { tail: 32, ..blocks("I2_S", I2_S).from("bitnet.cpp") },
            other("IQ4_NL_4_4", "iq4_nl_4_4", (32, 18)).from("llama.cpp of early 2025"),
        ],
        40 => vec![
            blocks("NVFP4", NVFP4).from("llama.cpp"),
            blocks("Q1_0", Q1_0_G32).from("PrismML's fork of early 2026"),
        ],
        42 => vec![
            blocks("Q2_0", Q2_0).from("llama.cpp"),
            blocks("Q2_0", Q2_0_G128).from("PrismML's fork before September 2026"),
        ],
        _ => Vec::new(),
    }
}

fn blocks(name: &'static str, format: BlockFormat) -> Meaning {
    let layout = format.layout();
    let encoding = Encoding::Blocks(format);
    Meaning { name, encoding, weights: layout.weights, bytes: layout.bytes, tail: 0, origin: "" }
}

fn float(name: &'static str, format: FloatFormat) -> Meaning {
    let encoding = Encoding::Float(format);
    Meaning { name, encoding, weights: 1, bytes: format.bytes(), tail: 0, origin: "" }
}

fn other(name: &'static str, label: &'static str, (weights, bytes): (usize, usize)) -> Meaning {
    Meaning { name, encoding: Encoding::Other { label }, weights, bytes, tail: 0, origin: "" }
}

/// Where a number that lowbit does not know is likely from, and what to do.
pub(super) fn unknown_origin(number: u32) -> &'static str {
    match number {
        4 | 5 => "llama.cpp removed it in 2023: convert the original model again",
        31..=33 | 37 | 38 => {
            "llama.cpp wrote its rows interleaved until 2025 and has removed it: take the Q4_0 or IQ4_NL file"
        }
        97..=141 | 144..=399 => {
            "ik_llama.cpp and other forks number their own types there: take a file made for llama.cpp"
        }
        _ => "the file is damaged or newer than this program",
    }
}
