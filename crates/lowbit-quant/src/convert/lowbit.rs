//! To a container: every tensor as it is stored, with its operations on inputs.

use super::{Converted, ConvertedTensor};
use crate::{QuantError, driver};
use lowbit_io::Checkpoint;
use std::path::Path;

pub(super) fn write(checkpoint: &Checkpoint, source: &Path, out: &Path) -> Result<Converted, QuantError> {
    let mut writer = driver::writer(checkpoint, source)?;
    if let Some(activations) = checkpoint.activations() {
        writer.activations(activations);
    }
    let mut tensors = Vec::new();
    for info in checkpoint.tensors() {
        let tensor = checkpoint.tensor(&info.name)?;
        writer.tensor(&info.name, &info.dims, &tensor)?;
        writer.input(&info.name, &checkpoint.input_ops(&info.name)?)?;
        let label = checkpoint.format_label(info);
        tensors.push(ConvertedTensor {
            name: info.name.clone(),
            from: label.clone(),
            to: label,
            inexact: None,
        });
    }
    writer.write(out)?;
    Ok(Converted { tensors, bytes: writer.bytes() })
}
