//! Options that several commands share.

use crate::{env, open};
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use lowbit::{
    ActPrecision, ActRounding, Ctx, KvElement, LoadOptions, Machine, Model, Planner, Session, Speculation,
    eval::{PROTOCOLS, Protocol},
    hub::Store,
};
use std::sync::Arc;

/// More workers than any machine here has.
pub(crate) const MOST_THREADS: usize = 1024;

/// How a model is computed.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Computing")]
pub(crate) struct Compute {
    /// Worker threads [default: LOWBIT_THREADS, else one for each physical core]
    #[arg(short = 't', long, value_name = "N", value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
    /// Numbers in which activations meet quantized weights; models that prescribe theirs (BitNet) keep it [default: int16;
    /// perplexity and compare with preset llama.cpp: gguf]
    #[arg(long, value_enum, value_name = "NUMBERS")]
    pub(crate) activations: Option<Activations>,
    /// One arithmetic for every number of tokens at once, so that nothing depends on what is computed beside it. Only int8 on
    /// integer formats has two, and takes the better
    #[arg(long)]
    pub(crate) batch_invariant: bool,
}

/// Numbers in which activations meet quantized weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Activations {
    /// Two 8-bit terms, scales for every 32: as good as floats
    Int16,
    /// One 8-bit term, scales for every 32: half the arithmetic
    Int8,
    /// 8 bits, rounded as llama.cpp does, with scales for every 32 or 256: for figures to compare with its
    Gguf,
    /// As they are: slower, for comparisons
    Float,
}

impl Activations {
    /// Name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it asks of a product.
    pub(crate) fn precision(self) -> ActPrecision {
        match self {
            Self::Int16 => ActPrecision::Int8(ActRounding::Group32Twice),
            Self::Int8 => ActPrecision::Int8(ActRounding::Group32),
            Self::Gguf => ActPrecision::Gguf,
            Self::Float => ActPrecision::Float,
        }
    }
}

impl Compute {
    /// Workers with the machine's instructions.
    pub(crate) fn ctx(&self) -> Result<Ctx> {
        Ok(Ctx::new(env::isa()?, threads(self.threads)?))
    }

    pub(crate) fn load_options<'a>(&self, planner: Planner<'a>) -> LoadOptions<'a> {
        load_options(self.activations(), planner.batch_invariant(self.batch_invariant))
    }

    /// What figures say of it, and what those that are kept are kept under.
    pub(crate) fn numbers(&self) -> String {
        let invariant = if self.batch_invariant { ", batch-invariant" } else { "" };
        self.activations().name() + invariant
    }

    /// As asked for, else the usual ones.
    pub(crate) fn activations(&self) -> Activations {
        self.activations.unwrap_or(Activations::Int16)
    }
}

pub(crate) fn load_options(activations: Activations, planner: Planner<'_>) -> LoadOptions<'_> {
    LoadOptions { precision: activations.precision(), planner, ..LoadOptions::default() }
}

/// The number of workers: as asked for, else by the environment, else by the machine.
pub(crate) fn threads(asked: Option<usize>) -> Result<usize> {
    match asked {
        Some(threads) => Ok(threads),
        None => Ok(env::threads()?.unwrap_or_else(|| Machine::detect().default_threads())),
    }
}

/// How a text is cut and scored.
#[derive(Args, Debug, Clone)]
pub(crate) struct Preset {
    /// llama.cpp: windows of 512, the second half scored; paper: windows of 2048, all but the first token scored
    #[arg(long = "preset", value_name = "NAME", default_value = "llama.cpp",
          value_parser = PossibleValuesParser::new(PROTOCOLS.iter().map(|protocol| protocol.name)))]
    name: String,
    /// Score no more than this many windows [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) chunks: Option<usize>,
}

impl Preset {
    pub(crate) fn protocol(&self) -> Result<&'static Protocol> {
        Protocol::named(&self.name).with_context(|| format!("no preset is called {:?}", self.name))
    }

    /// What a preset is compared with decides how activations are rounded, unless an option does.
    pub(crate) fn compute(&self, compute: &Compute) -> Compute {
        let usual = if self.name == "llama.cpp" { Activations::Gguf } else { Activations::Int16 };
        Compute { activations: compute.activations.or(Some(usual)), ..compute.clone() }
    }
}

/// How much a model remembers, and how.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Context")]
pub(crate) struct Context {
    /// Most tokens of prompt and answer together; 0: as many as the model was made for
    #[arg(short = 'c', long, value_name = "TOKENS", default_value_t = 0)]
    pub(crate) ctx_size: usize,
    /// Floats in which keys and values are kept
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CacheType::F16)]
    pub(crate) cache_type: CacheType,
}

/// Floats in which keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub(crate) enum CacheType {
    F16,
    F32,
}

impl CacheType {
    pub(crate) fn element(self) -> KvElement {
        match self {
            Self::F16 => KvElement::F16,
            Self::F32 => KvElement::F32,
        }
    }
}

impl Context {
    pub(crate) fn session<'m>(&self, model: &'m Model, ctx: &'m Ctx) -> Result<Session<'m>> {
        Ok(Session::new(model, ctx, self.ctx_size, self.cache_type.element())?)
    }
}

/// Whether answers are guessed ahead.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Speculative decoding")]
pub(crate) struct Guesses {
    /// Guess tokens ahead and confirm them in one pass: `ngram` takes what followed the last tokens when they came before, good
    /// where answers repeat the prompt; a MODEL of the same vocabulary, smaller than the one that answers, runs ahead. Answers
    /// stay the same with activations that do not depend on the batch (int16, float) [default: no guesses]
    #[arg(long, value_name = "ngram|MODEL")]
    draft: Option<String>,
    /// Most tokens that are guessed at a time
    #[arg(long, value_name = "TOKENS", default_value_t = 8, requires = "draft",
          value_parser = clap::value_parser!(u32).range(1..=15))]
    draft_max: u32,
}

impl Guesses {
    /// What guesses, where anything was asked to; a draft model is fetched and loaded.
    pub(crate) fn speculation(
        &self,
        ctx: &Ctx,
        store: &Store,
        compute: &Compute,
    ) -> Result<Option<Speculation>> {
        let Some(draft) = &self.draft else { return Ok(None) };
        let draft = match draft.as_str() {
            "ngram" => None,
            model => Some(Arc::new(open::load_from(ctx, store, model, compute)?)),
        };
        Ok(Some(Speculation { draft, most: self.draft_max as usize }))
    }
}

/// Parses a number of threads.
pub(crate) fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if (1..=MOST_THREADS).contains(&threads) => Ok(threads),
        _ => Err(format!("expected a number from 1 to {MOST_THREADS}")),
    }
}
