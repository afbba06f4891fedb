//! Models with random weights in the shape of known ones, for measuring speed: a product takes the same time whatever
//! the weights are, and nothing has to be downloaded or quantized.
//!
//! GGUF's own formats and floats become a GGUF file, grouped formats a container. Tensors are made when they are
//! written, so memory stays small; the same request gives the same bytes.

mod fill;
mod shapes;
mod tensor;

pub use shapes::shape_names;
pub use tensor::random_tensor;

use crate::{EngineError, vocabulary::NO_VOCABULARY};
use fill::Fill;
use lowbit_format::{FloatFormat, NK, WeightSpec};
use lowbit_io::{
    Encoding, IoError, Payload,
    container::{ContainerWriter, Part, PartKind},
    gguf::{GgufWriter, OwnedValue},
};
use lowbit_model::{Ffn, GGUF, HUGGING_FACE, Head, LinearId, ModelSpec, Names, Role};
use std::{path::Path, sync::Arc};

/// A model to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynthRequest {
    /// One of [`shape_names`].
    pub like: String,
    /// Number of transformer blocks, where it is not the model's own.
    pub layers: Option<usize>,
    /// Number of tokens, where it is not the model's own.
    pub vocab: Option<usize>,
    /// Format of every matrix; norms are f32.
    pub spec: WeightSpec,
    /// Seed of the codes.
    pub seed: u64,
}

/// A kind of file that models are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SynthFile {
    /// GGUF, for formats that it has a type for.
    Gguf,
    /// lowbit's container, for grouped formats.
    Lowbit,
}

impl SynthFile {
    /// What names of such files end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Lowbit => "lowbit",
        }
    }
}

/// Told how many bytes have been made since it was last told.
pub type SynthProgress = Arc<dyn Fn(u64) + Send + Sync>;

/// A model whose shape is known and that can be written.
#[derive(Clone, Debug)]
pub struct Synth {
    request: SynthRequest,
    config: serde_json::Value,
    model: ModelSpec,
    matrices: Matrices,
    norms: Vectors,
}

type Matrices = Vec<(String, NK)>;
type Vectors = Vec<(String, usize)>;

impl Synth {
    /// Works out the model's tensors.
    ///
    /// # Errors
    /// Where no shape has the name, a number is out of range, or rows are no whole number of the format's blocks.
    pub fn new(request: SynthRequest) -> Result<Self, EngineError> {
        let config = shapes::config(&request.like, request.layers, request.vocab)?;
        let model = shapes::spec(&config)?;
        let names = match file(&request.spec) {
            SynthFile::Gguf => &GGUF,
            SynthFile::Lowbit => &HUGGING_FACE,
        };
        let (matrices, norms) = tensors(&model, names);
        for (name, shape) in &matrices {
            let refused = |error| IoError::Tensor { name: name.clone(), error };
            request.spec.stored_bytes(*shape).map_err(refused)?;
        }
        Ok(Self { request, config, model, matrices, norms })
    }

    /// The kind of file that it will be.
    pub fn file(&self) -> SynthFile {
        file(&self.request.spec)
    }

    /// Hyper-parameters.
    pub fn model(&self) -> &ModelSpec {
        &self.model
    }

    /// Number of weights, those of norms included.
    pub fn weights(&self) -> u64 {
        let matrices: u64 = self.matrices.iter().map(|(_, shape)| shape.weights() as u64).sum();
        matrices + self.norms.iter().map(|(_, len)| *len as u64).sum::<u64>()
    }

    /// How many bytes the tensors take.
    pub fn tensor_bytes(&self) -> u64 {
        let bytes = |shape: &NK| self.request.spec.stored_bytes(*shape).expect("checked when it was made");
        let matrices: usize = self.matrices.iter().map(|(_, shape)| bytes(shape)).sum();
        let norms: usize = self.norms.iter().map(|(_, len)| 4 * len).sum();
        (matrices + norms) as u64
    }

    /// Writes the model: to a temporary file, then renamed.
    ///
    /// # Errors
    /// Where the kind of file has no place for the format, or the operating system refuses.
    pub fn write(&self, path: &Path, progress: &SynthProgress) -> Result<(), EngineError> {
        match self.file() {
            SynthFile::Gguf => self.gguf(progress)?.write(path)?,
            SynthFile::Lowbit => self.container(progress)?.write(path)?,
        }
        Ok(())
    }

    fn gguf(&self, progress: &SynthProgress) -> Result<GgufWriter, IoError> {
        let encoding = match &self.request.spec {
            WeightSpec::Float(format) => Encoding::Float(*format),
            WeightSpec::Block(format) => Encoding::Blocks(*format),
            WeightSpec::Grouped(_) | WeightSpec::Sum(_) => unreachable!("these are written to a container"),
        };
        let mut writer = GgufWriter::new();
        for (key, value) in self.gguf_metadata() {
            writer.metadata(key, value)?;
        }
        for (name, shape) in &self.matrices {
            let (kind, columns) = match encoding {
                Encoding::Blocks(format) => {
                    let layout = format.layout();
                    (PartKind::Blocks, shape.k / layout.weights * layout.bytes)
                }
                Encoding::Float(format) => (PartKind::Floats(format), shape.k),
                _ => unreachable!("no weights of other encodings are made"),
            };
            let part = Part { kind, rows: shape.n, columns, values: shape.k, term: None };
            let payload = self.payload(name, *shape, &part, progress);
            writer.payload(name, encoding, &[shape.n, shape.k], payload)?;
        }
        for (name, len) in &self.norms {
            writer.tensor(name, Encoding::Float(FloatFormat::F32), &[*len], ones(*len))?;
        }
        Ok(writer)
    }

    fn gguf_metadata(&self) -> Vec<(&'static str, OwnedValue)> {
        let model = &self.model;
        let Ffn::Dense { inner } = model.blocks[0].ffn else {
            unreachable!("the shapes are of dense models")
        };
        // All are below 2^32: the configuration's reader has checked them.
        let number = |n: usize| OwnedValue::U32(n as u32);
        let origin = format!("random weights: {}", self.command());
        vec![
            ("general.architecture", "llama".into()),
            ("general.name", format!("{} with random weights", self.request.like).as_str().into()),
            ("general.description", origin.as_str().into()),
            ("llama.vocab_size", number(model.vocab)),
            ("llama.context_length", number(model.context)),
            ("llama.embedding_length", number(model.hidden)),
            ("llama.block_count", number(model.blocks.len())),
            ("llama.feed_forward_length", number(inner)),
            ("llama.attention.head_count", number(model.heads)),
            ("llama.attention.head_count_kv", number(model.kv_heads)),
            ("llama.attention.layer_norm_rms_epsilon", model.norm_eps.into()),
            ("llama.rope.dimension_count", number(model.head_dim)),
            ("llama.rope.freq_base", (model.ropes[0].base as f32).into()),
            ("tokenizer.ggml.model", NO_VOCABULARY.into()),
        ]
    }

    fn container(&self, progress: &SynthProgress) -> Result<ContainerWriter, IoError> {
        let mut writer = ContainerWriter::new(&shapes::text(&self.config))?;
        writer.note("provenance", &format!("random weights: {}", self.command()));
        let spec = &self.request.spec;
        for (name, shape) in &self.matrices {
            let make = |part: &Part| self.payload(name, *shape, part, progress);
            writer.payloads(name, spec, &[shape.n, shape.k], make)?;
        }
        let float = WeightSpec::Float(FloatFormat::F32);
        for (name, len) in &self.norms {
            writer.payloads(name, &float, &[*len], |_| ones(*len).into())?;
        }
        Ok(writer)
    }

    /// What makes the same bytes again.
    fn command(&self) -> String {
        let SynthRequest { like, seed, spec, .. } = &self.request;
        let (layers, vocab) = (self.model.blocks.len(), self.model.vocab);
        format!("lowbit synth --like {like} --layers {layers} --vocab {vocab} --format {spec} --seed {seed}")
    }

    fn payload(&self, name: &str, shape: NK, part: &Part, progress: &SynthProgress) -> Payload {
        let fill = Fill::new(self.request.seed, name, (&self.request.spec, shape), part);
        let progress = progress.clone();
        Payload::made(move |out| fill.write(out, &*progress))
    }
}

fn file(spec: &WeightSpec) -> SynthFile {
    match spec {
        WeightSpec::Grouped(_) | WeightSpec::Sum(_) => SynthFile::Lowbit,
        WeightSpec::Float(_) | WeightSpec::Block(_) => SynthFile::Gguf,
    }
}

/// Gains of a norm.
fn ones(len: usize) -> Vec<u8> {
    FloatFormat::F32.encode(&vec![1.0; len])
}

/// Matrices and norms of a dense model in the order of its layers, by the names of a checkpoint.
fn tensors(model: &ModelSpec, names: &Names) -> (Matrices, Vectors) {
    let weight = |name: &str| format!("{name}.weight");
    let tokens = NK { n: model.vocab, k: model.hidden };
    let mut matrices = vec![(weight(names.embed), tokens)];
    let mut norms = Vec::new();
    for (i, block) in model.blocks.iter().enumerate() {
        let Ffn::Dense { inner } = block.ffn else { unreachable!("the shapes are of dense models") };
        let (hidden, keys) = (model.hidden, model.kv_heads * model.head_dim);
        let roles = [
            (Role::Query, model.heads * model.head_dim, hidden),
            (Role::Key, keys, hidden),
            (Role::Value, keys, hidden),
            (Role::Output, hidden, model.heads * model.head_dim),
            (Role::Gate, inner, hidden),
            (Role::Up, inner, hidden),
            (Role::Down, hidden, inner),
        ];
        for (role, n, k) in roles {
            let id = LinearId { block: i as u16, role, expert: None };
            matrices.push((weight(&names.linear(id)), NK { n, k }));
        }
        for norm in [names.attention_in, names.ffn_in] {
            norms.push((weight(&norm.replace("{block}", &i.to_string())), hidden));
        }
    }
    norms.push((weight(names.final_norm), model.hidden));
    if model.head == Head::Own {
        matrices.push((weight(names.head), tokens));
    }
    (matrices, norms)
}
