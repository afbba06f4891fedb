//! From a path to a model ready to run.

use crate::{
    EngineError, Model,
    adapter::{Meta, Tensors},
    model::TensorSummary,
    packed::pack,
    vocabulary,
};
use lowbit_format::{ActSpec, QuantTensor, TensorData};
use lowbit_io::{Access, Checkpoint, Config};
use lowbit_kernels::{ActPrecision, ActRounding, Ctx, Planner, arranged_matrices};
use lowbit_model::{
    Architecture, Decoder, LinearLayer, Linears, Llama2c, ModelError, ModelSpec, WeightCoding,
};
use std::{
    cell::RefCell,
    path::Path,
    time::{Duration, Instant},
};

/// How a model is loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// Map the file or copy it into memory.
    pub access: Access,
    /// In which numbers quantized weights are multiplied with activations. Models that prescribe theirs ignore it.
    pub precision: ActPrecision,
    /// What chooses layouts and kernels of weights.
    pub planner: Planner<'a>,
}

impl Default for LoadOptions<'_> {
    /// Mapped, activations in two 8-bit terms with scales for every 32, kernels chosen without measurements.
    fn default() -> Self {
        Self {
            access: Access::Map,
            precision: ActPrecision::Int8(ActRounding::Group32Twice),
            planner: Planner::new(),
        }
    }
}

/// A layer that stands for all of its format and shape.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its weight, as it is stored.
    pub weight: QuantTensor,
    /// How its activations are rounded.
    pub rounding: Option<ActRounding>,
    /// How many there are like it.
    pub count: usize,
}

impl Layer {
    fn is_like(&self, other: &Self) -> bool {
        self.weight.spec() == other.weight.spec()
            && self.weight.shape() == other.weight.shape()
            && self.rounding == other.rounding
    }
}

/// What loading took.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct LoadStats {
    /// Bytes of the checkpoint's files.
    pub file_bytes: u64,
    /// Bits stored for each weight, over all tensors.
    pub bits_per_weight: f64,
    /// Time to open and check the files, in seconds.
    pub open_s: f64,
    /// Time to build the tokenizer, in seconds.
    pub tokenizer_s: f64,
    /// Time to put the weights in their places, in seconds.
    pub weights_s: f64,
    /// All of it, in seconds.
    pub total_s: f64,
}

impl Model {
    /// Loads a checkpoint with its tokenizer, if it has one. The workers of `ctx` arrange the weights for products; any other context can
    /// run the model.
    ///
    /// # Errors
    /// What is wrong with the file, its hyper-parameters, its tensors or its vocabulary, naming it.
    pub fn load(ctx: &Ctx, path: &Path, options: LoadOptions<'_>) -> Result<Self, EngineError> {
        let start = Instant::now();
        let checkpoint = Checkpoint::open(path, options.access)?;
        let opened = start.elapsed();
        let tokenizer = vocabulary::tokenizer(&checkpoint, path)?;
        let tokenized = start.elapsed();
        let wrong = |source: ModelError| EngineError::Model { path: path.to_owned(), source };
        let spec = spec(&checkpoint).map_err(wrong)?;
        if let Ok(tokenizer) = &tokenizer
            && tokenizer.vocab_len() > spec.vocab
        {
            return Err(EngineError::VocabularySize {
                path: path.to_owned(),
                tokenizer: tokenizer.vocab_len(),
                model: spec.vocab,
            });
        }
        let decoder = Decoder::build_with(spec, &Tensors(&checkpoint), options.precision, &|_, stored| {
            pack(ctx, &options.planner, stored)
        })
        .map_err(wrong)?;
        checkpoint.check_unchanged()?;
        let total = start.elapsed();
        let seconds = |from: Duration, to: Duration| (to - from).as_secs_f64();
        let (bytes, weights) = checkpoint
            .tensors()
            .iter()
            .fold((0, 0), |(bytes, weights), info| (bytes + info.bytes, weights + info.elements()));
        let stats = LoadStats {
            bits_per_weight: 8.0 * bytes as f64 / weights.max(1) as f64,
            file_bytes: checkpoint.file_bytes(),
            open_s: seconds(Duration::ZERO, opened),
            tokenizer_s: seconds(opened, tokenized),
            weights_s: seconds(tokenized, total),
            total_s: total.as_secs_f64(),
        };
        Ok(Self::new(path, checkpoint.kind(), decoder, tokenizer, stats))
    }

    /// The layers of a checkpoint for which there are kernels to choose from, one for every format, shape and rounding.
    ///
    /// # Errors
    /// As [`Self::load`], the vocabulary apart.
    pub fn layers(path: &Path, options: LoadOptions<'_>) -> Result<Vec<Layer>, EngineError> {
        let checkpoint = Checkpoint::open(path, options.access)?;
        let wrong = |source: ModelError| EngineError::Model { path: path.to_owned(), source };
        let spec = spec(&checkpoint).map_err(wrong)?;
        let layers: RefCell<Vec<Layer>> = RefCell::default();
        Decoder::build_with(spec, &Tensors(&checkpoint), options.precision, &|_, stored| {
            for weight in arranged_matrices(stored.tensor()) {
                if let TensorData::Float { .. } = weight.data() {
                    continue;
                }
                let rounding = stored.precision().rounding(&weight.spec());
                let layer = Layer { weight, rounding, count: 1 };
                let mut layers = layers.borrow_mut();
                match layers.iter_mut().find(|other| other.is_like(&layer)) {
                    Some(other) => other.count += 1,
                    None => layers.push(layer),
                }
            }
            Box::new(stored)
        })
        .map_err(wrong)?;
        Ok(layers.into_inner())
    }

    /// Every linear layer of a checkpoint by what it is for, read without arranging any weight.
    ///
    /// # Errors
    /// As [`Self::load`], the vocabulary apart.
    pub fn linears(path: &Path, access: Access) -> Result<Linears, EngineError> {
        let checkpoint = Checkpoint::open(path, access)?;
        let wrong = |source: ModelError| EngineError::Model { path: path.to_owned(), source };
        let spec = spec(&checkpoint).map_err(wrong)?;
        let layers: RefCell<Vec<LinearLayer>> = RefCell::default();
        let decoder = Decoder::build_with(spec, &Tensors(&checkpoint), ActPrecision::Float, &|id, stored| {
            let weight = stored.tensor();
            layers.borrow_mut().push(LinearLayer {
                id,
                format: weight.spec(),
                shape: weight.shape(),
                bytes: weight.bytes(),
            });
            Box::new(stored)
        })
        .map_err(wrong)?;
        Ok(Linears {
            embedding: decoder.embedding().spec(),
            tied: decoder.tied(),
            spec: decoder.spec().clone(),
            layers: layers.into_inner(),
        })
    }

    /// What a checkpoint holds, read without loading it: hyper-parameters and every tensor.
    ///
    /// # Errors
    /// What is wrong with the file or its hyper-parameters.
    pub fn inspect(path: &Path, access: Access) -> Result<(ModelSpec, Vec<TensorSummary>), EngineError> {
        let checkpoint = Checkpoint::open(path, access)?;
        let spec =
            spec(&checkpoint).map_err(|source| EngineError::Model { path: path.to_owned(), source })?;
        let tensors = checkpoint.tensors().iter().map(|info| TensorSummary::new(&checkpoint, info)).collect();
        Ok((spec, tensors))
    }
}

/// The hyper-parameters of a checkpoint.
///
/// # Errors
/// Where they are none of a model that is known.
pub fn spec(checkpoint: &Checkpoint) -> Result<ModelSpec, ModelError> {
    let read = |config: lowbit_model::Config<'_>| (Architecture::of(&config)?.spec)(&config);
    let mut spec = match checkpoint.config() {
        Config::Gguf(meta) => {
            // Some tools rotate activations at run time and say so in keys of their own. Without it the answers are noise.
            if let Some((key, _)) = meta.iter().find(|(key, _)| key.contains("hadamard")) {
                let found = "a rotation of activations".to_owned();
                return Err(ModelError::Unsupported { key: key.to_owned(), found });
            }
            read(lowbit_model::Config::gguf(&Meta(meta))?)
        }
        Config::Json(json) => read(lowbit_model::Config::hugging_face(json)?),
        Config::Llama2c(header) => read(lowbit_model::Config::llama2c(Llama2c {
            dim: header.dim,
            hidden_dim: header.hidden_dim,
            n_layers: header.layers,
            n_heads: header.heads,
            n_kv_heads: header.kv_heads,
            vocab_size: header.vocab,
            seq_len: header.context,
        })),
    }?;
    if let (Some(activations), WeightCoding::Plain) = (checkpoint.activations(), spec.coding) {
        spec.coding = match activations {
            ActSpec::Int8Token => WeightCoding::TokenInt8,
            ActSpec::Int4Token => WeightCoding::TokenInt4,
            ActSpec::Int8TokenOutliers => WeightCoding::TokenInt8Outliers,
        };
    }
    Ok(spec)
}
