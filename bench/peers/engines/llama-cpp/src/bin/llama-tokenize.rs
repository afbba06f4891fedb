//! Token ids of a file as llama.cpp gives them, for comparing tokenizers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use peer_llama_cpp::{Contents, Model, ParseSpecial};

/// Tokenizes the bytes of TEXT and writes the ids as u32, little-endian.
#[derive(Debug, Parser)]
struct Arguments {
    /// A GGUF file; only its vocabulary is read.
    model: PathBuf,
    /// The text, taken as it is.
    text: PathBuf,
    /// Where the ids go; printed in decimal, one a line, when absent.
    ids: Option<PathBuf>,
    /// Add what the model's metadata wants at the ends of a text (a begin token, an end token).
    #[arg(long)]
    add_special: bool,
    /// Turn text that spells a special token into that token.
    #[arg(long)]
    parse_special: bool,
    /// Take every line of TEXT as a text of its own, without its line end, and write before each
    /// line's ids their count.
    #[arg(long)]
    lines: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = Model::load(&arguments.model, Contents::Vocabulary)?;
    let text = std::fs::read(&arguments.text)
        .with_context(|| format!("cannot read {}", arguments.text.display()))?;
    let parse_special = if arguments.parse_special { ParseSpecial::Yes } else { ParseSpecial::No };
    let tokenize = |text: &[u8]| {
        if arguments.add_special {
            Ok(model.tokenize(text, parse_special)?.ids)
        } else {
            model.tokenize_bare(text, parse_special)
        }
    };
    let ids = if arguments.lines {
        let mut all = Vec::new();
        for line in text.strip_suffix(b"\n").unwrap_or(&text).split(|&byte| byte == b'\n') {
            let ids = tokenize(line)?;
            all.push(u32::try_from(ids.len()).context("a line of more than 2^32 tokens")?);
            all.extend(ids);
        }
        all
    } else {
        tokenize(&text)?
    };
    match &arguments.ids {
        Some(path) => peers_protocol::write_ids(path, &ids)?,
        None => ids.iter().for_each(|id| println!("{id}")),
    }
    Ok(())
}
