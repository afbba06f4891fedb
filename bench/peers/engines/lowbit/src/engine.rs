//! lowbit as an [`Engine`]: defaults of its command throughout (weights packed at load, batches of 512).
//!
//! `lowbit_engine::Session` borrows its model; here both live in one value, so the decoder and its cache
//! are used directly, with the calls that a session makes.

use anyhow::{Context, Result};
use lowbit_engine::{LoadOptions as ModelOptions, Model};
use lowbit_kernels::{ActPrecision, Ctx, Isa};
use lowbit_model::{KvCache, KvElement, Logits as Rows};
use peers_protocol::{Description, Engine, LoadOptions, Logits, Special, Tokens};

/// Tokens evaluated at once, as lowbit's sessions read a prompt and as llama.cpp is run here.
const BATCH: usize = 512;

/// A model with its workers and the cache of one sequence.
pub(crate) struct Lowbit {
    model: Model,
    ctx: Ctx,
    cache: KvCache,
    element: KvElement,
    precision: ActPrecision,
    logits: Vec<f32>,
}

impl Lowbit {
    /// Loads with the instructions of `isa`.
    pub(crate) fn load_at(
        options: &LoadOptions,
        isa: Isa,
        precision: ActPrecision,
        element: KvElement,
    ) -> Result<Self> {
        let ctx = Ctx::new(isa, options.threads);
        let model = Model::load(&ctx, &options.model, ModelOptions { precision, ..ModelOptions::default() })?;
        let cache = model.decoder().cache(options.context, element)?;
        Ok(Self { model, ctx, cache, element, precision, logits: Vec::new() })
    }

    /// Appends one batch and replaces the logits with those of the wanted tokens.
    fn append(&mut self, ids: &[u32], want: Rows) -> Result<()> {
        self.model.decoder().forward(&self.ctx, ids, &mut self.cache, want, &mut self.logits)?;
        Ok(())
    }
}

impl Engine for Lowbit {
    fn load(options: &LoadOptions) -> Result<Self> {
        Self::load_at(options, Isa::detect(), ModelOptions::default().precision, KvElement::F16)
    }

    fn describe(&self) -> Description {
        Description {
            engine: format!("lowbit {}", env!("LOWBIT_VERSION")),
            system: format!(
                "{} chosen at run time, {} threads, weights packed at load, activations {:?}, {:?} cache",
                self.ctx.isa().level(),
                self.ctx.threads(),
                self.precision,
                self.element,
            ),
            architecture: self.model.spec().architecture.to_owned(),
            vocabulary: self.model.spec().vocab,
            caveat: None,
        }
    }

    fn tokenize(&self, text: &[u8]) -> Result<Tokens> {
        let text = std::str::from_utf8(text).context("the text is not UTF-8")?;
        let tokenizer = self.model.tokenizer()?;
        let begin = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        Ok(Tokens { ids: self.model.encode(text)?, begin: begin.map_or(Special::None, Special::Bos) })
    }

    fn reset(&mut self) -> Result<()> {
        self.cache.truncate(0);
        Ok(())
    }

    fn prefill(&mut self, ids: &[u32]) -> Result<()> {
        let batches = ids.len().div_ceil(BATCH);
        for (index, batch) in ids.chunks(BATCH).enumerate() {
            self.append(batch, if index + 1 == batches { Rows::Last } else { Rows::None })?;
        }
        Ok(())
    }

    fn decode(&mut self, id: u32) -> Result<()> {
        self.append(&[id], Rows::Last)
    }

    fn logits(&mut self, window: &[u32], first: usize) -> Result<Logits> {
        let vocabulary = self.model.spec().vocab;
        let mut values = Vec::with_capacity((window.len() - first) * vocabulary);
        for (index, batch) in window.chunks(BATCH).enumerate() {
            let from = first.saturating_sub(index * BATCH).min(batch.len());
            self.append(batch, Rows::From(from))?;
            values.extend_from_slice(&self.logits);
        }
        Ok(Logits { values, vocabulary })
    }
}
