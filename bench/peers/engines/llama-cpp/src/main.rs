//! The llama.cpp engine process.

use anyhow::Result;
use clap::Parser;
use peer_llama_cpp::{LlamaCpp, Weights};

/// Answers requests of the peer benchmark on standard input.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave the weights as they are in the file instead of repacking them for the CPU.
    #[arg(long)]
    no_repack: bool,
}

fn main() -> Result<()> {
    let weights = if Arguments::parse().no_repack { Weights::AsStored } else { Weights::Repacked };
    peers_protocol::run(|options: &_| LlamaCpp::load_as(options, weights))
}
