//! The candle engine process: the quantized models of candle-transformers, as they come.

#![forbid(unsafe_code)]

mod engine;

use anyhow::Result;
use peers_protocol::Engine;

fn main() -> Result<()> {
    peers_protocol::run(engine::Candle::load)
}
