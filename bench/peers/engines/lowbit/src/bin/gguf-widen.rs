//! Writes a GGUF file again with every tensor as the f32 numbers it stands for, so that engines which round activations
//! before a product of quantized weights have no product of that kind: what is left between two engines is not rounding.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use lowbit_format::FloatFormat;
use lowbit_io::{
    Access, Encoding,
    gguf::{Gguf, GgufWriter, OwnedValue},
};
use std::path::PathBuf;

/// Write a GGUF file with all tensors widened to f32.
#[derive(Parser)]
struct Arguments {
    /// The file to read.
    input: PathBuf,
    /// The file to write, four bytes a weight.
    output: PathBuf,
}

fn main() -> Result<()> {
    let Arguments { input, output } = Arguments::parse();
    let file = Gguf::open(&input, Access::Map)?;
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata().iter() {
        // 0 is llama.cpp's number for f32 throughout.
        let value = if key == "general.file_type" { OwnedValue::U32(0) } else { value?.try_into()? };
        writer.metadata(key, value)?;
    }
    for info in file.tensors() {
        let tensor = file.tensor(&info.name)?;
        let shape = tensor.shape();
        let mut values = vec![0f32; shape.n * shape.k];
        for (n, row) in values.chunks_exact_mut(shape.k).enumerate() {
            tensor.decode_row(n, row);
        }
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        writer.tensor(&info.name, Encoding::Float(FloatFormat::F32), &info.dims, bytes)?;
    }
    writer.write(&output).with_context(|| format!("write {}", output.display()))
}
