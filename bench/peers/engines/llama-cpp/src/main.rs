//! The llama.cpp engine process.

use anyhow::Result;
use clap::{Parser, ValueEnum};
use peer_llama_cpp::{Attention, LlamaCpp, Setting, Weights};

/// Answers requests of the peer benchmark on standard input.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave the weights as they are in the file instead of repacking them for the CPU.
    #[arg(long)]
    no_repack: bool,
    /// Whether attention may be computed by the fused operation.
    #[arg(long, value_enum, default_value = "auto")]
    flash_attention: FlashAttention,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FlashAttention {
    /// Where llama.cpp chooses it.
    Auto,
    /// Nowhere.
    Off,
    /// Nowhere, and keys and values are cached in f32.
    OffF32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let setting = Setting {
        weights: if arguments.no_repack { Weights::AsStored } else { Weights::Repacked },
        attention: match arguments.flash_attention {
            FlashAttention::Auto => Attention::Auto,
            FlashAttention::Off => Attention::Plain,
            FlashAttention::OffF32 => Attention::Single,
        },
    };
    peers_protocol::run(|options: &_| LlamaCpp::load_as(options, setting))
}
