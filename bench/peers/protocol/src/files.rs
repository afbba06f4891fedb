//! Raw little-endian files of token ids and logits.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Reads a file of u32.
pub fn read_ids(path: &Path) -> Result<Vec<u32>> {
    read(path, u32::from_le_bytes)
}

/// Reads a file of f32.
pub fn read_f32(path: &Path) -> Result<Vec<f32>> {
    read(path, f32::from_le_bytes)
}

/// Writes a file of u32.
pub fn write_ids(path: &Path, ids: &[u32]) -> Result<()> {
    write(path, ids, |id| id.to_le_bytes())
}

/// Writes a file of f32.
pub fn write_f32(path: &Path, values: &[f32]) -> Result<()> {
    write(path, values, |value| value.to_le_bytes())
}

fn read<T>(path: &Path, decode: impl Fn([u8; 4]) -> T) -> Result<Vec<T>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (words, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{}: {} bytes are not a whole number of words", path.display(), bytes.len());
    Ok(words.iter().map(|word| decode(*word)).collect())
}

fn write<T: Copy>(path: &Path, values: &[T], encode: impl Fn(T) -> [u8; 4]) -> Result<()> {
    let mut bytes = Vec::with_capacity(values.len() * 4);
    for &value in values {
        bytes.extend_from_slice(&encode(value));
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
