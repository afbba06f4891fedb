//! From a path to a model ready to run.

use crate::{
    EngineError, Model,
    adapter::{Meta, Tensors},
    model::TensorSummary,
    packed::pack,
    vocabulary,
};
use lowbit_io::{Access, Checkpoint, Config};
use lowbit_kernels::{ActPrecision, ActRounding, Ctx};
use lowbit_model::{Architecture, Decoder, Llama2c, ModelError, ModelSpec};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How a model is loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Map the file or copy it into memory.
    pub access: Access,
    /// In which numbers quantized weights are multiplied with activations. Models that prescribe theirs ignore it.
    pub precision: ActPrecision,
}

impl Default for LoadOptions {
    /// Mapped, activations in two 8-bit terms with scales for every 32.
    fn default() -> Self {
        Self { access: Access::Map, precision: ActPrecision::Int8(ActRounding::Group32Twice) }
    }
}

/// What loading took.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct LoadStats {
    /// Bytes of the checkpoint's files.
    pub file_bytes: u64,
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
    pub fn load(ctx: &Ctx, path: &Path, options: LoadOptions) -> Result<Self, EngineError> {
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
            pack(ctx, stored)
        })
        .map_err(wrong)?;
        checkpoint.check_unchanged()?;
        let total = start.elapsed();
        let seconds = |from: Duration, to: Duration| (to - from).as_secs_f64();
        let stats = LoadStats {
            file_bytes: checkpoint.file_bytes(),
            open_s: seconds(Duration::ZERO, opened),
            tokenizer_s: seconds(opened, tokenized),
            weights_s: seconds(tokenized, total),
            total_s: total.as_secs_f64(),
        };
        Ok(Self::new(path, checkpoint.kind(), decoder, tokenizer, stats))
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
fn spec(checkpoint: &Checkpoint) -> Result<ModelSpec, ModelError> {
    let read = |config: lowbit_model::Config<'_>| (Architecture::of(&config)?.spec)(&config);
    match checkpoint.config() {
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
    }
}
