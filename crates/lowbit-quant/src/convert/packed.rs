//! To a Hugging Face folder whose linear layers are stored as integers: what the layouts of all libraries share.
//!
//! Names, texts and everything that is no linear layer are those of a folder of floats (`hf.rs`). A library's layout is one
//! file: which layers it holds, the tensors of one, and what `config.json` says of all. Layers are looked at once before
//! anything is written, and made again tensor by tensor when they are, so that no two are in memory.

use super::{
    Converted, ConvertedTensor, Inexact, PackedOptions,
    hf::{self, Folder, Part},
    integers::Integers,
};
use crate::QuantError;
use lowbit_format::{ActSpec, FloatFormat, NK, ZeroPoint};
use lowbit_io::{
    Checkpoint, Encoding, Payload,
    hf::{ElementType, FolderWriter},
};
use lowbit_model::Role;
use serde_json::Value;
use std::{io, path::Path, sync::Arc};

/// A library's layout.
pub(super) trait Layout {
    /// What it is called, for errors.
    fn name(&self) -> &'static str;
    /// Says why it has no place for a layer.
    fn check(&self, layer: &Integers) -> Result<(), String>;
    /// The tensors of a layer.
    fn tensors(&self, model: &Model, layer: &Layer) -> Vec<Stored>;
    /// `quantization_config`.
    fn config(&self, model: &Model) -> Value;
}

/// What a layout says of a model.
pub(super) struct Model {
    /// Layers of integers.
    pub(super) layers: Vec<Layer>,
    /// Modules of linear layers that stay floats.
    pub(super) floats: Vec<String>,
    /// Type of scales.
    pub(super) float: FloatFormat,
    /// What activations are rounded to.
    pub(super) activations: Option<ActSpec>,
}

/// What a layout says of a layer.
pub(super) struct Layer {
    /// Name without `.weight`.
    pub(super) module: String,
    /// Whether it is the output head.
    pub(super) head: bool,
    pub(super) shape: NK,
    pub(super) bits: u8,
    /// Weights that share a scale, `None` for a row.
    pub(super) size: Option<usize>,
    /// Groups of a row.
    pub(super) groups: usize,
    /// Whether all zero points are the middle.
    pub(super) symmetric: bool,
    /// Whether columns of a group are not neighbours.
    pub(super) scattered: bool,
}

/// A tensor of a layer.
pub(super) struct Stored {
    /// Ending of its name.
    pub(super) ending: &'static str,
    pub(super) element: ElementType,
    pub(super) dims: Vec<usize>,
    pub(super) bytes: Bytes,
}

/// Makes the bytes of a tensor.
pub(super) type Bytes = Box<dyn Fn(&Integers) -> Vec<u8> + Send + Sync>;

impl Layer {
    fn of(part: &Part, layer: &Integers) -> Self {
        Self {
            module: module(part).to_owned(),
            head: part.role == Some(Role::Head),
            shape: layer.shape(),
            bits: layer.bits.into(),
            size: layer.size,
            groups: layer.groups(),
            symmetric: layer.zeros == ZeroPoint::Symmetric,
            scattered: layer.scattered(),
        }
    }
}

/// Writes the folder `out`.
pub(super) fn write(
    checkpoint: &Checkpoint,
    source: &Path,
    out: &Path,
    options: PackedOptions,
    layout: &dyn Layout,
) -> Result<Converted, QuantError> {
    let PackedOptions { float, inexact } = options;
    let mut writer = FolderWriter::new();
    let Folder { mut config, parts } = hf::folder(checkpoint, source, &mut writer, float)?;
    let shared = Arc::new(checkpoint.clone());
    let activations = checkpoint.activations();
    let mut model = Model { layers: Vec::new(), floats: Vec::new(), float, activations };
    let (mut tensors, mut packed) = (Vec::new(), Vec::new());
    for part in parts {
        if !is_linear(&part) {
            tensors.push(part.floats(&shared, float, &mut writer)?);
            continue;
        }
        let why = match held(checkpoint, &part, float, layout)? {
            Ok(layer) => {
                let from = checkpoint.format_label(&part.info);
                let (name, to) = (part.name.clone(), layer.label(float));
                tensors.push(ConvertedTensor { name, from, to, inexact: None });
                model.layers.push(Layer::of(&part, &layer));
                packed.push(part);
                continue;
            }
            Err(why) => why,
        };
        model.floats.push(module(&part).to_owned());
        if matches!(part.info.encoding, Encoding::Float(_)) {
            tensors.push(part.floats(&shared, float, &mut writer)?);
            continue;
        }
        let Inexact::Decode(format) = inexact else {
            return Err(QuantError::NotHeld {
                format: checkpoint.format_label(&part.info),
                tensor: part.info.name,
                why: format!("{} has no place for it: {why}", layout.name()),
                next: "quantize the model with --format int4-sym-g128, or decode such layers with --lossy f32",
            });
        };
        let decoded = part.floats(&shared, format, &mut writer)?;
        tensors.push(ConvertedTensor { inexact: Some(why), ..decoded });
    }
    if model.layers.is_empty() {
        return Err(QuantError::Unsupported {
            path: source.display().to_string(),
            why: "it has no layer of integers; quantize it first, or write its floats with --to hf",
        });
    }
    for (part, layer) in packed.into_iter().zip(&model.layers) {
        store(&shared, part, layout.tensors(&model, layer), &mut writer)?;
    }
    config["quantization_config"] = layout.config(&model);
    writer.text("config.json", hf::pretty(&config));
    Ok(Converted { tensors, bytes: writer.write(out)? })
}

/// Whether libraries take it for a linear layer: matrices that multiply, but for the routers of experts.
fn is_linear(part: &Part) -> bool {
    part.dims.len() > 1 && !matches!(part.role, None | Some(Role::Embed | Role::Router))
}

fn module(part: &Part) -> &str {
    part.name.strip_suffix(".weight").unwrap_or(&part.name)
}

/// The layer as integers, or why the layout has no place for it.
fn held(
    checkpoint: &Checkpoint,
    part: &Part,
    float: FloatFormat,
    layout: &dyn Layout,
) -> Result<Result<Integers, String>, QuantError> {
    if part.dims.len() != 2 {
        return Ok(Err(format!("it has {} dimensions", part.dims.len())));
    }
    let layer = Integers::of(checkpoint, part)?;
    Ok(layer.and_then(|layer| {
        layer.check_scales(float)?;
        layout.check(&layer)?;
        Ok(layer)
    }))
}

/// Puts the tensors of a layer into `writer`.
fn store(
    checkpoint: &Arc<Checkpoint>,
    part: Part,
    stored: Vec<Stored>,
    writer: &mut FolderWriter,
) -> Result<(), QuantError> {
    let part = Arc::new(part);
    for Stored { ending, element, dims, bytes } in stored {
        let (checkpoint, again) = (Arc::clone(checkpoint), Arc::clone(&part));
        let payload = Payload::made(move |out| {
            let layer = Integers::of(&checkpoint, &again).map_err(io::Error::other)?;
            out.write_all(&bytes(&layer.map_err(io::Error::other)?))
        });
        writer.tensor(&format!("{}{ending}", module(&part)), element, &dims, payload)?;
    }
    Ok(())
}

/// The transpose of a matrix of `rows` by `columns` elements of `width` bytes.
pub(super) fn transposed(bytes: &[u8], width: usize, rows: usize, columns: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for c in 0..columns {
        for r in 0..rows {
            out.extend_from_slice(&bytes[(r * columns + c) * width..][..width]);
        }
    }
    out
}

/// `values` by how many layers have them, the most common first; of equals the one that comes first.
pub(super) fn common<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(other, _)| *other == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}
