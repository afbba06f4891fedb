//! From one kind of checkpoint to another, with the weights as they are.
//!
//! `lowbit` is the general case: a container holds everything that lowbit reads. The others are for other programs:
//! `gguf`, and folders of floats (`hf`) or of integers in the layout of a library (`gptq`, `compressed_tensors`). Where one
//! has no place for exactly what a tensor means, the tensor is refused, or decoded to floats where that was asked for.

mod compressed_tensors;
mod exact;
mod gguf;
mod gptq;
mod hf;
mod integers;
mod lowbit;
mod packed;

use crate::QuantError;
use lowbit_format::FloatFormat;
use lowbit_io::{Access, Checkpoint};
use serde::Serialize;
use std::path::Path;

/// What kind of checkpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A GGUF file.
    Gguf(Inexact),
    /// A Hugging Face folder of floats of this type.
    HuggingFace(FloatFormat),
    /// A Hugging Face folder of integers as GPTQModel stores them.
    Gptq(PackedOptions),
    /// A Hugging Face folder of integers as compressed-tensors stores them.
    CompressedTensors(PackedOptions),
    /// lowbit's own container.
    Lowbit,
}

/// How a folder of integers is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedOptions {
    /// The type of scales, which it must hold exactly, and of all tensors that are no linear layers.
    pub float: FloatFormat,
    /// What becomes of layers for which the library has no place.
    pub inexact: Inexact,
}

/// What becomes of tensors for which the target has no type that means exactly the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inexact {
    /// They are refused.
    Refuse,
    /// They are decoded to floats.
    Decode(FloatFormat),
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Converted {
    /// Every tensor in the order of the source.
    pub tensors: Vec<ConvertedTensor>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// One tensor of it.
#[derive(Clone, Debug, Serialize)]
pub struct ConvertedTensor {
    /// Name in the file.
    pub name: String,
    /// Label of the format it had.
    pub from: String,
    /// Label of the format it has.
    pub to: String,
    /// Why it was decoded, `None` where it means exactly what it did.
    pub inexact: Option<String>,
}

/// Writes the checkpoint `source` as another kind to `out`, which appears whole or not at all.
///
/// # Errors
/// What is wrong with the source; which tensor the target has no place for, and why.
pub fn convert(source: &Path, out: &Path, target: Target) -> Result<Converted, QuantError> {
    let checkpoint = Checkpoint::open(source, Access::Map)?;
    let converted = match target {
        Target::Gguf(inexact) => gguf::write(&checkpoint, source, out, inexact),
        Target::HuggingFace(format) => hf::write(&checkpoint, source, out, format),
        Target::Gptq(options) => gptq::write(&checkpoint, source, out, options),
        Target::CompressedTensors(options) => compressed_tensors::write(&checkpoint, source, out, options),
        Target::Lowbit => lowbit::write(&checkpoint, source, out),
    }?;
    checkpoint.check_unchanged()?;
    Ok(converted)
}
