//! From a checkpoint to a container, tensor by tensor.

use crate::{
    Formats, MethodEntry, QuantError, Recipe, Report, TensorReport, matrix::quantize_matrix, provenance,
};
use lowbit_engine::{EngineError, model_spec, naming};
use lowbit_format::{GroupShape, GroupedSpec, NK, WeightSpec};
use lowbit_io::{
    Access, Checkpoint, Config, Encoding, IoError, Payload, Spool, TensorInfo,
    container::{ContainerText, ContainerWriter},
};
use lowbit_model::{ARCHITECTURES, Names, Role, WeightCoding};
use serde_json::Value;
use std::path::Path;

/// What is to be done.
pub struct Request<'a> {
    /// The checkpoint: a file or a folder.
    pub source: &'a Path,
    /// The method.
    pub method: &'static MethodEntry,
    /// Its settings, an object; those that are absent have their defaults.
    pub settings: Value,
    /// Which format every matrix gets.
    pub formats: Formats,
    /// Workers, at least one. The file does not depend on it.
    pub threads: usize,
}

/// How far it is, in weights.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Weights that were rounded.
    pub done: u64,
    /// Weights that will be.
    pub of: u64,
}

/// Quantizes a checkpoint into the container `out`, which appears whole or not at all. Weights are read from the mapped
/// source and wait on the disk beside `out`, so that memory holds one tensor's codes and a batch of its rows.
///
/// # Errors
/// What is wrong with the source, the settings or a format, naming the tensor; found before the work starts but for
/// weights that are not finite.
pub fn quantize(
    request: &Request<'_>,
    out: &Path,
    progress: &dyn Fn(Progress),
) -> Result<Report, QuantError> {
    let recipe = (request.method.recipe)(&request.settings)?;
    let checkpoint = Checkpoint::open(request.source, Access::Map)?;
    let names = names(&checkpoint, request.source)?;
    let plan = plan(&checkpoint, names, &recipe, &request.formats)?;
    let source_sha256 = provenance::sha256(&checkpoint)?;
    let settings = (request.method.settings)(&request.settings)?;
    let mut writer = writer(&checkpoint, request.source)?;
    let origin = provenance::text(recipe.card.name, &settings, &request.formats, &source_sha256);
    writer.note("provenance", &origin);

    let spool = Spool::beside(out)?;
    let of = plan.iter().filter(|p| p.to.is_some()).map(|p| p.info.elements() as u64).sum();
    let mut done = Sums::default();
    let mut tensors = Vec::new();
    progress(Progress { done: 0, of });
    for Planned { info, to } in &plan {
        let tensor = checkpoint.tensor(&info.name)?;
        let Some((role, spec)) = to else {
            writer.tensor(&info.name, &info.dims, &tensor)?;
            continue;
        };
        let wrong = |error| QuantError::Tensor { tensor: info.name.clone(), error };
        let quantized = quantize_matrix(&recipe, &tensor, spec, request.threads).map_err(wrong)?;
        let shape = tensor.shape();
        let bytes: usize = quantized.parts.iter().map(Vec::len).sum();
        let kept: Result<Vec<Payload>, IoError> = quantized.parts.iter().map(|p| spool.keep(p)).collect();
        let mut parts = kept?.into_iter();
        writer.payloads(&info.name, spec, &info.dims, |_| {
            parts.next().expect("a run of bytes for every part")
        })?;
        let sums = Sums {
            weights: shape.weights() as u64,
            bytes: bytes as u64,
            error: quantized.squared_error,
            squared: quantized.squared,
        };
        done.add(sums);
        tensors.push(TensorReport {
            name: info.name.clone(),
            role: role.name(),
            from: checkpoint.format_label(info),
            format: spec.label(),
            shape: [shape.n, shape.k],
            bits_per_weight: sums.bits_per_weight(),
            nmse: sums.nmse(),
        });
        progress(Progress { done: done.weights, of });
    }
    writer.write(out)?;
    checkpoint.check_unchanged()?;
    let weights: u64 = plan.iter().map(|p| p.info.elements() as u64).sum();
    let bytes = writer.bytes();
    Ok(Report {
        method: recipe.card.name,
        source_sha256,
        tensors,
        quantized_weights: done.weights,
        quantized_bits_per_weight: done.bits_per_weight(),
        nmse: done.nmse(),
        weights,
        bits_per_weight: 8.0 * bytes as f64 / weights.max(1) as f64,
        bytes,
    })
}

/// One tensor of the source, and what becomes of it: `None` where it stays as it is stored.
struct Planned<'a> {
    info: &'a TensorInfo,
    to: Option<(Role, WeightSpec)>,
}

/// Decides what every tensor becomes, and refuses what cannot be.
fn plan<'a>(
    checkpoint: &'a Checkpoint,
    names: &Names,
    recipe: &Recipe,
    formats: &Formats,
) -> Result<Vec<Planned<'a>>, QuantError> {
    let mut plan = Vec::new();
    for info in checkpoint.tensors() {
        // Rotation frequencies and the like are no matrices, whatever they are called.
        let role = names.role(&info.name).filter(|_| info.dims.len() > 1);
        let to = role.and_then(|role| Some((role, formats.of(&info.name, role)?.clone())));
        if let Some((_, spec)) = &to {
            check(info, spec, recipe)?;
        }
        plan.push(Planned { info, to });
    }
    let matrices = || checkpoint.tensors().iter().filter(|info| names.role(&info.name).is_some());
    match formats.tensors.iter().find(|(pattern, _)| !matrices().any(|info| pattern.matches(&info.name))) {
        Some((pattern, _)) => Err(QuantError::UnusedPattern { pattern: pattern.0.clone() }),
        None => Ok(plan),
    }
}

fn check(info: &TensorInfo, spec: &WeightSpec, recipe: &Recipe) -> Result<(), QuantError> {
    let refused = |why| QuantError::Refused {
        tensor: info.name.clone(),
        method: recipe.card.name,
        format: spec.label(),
        why,
    };
    if matches!(info.encoding, Encoding::Other { .. }) {
        return Err(refused("its elements are no weights by themselves"));
    }
    match spec {
        WeightSpec::Float(_) => Ok(()),
        WeightSpec::Block(_) => {
            Err(refused("formats of GGUF have no encoder; take an int or ternary format"))
        }
        WeightSpec::Grouped(grouped) => {
            check_groups(info, grouped)?;
            recipe.accepts(grouped).map_err(refused)
        }
    }
}

fn check_groups(info: &TensorInfo, spec: &GroupedSpec) -> Result<(), QuantError> {
    let shape: NK = info.matrix();
    for level in spec.levels() {
        if let GroupShape::Group(size) = level.shape
            && !shape.k.is_multiple_of(size as usize)
        {
            let tensor = info.name.clone();
            return Err(QuantError::RowNotGroups { tensor, shape, group: size as usize });
        }
    }
    Ok(())
}

/// The names of the source's tensors. Sources that a container cannot hold are refused.
fn names(checkpoint: &Checkpoint, path: &Path) -> Result<&'static Names, QuantError> {
    let unsupported = |why| QuantError::Unsupported { path: path.display().to_string(), why };
    if matches!(checkpoint, Checkpoint::Llama2c(_)) {
        return Err(unsupported(
            "a container has no place for a llama2.c vocabulary; convert the model to GGUF first",
        ));
    }
    for info in checkpoint.tensors() {
        if !checkpoint.input_ops(&info.name)?.is_empty() {
            return Err(unsupported(
                "its layers permute, scale or rotate their inputs; start from the model that is not quantized",
            ));
        }
    }
    let wrong = |source| EngineError::Model { path: path.to_owned(), source };
    let spec = model_spec(checkpoint).map_err(wrong)?;
    if spec.coding != WeightCoding::Plain {
        return Err(unsupported("its weights are ternary by training and cannot be rounded again"));
    }
    let architecture = ARCHITECTURES.iter().find(|a| a.name == spec.architecture);
    let architecture = architecture.expect("specs are made by the architectures of the list");
    Ok(architecture.names(naming(checkpoint)))
}

/// A container with the hyper-parameters, the vocabulary and the chat template of the source.
fn writer(checkpoint: &Checkpoint, path: &Path) -> Result<ContainerWriter, QuantError> {
    let mut writer = match checkpoint.config() {
        Config::Gguf(metadata) => ContainerWriter::with_gguf(metadata)?,
        Config::Json(json) => ContainerWriter::new(&json.to_string())?,
        Config::Llama2c(_) => unreachable!("llama2.c checkpoints were refused"),
    };
    for text in ContainerText::ALL {
        let content = match checkpoint {
            Checkpoint::Container(container) => container.text(text).map(str::to_owned),
            Checkpoint::HuggingFace(folder) => {
                folder.read_file(text.file())?.map(|bytes| utf8(bytes, text, path)).transpose()?
            }
            _ => None,
        };
        if let Some(content) = content {
            writer.text(text, &content);
        }
    }
    Ok(writer)
}

fn utf8(bytes: Vec<u8>, text: ContainerText, path: &Path) -> Result<String, QuantError> {
    let wrong = |_| IoError::NotUtf8 { what: text.file().to_owned() }.in_file(path);
    Ok(String::from_utf8(bytes).map_err(wrong)?)
}

/// Sums over weights.
#[derive(Clone, Copy, Default)]
struct Sums {
    weights: u64,
    bytes: u64,
    error: f64,
    squared: f64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.weights += other.weights;
        self.bytes += other.bytes;
        self.error += other.error;
        self.squared += other.squared;
    }

    fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.weights.max(1) as f64
    }

    fn nmse(&self) -> f64 {
        if self.squared > 0.0 { self.error / self.squared } else { 0.0 }
    }
}
