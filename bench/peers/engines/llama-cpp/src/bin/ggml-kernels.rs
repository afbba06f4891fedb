//! Products of ggml alone, in the units of `lowbit bench --kernels`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use peer_llama_cpp::{Product, ProductOptions, TYPES, Weights};

/// How long a product is repeated in a round.
const ROUND: Duration = Duration::from_millis(20);

/// Times ggml's matrix product, with and without repacking, as `lowbit bench --kernels` times lowbit's.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Sizes, outputs x inputs
    #[arg(long, value_delimiter = ',', default_value = "4096x4096,11008x4096,4096x11008", value_parser = size)]
    shape: Vec<(usize, usize)>,
    /// Types of weights
    #[arg(long, value_delimiter = ',', default_values = TYPES.map(|(name, _)| name))]
    format: Vec<String>,
    /// Numbers of tokens
    #[arg(long, value_delimiter = ',', default_value = "1,8,256")]
    tokens: Vec<usize>,
    /// Thread counts
    #[arg(short, long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Rounds
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Read weights from memory: take turns with copies of more than twice the last cache
    #[arg(long)]
    cold: bool,
}

fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once('x').and_then(|(n, k)| Some((n.parse().ok()?, k.parse().ok()?)));
    sides.filter(|(n, k)| *n > 0 && *k > 0).ok_or_else(|| format!("{text} is no size such as 4096x4096"))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cold = if arguments.cold { 2 * last_cache()? } else { 0 };
    println!(
        "{:<12} {:<6} {:<8} {:>6} {:>7} {:>11} {:>7} {:>9}",
        "size", "format", "weights", "tokens", "threads", "median us", "GB/s", "G MAC/s"
    );
    for &(n, k) in &arguments.shape {
        for format in &arguments.format {
            let known = TYPES.iter().find(|(name, _)| name == format);
            let (_, kind) = *known.with_context(|| {
                format!("no format {format}; there are {}", TYPES.map(|(name, _)| name).join(", "))
            })?;
            for (weights, label) in [(Weights::Repacked, "repacked"), (Weights::AsStored, "stored")] {
                for &threads in &arguments.threads {
                    for &tokens in &arguments.tokens {
                        let options = ProductOptions { n, k, tokens, kind, weights, cold, threads };
                        let Some(mut product) = Product::new(&options)? else { continue };
                        let us = time(&mut product, arguments.rounds)?;
                        let (gb, macs) =
                            (product.bytes() as f64 / us / 1e3, (n * k * tokens) as f64 / us / 1e3);
                        println!(
                            "{:<12} {format:<6} {label:<8} {tokens:>6} {threads:>7} {us:>11.1} {gb:>7.2} {macs:>9.1}",
                            format!("{n}x{k}")
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

/// Median of all products of all rounds, in microseconds. Where there is one copy, the first of a round is not counted.
fn time(product: &mut Product, rounds: u32) -> Result<f64> {
    let warm = product.copies() == 1;
    for _ in 0..product.copies() {
        product.multiply()?;
    }
    let mut times = Vec::new();
    for _ in 0..rounds {
        if warm {
            product.multiply()?;
        }
        let mut spent = Duration::ZERO;
        while spent < ROUND {
            let start = Instant::now();
            product.multiply()?;
            let time = start.elapsed();
            spent += time;
            times.push(time.as_secs_f64() * 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Bytes of the cache before memory.
fn last_cache() -> Result<usize> {
    let last = (0..8).rev().find_map(|level| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size");
        std::fs::read_to_string(path).ok()?.trim().strip_suffix('K')?.parse::<usize>().ok()
    });
    Ok(1024 * last.context("--cold: this system does not tell how large its caches are")?)
}
