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

/// What a type number can mean: nothing known, one thing, or several to be told apart by the tensors' spans.
pub(super) fn meanings(number: u32) -> Vec<Meaning> {
    let blocks = |name, label: &str| {
        let format = BlockFormat::ALL.iter().copied().find(|f| f.label() == label)?;
        let layout = format.layout();
        Some(Meaning {
            name,
            encoding: Encoding::Blocks(format),
            weights: layout.weights,
            bytes: layout.bytes,
            tail: 0,
            origin: "",
        })
    };
    let float = |name, format: FloatFormat| Meaning {
        name,
        encoding: Encoding::Float(format),
        weights: 1,
        bytes: format.bytes(),
        tail: 0,
        origin: "",
    };
    let other = |name, label, weights, bytes, origin| Meaning {
        name,
        encoding: Encoding::Other { label },
        weights,
        bytes,
        tail: 0,
        origin,
    };
    let from = |meaning: Option<Meaning>, tail, origin| meaning.map(|m| Meaning { tail, origin, ..m });
    let one = |meaning: Option<Meaning>| meaning.into_iter().collect();
    match number {
        0 => vec![float("F32", FloatFormat::F32)],
        1 => vec![float("F16", FloatFormat::F16)],
        30 => vec![float("BF16", FloatFormat::Bf16)],
        2 => one(blocks("Q4_0", "q4_0")),
        3 => one(blocks("Q4_1", "q4_1")),
        6 => one(blocks("Q5_0", "q5_0")),
        7 => one(blocks("Q5_1", "q5_1")),
        8 => one(blocks("Q8_0", "q8_0")),
        10 => one(blocks("Q2_K", "q2_k")),
        11 => one(blocks("Q3_K", "q3_k")),
        12 => one(blocks("Q4_K", "q4_k")),
        13 => one(blocks("Q5_K", "q5_k")),
        14 => one(blocks("Q6_K", "q6_k")),
        16 => one(blocks("IQ2_XXS", "iq2_xxs")),
        17 => one(blocks("IQ2_XS", "iq2_xs")),
        18 => one(blocks("IQ3_XXS", "iq3_xxs")),
        19 => one(blocks("IQ1_S", "iq1_s")),
        20 => one(blocks("IQ4_NL", "iq4_nl")),
        21 => one(blocks("IQ3_S", "iq3_s")),
        22 => one(blocks("IQ2_S", "iq2_s")),
        23 => one(blocks("IQ4_XS", "iq4_xs")),
        29 => one(blocks("IQ1_M", "iq1_m")),
        34 => one(blocks("TQ1_0", "tq1_0")),
        35 => one(blocks("TQ2_0", "tq2_0")),
        39 => one(blocks("MXFP4", "mxfp4")),
        15 => vec![other("Q8_K", "q8_k", 256, 292, "")],
        24 => vec![other("I8", "i8", 1, 1, "")],
        25 => vec![other("I16", "i16", 1, 2, "")],
        26 => vec![other("I32", "i32", 1, 4, "")],
        27 => vec![other("I64", "i64", 1, 8, "")],
        28 => vec![other("F64", "f64", 1, 8, "")],
        // The numbers below mean different things by whose program wrote the file.
        9 => [
            from(blocks("Q8_1", "q8_1"), 0, "llama.cpp"),
            Some(other("Q8_1", "q8_1 with f32 scales", 32, 40, "llama.cpp before 2024")),
        ]
        .into_iter()
        .flatten()
        .collect(),
        36 => [
            from(blocks("I2_S", "i2_s"), 32, "bitnet.cpp"),
            Some(other("IQ4_NL_4_4", "iq4_nl_4_4", 32, 18, "llama.cpp of early 2025, rows interleaved")),
        ]
        .into_iter()
        .flatten()
        .collect(),
        40 => vec![
            other("NVFP4", "nvfp4", 64, 36, "llama.cpp"),
            other("Q1_0", "q1_0 in blocks of 32", 32, 6, "PrismML's fork of early 2026"),
        ],
        41 => one(from(blocks("Q1_0", "q1_0"), 0, "llama.cpp")),
        42 => [
            from(blocks("Q2_0", "q2_0"), 0, "llama.cpp, blocks of 64"),
            from(blocks("Q2_0", "q2_0_g128"), 0, "PrismML's fork, blocks of 128"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        142 => one(blocks("PQ2_0", "q2_0_g128")),
        143 => vec![other("PTQ1_0", "ptq1_0", 128, 28, "PrismML's fork")],
        _ => Vec::new(),
    }
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
