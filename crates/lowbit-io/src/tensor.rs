//! What a checkpoint says of a tensor, whatever the file format.

use lowbit_format::{BlockFormat, FloatFormat, FormatError, NK, QuantTensor, Storage};

/// What the bytes of a stored tensor mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Unquantized elements.
    Float(FloatFormat),
    /// Blocks as in GGUF.
    Blocks(BlockFormat),
    /// Codes with scales beside them, stored apart; the checkpoint knows which format.
    Grouped,
    /// Elements that are no weights by themselves (`i32`, `u8`, `f8_e4m3`, ...): listed, and readable raw.
    Other {
        /// Label of the type.
        label: &'static str,
    },
}

impl Encoding {
    /// Label in files, reports and commands.
    pub fn label(self) -> &'static str {
        match self {
            Self::Float(f) => f.label(),
            Self::Blocks(f) => f.label(),
            Self::Grouped => "grouped",
            Self::Other { label } => label,
        }
    }
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the file.
    pub name: String,
    /// What the bytes mean.
    pub encoding: Encoding,
    /// Dimensions, outermost first: a weight matrix is `[N, K]`, experts are `[experts, N, K]`. (GGUF files list
    /// them the other way round.)
    pub dims: Vec<usize>,
    /// Which of the checkpoint's files holds it.
    pub file: usize,
    /// First byte in that file.
    pub offset: u64,
    /// Bytes stored, a scale of the whole tensor included.
    pub bytes: usize,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        // Readers have checked the product.
        self.dims.iter().product()
    }

    /// The shape as rows of the last dimension: `[experts, N, K]` becomes `[experts · N, K]`, a vector `[1, K]`.
    pub fn matrix(&self) -> NK {
        let k = self.dims.last().copied().unwrap_or(1);
        let n = self.dims.iter().rev().skip(1).product();
        NK { n, k }
    }
}

/// A tensor's bytes with no meaning attached.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// Label of the element type: `u8`, `i32`, `bf16`, `q4_k`.
    pub dtype: &'static str,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// The stored bytes.
    pub bytes: Storage,
}

/// Decodes a whole small tensor to f32.
pub(crate) fn to_vector(tensor: &QuantTensor) -> Vec<f32> {
    let NK { n, k } = tensor.shape();
    let mut out = vec![0.0; n * k];
    if k > 0 {
        for (row, out) in out.chunks_exact_mut(k).enumerate() {
            tensor.decode_row(row, out);
        }
    }
    out
}

/// A [`QuantTensor`] of an encoding; `None` for those that are not one run of weights.
pub(crate) fn quant_tensor(
    encoding: Encoding,
    shape: NK,
    bytes: Storage,
    tensor_scale: f32,
) -> Option<Result<QuantTensor, FormatError>> {
    match encoding {
        Encoding::Float(format) => Some(QuantTensor::from_floats(format, shape, bytes)),
        Encoding::Blocks(format) => Some(QuantTensor::from_scaled_blocks(format, shape, bytes, tensor_scale)),
        Encoding::Grouped | Encoding::Other { .. } => None,
    }
}
