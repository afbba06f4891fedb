//! The lowbit engine process: lowbit as it ships, choosing its instructions when it starts.

#![forbid(unsafe_code)]

mod engine;
mod instructions;

use anyhow::Result;

fn main() -> Result<()> {
    let isa = instructions::chosen()?;
    peers_protocol::run(|options: &_| engine::Lowbit::load_at(options, isa))
}
