//! candle as an [`Engine`].
//!
//! Its quantized models give the logits of the last position only. A window is therefore read as a
//! prompt up to the first wanted position and token by token from there on.

use std::fs::File;

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor, utils};
use candle_transformers::models::{quantized_gemma3, quantized_llama, quantized_qwen2};
use peers_protocol::{Description, Engine, LoadOptions, Logits, Tokens};

/// A model of candle-transformers and how many tokens its cache holds.
pub(crate) struct Candle {
    model: Model,
    architecture: String,
    vocabulary: usize,
    position: usize,
}

enum Model {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Gemma3(quantized_gemma3::ModelWeights),
}

impl Model {
    /// What is known to be wrong in the locked version.
    fn caveat(&self) -> Option<&'static str> {
        match self {
            Self::Gemma3(_) => Some(
                "applies SiLU where Gemma applies GELU (0.11.1): its logits are wrong, the work is the same",
            ),
            Self::Llama(_) | Self::Qwen2(_) => None,
        }
    }
}

impl Candle {
    /// Appends tokens; the logits of the last one.
    fn append(&mut self, ids: &[u32]) -> Result<Tensor> {
        let input = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match &mut self.model {
            Model::Llama(model) => model.forward(&input, self.position)?,
            Model::Qwen2(model) => model.forward(&input, self.position)?,
            Model::Gemma3(model) => model.forward(&input, self.position)?,
        };
        self.position += ids.len();
        Ok(logits.flatten_all()?)
    }
}

impl Engine for Candle {
    fn load(options: &LoadOptions) -> Result<Self> {
        let threads = utils::get_num_threads();
        ensure!(
            threads == options.threads,
            "candle runs {threads} threads and {} were asked for; it takes their number from \
             RAYON_NUM_THREADS and CANDLE_NUM_THREADS alone",
            options.threads
        );
        let path = options.model.display();
        let mut file = File::open(&options.model).with_context(|| format!("cannot open {path}"))?;
        let content =
            Content::read(&mut file).with_context(|| format!("{path}: not a readable GGUF file"))?;
        let metadata = |key: &str| content.metadata.get(key).with_context(|| format!("{path}: no {key}"));
        let architecture = metadata("general.architecture")?.to_string()?.clone();
        let vocabulary = metadata("tokenizer.ggml.tokens")?.to_vec()?.len();
        let device = &Device::Cpu;
        let model = match architecture.as_str() {
            "llama" => Model::Llama(quantized_llama::ModelWeights::from_gguf(content, &mut file, device)?),
            "qwen2" => Model::Qwen2(quantized_qwen2::ModelWeights::from_gguf(content, &mut file, device)?),
            "gemma3" => Model::Gemma3(quantized_gemma3::ModelWeights::from_gguf(content, &mut file, device)?),
            other => bail!("{path}: architecture {other} is not one of llama, qwen2, gemma3"),
        };
        Ok(Self { model, architecture, vocabulary, position: 0 })
    }

    fn describe(&self) -> Description {
        Description {
            engine: format!("candle (candle-core {})", env!("CANDLE_CORE_VERSION")),
            system: format!(
                "avx2 {}, f16c {}, neon {}, compiled for avx512 {}",
                utils::with_avx(),
                utils::with_f16c(),
                utils::with_neon(),
                cfg!(target_feature = "avx512f"),
            ),
            architecture: self.architecture.clone(),
            vocabulary: self.vocabulary,
            caveat: self.model.caveat().map(str::to_owned),
        }
    }

    fn tokenize(&self, _: &[u8]) -> Result<Tokens> {
        bail!("candle's quantized models come without a tokenizer")
    }

    fn reset(&mut self) -> Result<()> {
        match &mut self.model {
            Model::Llama(model) => model.clear_kv_cache(),
            Model::Qwen2(model) => model.clear_kv_cache(),
            // Drops its cache itself when a prompt begins at position zero.
            Model::Gemma3(_) => {}
        }
        self.position = 0;
        Ok(())
    }

    fn prefill(&mut self, ids: &[u32]) -> Result<()> {
        self.append(ids).map(drop)
    }

    fn decode(&mut self, id: u32) -> Result<()> {
        self.append(&[id]).map(drop)
    }

    fn logits(&mut self, window: &[u32], first: usize) -> Result<Logits> {
        let mut values = self.append(&window[..=first])?.to_vec1::<f32>()?;
        let vocabulary = values.len();
        for id in &window[first + 1..] {
            values.extend(self.append(&[*id])?.to_vec1::<f32>()?);
        }
        Ok(Logits { values, vocabulary })
    }
}
