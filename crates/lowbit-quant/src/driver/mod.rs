//! From a checkpoint to a container, block by block.

mod allocate;
mod block;
mod budget;
mod estimate;
mod partial;
mod plan;
mod probe;
mod rows;
mod streams;
mod survey;
mod work;

pub use estimate::{Cost, Estimate, estimate};
pub use partial::unfinished_samples;
#[cfg(test)]
pub(crate) use plan::{model, plan};
#[cfg(test)]
pub(crate) use survey::losses;
pub(crate) use work::Work;

use crate::{
    Calibration, Formats, MethodEntry, QuantError, Recipe, Report, TensorReport,
    methods::Propagate,
    provenance,
    report::Sums,
    solve::{Layer, Rows, quantize_matrix},
    stats::Inputs,
    transform::{FindScale, Place},
};
use block::{Made, Run};
use budget::Budget;
use lowbit_format::FloatFormat;
use lowbit_io::{
    Access, Checkpoint, Config, IoError, Payload, Spool,
    container::{ContainerText, ContainerWriter},
};
use lowbit_kernels::Ctx;
use lowbit_model::{ModelSpec, Names};
use partial::{Done, Partial};
use plan::Plan;
use serde_json::Value;
use std::{ops::ControlFlow, path::Path};
use streams::Streams;

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
    /// Bits of a weight, in the mean over the tensors of blocks: those that would have the default format get as many each as
    /// serves the whole best. `None` gives all of them that format.
    pub target: Option<f64>,
    /// What the model reads while statistics are collected, for methods that need them.
    pub calibration: Option<&'a Calibration>,
    /// Memory to stay under, in bytes, the mapped source and what the file system caches apart; without it everything
    /// is kept in memory.
    pub memory: Option<u64>,
    /// What becomes of an unfinished run that was to write the same file.
    pub resume: Resume,
    /// Workers, at least one. The file does not depend on it.
    pub threads: usize,
}

/// What becomes of an unfinished run that was to write the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It is an error.
    Refuse,
    /// It goes on, where it is the same run.
    Continue,
    /// It is forgotten.
    Discard,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is done, from 0 to 1.
    pub done: f64,
    /// The block that is worked on, from 1; 0 before and after.
    pub block: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// What is being done.
    pub step: &'static str,
}

/// Quantizes a checkpoint into the container `out`, which appears whole or not at all. Weights are read from the mapped
/// source; blocks that are done wait on the disk beside `out`, in `OUT.partial`, which is what [`Resume`] takes up.
///
/// `progress` says whether to go on; where it does not, blocks that are done stay for [`Resume::Continue`].
///
/// # Errors
/// What is wrong with the source, the settings or a format, naming the tensor; found before the work starts but for
/// weights and inputs that are not finite.
pub fn quantize(
    ctx: &Ctx,
    request: &Request<'_>,
    out: &Path,
    progress: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Result<Report, QuantError> {
    let recipe = (request.method.recipe)(&request.settings)?;
    let checkpoint = Checkpoint::open(request.source, Access::Map)?;
    let (model, names) = plan::model(&checkpoint, request.source)?;
    let plan = plan::plan(&checkpoint, names, &model, &recipe, &request.formats)?;
    survey::check_target(request, &recipe)?;
    let needs = recipe.needs();
    let wanted = needs.inputs != Inputs::None || request.target.is_some();
    let calibration = request.calibration.filter(|_| wanted);
    if needs.inputs != Inputs::None && calibration.is_none() {
        return Err(QuantError::NoCalibration { method: recipe.card.name });
    }
    if let Some(calibration) = calibration {
        calibration.check(&model)?;
    }
    let tokens = calibration.map_or(0, Calibration::tokens);
    let longest = calibration.map_or(0, rows::longest);
    let way = Budget::new(&model, &plan, &recipe, (tokens, longest)).fit(request.memory, &recipe)?;

    let source_sha256 = checkpoint.sha256()?;
    let settings = (request.method.settings)(&request.settings)?;
    let mut origin =
        provenance::text(recipe.card.name, &settings, &request.formats, calibration, &source_sha256);
    if let Some(target) = request.target {
        origin["target_bits_per_weight"] = target.into();
    }
    let partial = Partial::open(out, &origin.to_string(), request.resume)?;
    let job = Job {
        ctx,
        request,
        recipe: &recipe,
        checkpoint: &checkpoint,
        model: (&model, names),
        calibration,
        passes: way.passes,
        keep: if way.in_file { streams::Keep::InFile(partial.folder()) } else { streams::Keep::InMemory },
        partial: &partial,
        progress,
    };
    let made = job.formats(&plan).and_then(|formats| {
        let plan = plan::plan(&checkpoint, names, &model, &recipe, &formats)?;
        let scale = job.scale(&plan)?;
        let rows = job.rows(&plan)?;
        let finished = job.blocks(&plan, scale, &rows)?;
        job.told(1.0, 0, "writing")?;
        if let (Some(scale), true) = (scale, recipe.scales.len() > 1) {
            origin["scale"] = scale.label().into();
        }
        let origin = origin.to_string();
        assemble(&checkpoint, request, (&recipe, &plan), &finished, (&origin, source_sha256), out)
    });
    match made {
        Ok(report) => partial.remove().map(|()| report),
        Err(error) => {
            partial.forget_if_empty();
            Err(error)
        }
    }
}

/// A run: what it works on and with.
struct Job<'a> {
    ctx: &'a Ctx,
    request: &'a Request<'a>,
    recipe: &'a Recipe,
    checkpoint: &'a Checkpoint,
    model: (&'a ModelSpec, &'a Names),
    calibration: Option<&'a Calibration>,
    /// Places whose inputs are collected in one pass, pass by pass.
    passes: &'a [&'a [Place]],
    keep: streams::Keep<'a>,
    partial: &'a Partial,
    progress: &'a dyn Fn(Progress) -> ControlFlow<()>,
}

impl Job<'_> {
    fn told(&self, done: f64, block: usize, step: &'static str) -> Result<(), QuantError> {
        let blocks = self.model.0.blocks.len();
        match (self.progress)(Progress { done, block, blocks, step }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(QuantError::Interrupted),
        }
    }

    /// The residual streams before the first block, where there is a calibration.
    fn streams(&self) -> Result<Option<Streams>, QuantError> {
        let embed = |calibration: &Calibration| {
            Streams::embed(self.checkpoint, self.model, calibration.windows(), self.keep)
        };
        self.calibration.map(embed).transpose()
    }

    /// All blocks, those that were finished before among them.
    fn blocks(
        &self,
        plan: &Plan<'_>,
        scale: Option<&dyn FindScale>,
        rows: &Rows,
    ) -> Result<Vec<Done>, QuantError> {
        let (recipe, blocks) = (self.recipe, self.model.0.blocks.len());
        let mut streams = if recipe.needs().inputs == Inputs::None { None } else { self.streams()? };
        let mut finished = Vec::with_capacity(blocks);
        for index in 0..blocks {
            let step = |done: f64, step| self.told((index as f64 + done) / blocks as f64, index + 1, step);
            let (threads, passes) = (self.request.threads, self.passes);
            let tokens = self.calibration.map_or(0, Calibration::tokens);
            let run = Run { ctx: self.ctx, recipe, scale, rows, threads, tokens, passes, step: &step };
            step(0.0, "reading")?;
            let mut work = Work::new(self.checkpoint, self.model, plan, index);
            let done = match self.partial.done(index)? {
                Some(done) => {
                    if let Some(streams) = &mut streams
                        && index + 1 < blocks
                    {
                        match (recipe.propagate, recipe.rotate) {
                            (Propagate::Quantized, _) => take_up(&mut work, &done)?,
                            (Propagate::Source, Some(rotate)) => rotate.turn(&mut work)?,
                            (Propagate::Source, None) => {}
                        }
                        block::advance(&run, &work, streams, 0.0)?;
                    }
                    done
                }
                None => {
                    let made = block::block(&run, &mut work, streams.as_mut())?;
                    keep_block(self.partial, index, self.checkpoint, &work, plan, made)?
                }
            };
            finished.push(done);
        }
        Ok(finished)
    }
}

/// Puts a finished block's tensors in the place of the source's.
fn take_up(work: &mut Work<'_>, done: &Done) -> Result<(), QuantError> {
    for info in done.tensors.tensors() {
        if info.dims.len() > 1 {
            work.set(&info.name, done.tensors.tensor(&info.name)?);
            work.set_input(&info.name, done.tensors.input_ops(&info.name)?);
        } else {
            work.set_vector(&info.name, done.tensors.vector(&info.name)?);
        }
    }
    Ok(())
}

/// Writes what was made of a block: its rounded matrices, and vectors that were changed.
fn keep_block(
    partial: &Partial,
    index: usize,
    checkpoint: &Checkpoint,
    work: &Work<'_>,
    plan: &Plan<'_>,
    made: Vec<Made>,
) -> Result<Done, QuantError> {
    let mut writer = ContainerWriter::new("{}")?;
    let mut reports = Vec::with_capacity(made.len());
    for made in made {
        let info = plan.get(&made.name).expect("only planned tensors are made").info;
        reports.push(report(checkpoint, &made));
        let mut parts = made.quantized.parts.into_iter();
        writer.payloads(&made.name, &made.spec, &info.dims, |_| {
            parts.next().expect("a run of bytes for every part").into()
        })?;
        writer.input(&made.name, &made.input)?;
    }
    for (name, vector) in work.vectors() {
        let bytes = FloatFormat::F32.encode(vector);
        let spec = lowbit_format::WeightSpec::Float(FloatFormat::F32);
        writer.payloads(name, &spec, &[vector.len()], |_| Payload::from(bytes.clone()))?;
    }
    partial.keep(index, &writer, &reports)
}

fn report(checkpoint: &Checkpoint, made: &Made) -> TensorReport {
    let info = checkpoint.info(&made.name).expect("only tensors of the source are made");
    let sums = Sums::of(made.shape, &made.quantized);
    TensorReport {
        name: made.name.clone(),
        role: made.role.name().to_owned(),
        from: checkpoint.format_label(info),
        format: made.spec.label(),
        shape: [made.shape.n, made.shape.k],
        bits_per_weight: sums.bits_per_weight(),
        nmse: sums.nmse(),
        calibration_tokens: made.tokens,
        sums,
    }
}

/// Writes the file: blocks as they were kept, what is outside of them rounded now, everything else as it is stored.
fn assemble(
    checkpoint: &Checkpoint,
    request: &Request<'_>,
    (recipe, plan): (&Recipe, &Plan<'_>),
    finished: &[Done],
    (origin, source_sha256): (&str, String),
    out: &Path,
) -> Result<Report, QuantError> {
    let mut writer = writer(checkpoint, request.source)?;
    writer.note("provenance", origin);
    if let Some(activations) = recipe.activations {
        writer.activations(activations);
    }
    let spool = Spool::beside(out)?;
    let mut done = Sums::default();
    let mut tensors = Vec::new();
    for planned in &plan.tensors {
        let info = planned.info;
        let name = &info.name;
        let kept = finished.iter().find(|done| done.tensors.info(name).is_some());
        if let Some(kept) = kept {
            writer.tensor(name, &info.dims, &kept.tensors.tensor(name)?)?;
            writer.input(name, &kept.tensors.input_ops(name)?)?;
            if let Some(report) = kept.reports.iter().find(|report| report.name == *name) {
                done.add(report.sums);
                tensors.push(report.clone());
            }
            continue;
        }
        let tensor = checkpoint.tensor(name)?;
        let Some((role, spec)) = &planned.to else {
            writer.tensor(name, &info.dims, &tensor)?;
            continue;
        };
        // Nothing is known of what these read.
        let layer = Layer { weight: &tensor, stats: None, threads: request.threads };
        let wrong = |error| QuantError::Solve { tensor: name.clone(), error };
        let parts = (recipe.fit(*role), recipe.solve.without_inputs());
        let quantized = quantize_matrix(parts, &layer, spec).map_err(wrong)?;
        let made = Made {
            name: name.clone(),
            role: *role,
            spec: spec.clone(),
            shape: tensor.shape(),
            quantized,
            input: Vec::new(),
            tokens: None,
        };
        let report = report(checkpoint, &made);
        done.add(report.sums);
        tensors.push(report);
        let kept: Result<Vec<Payload>, IoError> =
            made.quantized.parts.iter().map(|p| spool.keep(p)).collect();
        let mut parts = kept?.into_iter();
        writer.payloads(name, spec, &info.dims, |_| parts.next().expect("a run of bytes for every part"))?;
    }
    writer.write(out)?;
    checkpoint.check_unchanged()?;
    let weights: u64 = plan.tensors.iter().map(|p| p.info.elements() as u64).sum();
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

/// A container with the hyper-parameters, the vocabulary and the chat template of the source.
pub(crate) fn writer(checkpoint: &Checkpoint, path: &Path) -> Result<ContainerWriter, QuantError> {
    let mut writer = match checkpoint.config() {
        Config::Gguf(metadata) => ContainerWriter::with_gguf(metadata)?,
        Config::Json(json) => ContainerWriter::new(&json.to_string())?,
        Config::Llama2c(_) => return Err(plan::no_place_for_llama2c(path)),
    };
    for (text, content) in texts(checkpoint, path)? {
        writer.text(text, &content);
    }
    Ok(writer)
}

/// The texts beside the weights of a model that came from a Hugging Face folder.
pub(crate) fn texts(
    checkpoint: &Checkpoint,
    path: &Path,
) -> Result<Vec<(ContainerText, String)>, QuantError> {
    let mut texts = Vec::new();
    for text in ContainerText::ALL {
        let content = match checkpoint {
            Checkpoint::Container(container) => container.text(text).map(str::to_owned),
            Checkpoint::HuggingFace(folder) => {
                folder.read_file(text.file())?.map(|bytes| utf8(bytes, text, path)).transpose()?
            }
            _ => None,
        };
        texts.extend(content.map(|content| (text, content)));
    }
    Ok(texts)
}

fn utf8(bytes: Vec<u8>, text: ContainerText, path: &Path) -> Result<String, QuantError> {
    let wrong = |_| IoError::NotUtf8 { what: text.file().to_owned() }.in_file(path);
    Ok(String::from_utf8(bytes).map_err(wrong)?)
}
