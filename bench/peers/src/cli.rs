//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::engines::{self, EngineSpec, REFERENCE};
use crate::entry::Entry;

/// lowbit beside llama.cpp and candle on the same GGUF files.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Speed, load time and memory, interleaved; with --text also how far the logits differ
    Compare(Compare),
    /// Perplexity of one engine as llama-perplexity computes it
    Perplexity(Perplexity),
    /// Write llama.cpp's tokens and logits of a text, for tests of others
    Reference(Reference),
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Files that are compared; an engine that names its own reads that instead
    #[arg(required = true)]
    pub(crate) models: Vec<PathBuf>,
    /// Engines, in the order they take turns; ENGINE=FILE gives one a file of its own
    #[arg(long, value_name = "ENGINE[=FILE]", value_delimiter = ',', value_parser = Entry::parse,
          default_values = engines::NAMES)]
    pub(crate) engines: Vec<Entry>,
    /// Thread counts
    #[arg(short, long, value_delimiter = ',', default_value = "1,2")]
    pub(crate) threads: Vec<usize>,
    /// Prompt length of the prefill test
    #[arg(short = 'p', long, default_value_t = 512)]
    pub(crate) prompt: usize,
    /// Tokens of the decoding test
    #[arg(short = 'n', long, default_value_t = 128)]
    pub(crate) generate: usize,
    /// Rounds; a round measures every engine once
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// A text, plain or .gz, over which to compare logits; without it only speed is compared
    #[arg(long)]
    pub(crate) text: Option<PathBuf>,
    /// The engine from which the others' logits are counted
    #[arg(long, value_parser = engines::parse, default_value = REFERENCE.name)]
    pub(crate) reference: &'static EngineSpec,
    /// Windows of the text to compare, each of 512 tokens
    #[arg(long, default_value_t = 4)]
    pub(crate) chunks: usize,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Perplexity {
    /// A GGUF file
    pub(crate) model: PathBuf,
    /// The engine that computes; llama.cpp always tokenizes
    #[arg(long, value_parser = engines::parse, default_value = "llama.cpp")]
    pub(crate) engine: &'static EngineSpec,
    /// The text, plain or .gz
    #[arg(long)]
    pub(crate) text: PathBuf,
    /// Windows of 512 tokens to score; all of the text without it
    #[arg(long)]
    pub(crate) chunks: Option<usize>,
    /// Threads
    #[arg(short, long, default_value_t = 2)]
    pub(crate) threads: usize,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reference {
    /// A GGUF file
    pub(crate) model: PathBuf,
    /// The text, plain or .gz
    #[arg(long)]
    pub(crate) text: PathBuf,
    /// Windows whose tokens are written
    #[arg(long, default_value_t = 40)]
    pub(crate) chunks: usize,
    /// Windows whose logits are written
    #[arg(long, default_value_t = 8)]
    pub(crate) logit_chunks: usize,
    /// Threads
    #[arg(short, long, default_value_t = 2)]
    pub(crate) threads: usize,
    /// The folder to write to; files are named after the model
    #[arg(long)]
    pub(crate) out: PathBuf,
}
