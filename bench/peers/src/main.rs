//! `peers`: the same file, or the same model in each one's format, through lowbit and its peers, in one sitting.
//!
//! A comparison of two engines is only as good as their sharing the minute in which they were measured:
//! on a rented machine memory bandwidth drifts by half between minutes. `compare` keeps one process of
//! every engine alive, lets exactly one of them run at a time, and goes round; what it reports are
//! medians over rounds and ratios within them. `perplexity` reproduces llama-perplexity, and
//! `reference` writes llama.cpp's tokens and logits for tests of others.

#![forbid(unsafe_code)]

mod accuracy;
mod child;
mod cli;
mod compare;
mod engines;
mod entry;
mod perplexity;
mod reference;
mod report;
mod speed;
mod statistics;
mod table;
mod windows;

use anyhow::Result;
use clap::Parser;

fn main() -> Result<()> {
    match cli::Arguments::parse().command {
        cli::Command::Compare(arguments) => compare::run(&arguments),
        cli::Command::Perplexity(arguments) => perplexity::run(&arguments),
        cli::Command::Reference(arguments) => reference::run(&arguments),
    }
}
