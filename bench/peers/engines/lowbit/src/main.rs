//! The lowbit engine process: lowbit as it ships, choosing its instructions when it starts.

#![forbid(unsafe_code)]

mod engine;
mod instructions;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use lowbit_kernels::{ActPrecision, ActRounding};
use lowbit_model::KvElement;

/// Run lowbit for `peers`, which talks to it through standard input and output.
#[derive(Parser)]
struct Arguments {
    /// Numbers in which activations meet quantized weights.
    #[arg(long, value_enum, default_value = "int16")]
    activations: Activations,
    /// Numbers in which keys and values are cached.
    #[arg(long, value_enum, default_value = "f16")]
    cache: Cache,
}

#[derive(Clone, Copy, ValueEnum)]
enum Cache {
    F16,
    F32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Activations {
    /// Two terms of 8 bits, the default of lowbit's command.
    Int16,
    /// One term.
    Int8,
    /// Rounded as llama.cpp does.
    Gguf,
}

fn main() -> Result<()> {
    let isa = instructions::chosen()?;
    let arguments = Arguments::parse();
    let precision = match arguments.activations {
        Activations::Int16 => ActPrecision::Int8(ActRounding::Group32Twice),
        Activations::Int8 => ActPrecision::Int8(ActRounding::Group32),
        Activations::Gguf => ActPrecision::Gguf,
    };
    let cache = match arguments.cache {
        Cache::F16 => KvElement::F16,
        Cache::F32 => KvElement::F32,
    };
    peers_protocol::run(|options: &_| engine::Lowbit::load_at(options, isa, precision, cache))
}
