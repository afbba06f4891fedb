//! Times every kernel that computes a product, as `lowbit tune` does, from memory and activations as floats:
//! `kernel_time N K FORMAT TOKENS THREADS LEVEL [ROUNDS]`, for example
//! `cargo run --release -p lowbit-kernels --example kernel_time -- 4096 4096 int8-sym-g128 1 1 avx512`.
//!
//! Prints the median over rounds of each kernel's best time, what of the weights that reads a second, and its share of the
//! most 8-bit products that the level makes.

use lowbit_format::{NK, QuantTensor, Storage, WeightSpec};
use lowbit_kernels::{ActRounding, Ctx, Isa, IsaLevel, KERNELS, Subject, TokenBucket, dot_peak};
use std::collections::BTreeMap;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (fixed, rounds) = args.split_at(args.len().min(6));
    let [n, k, format, tokens, threads, level] = fixed else {
        panic!("usage: kernel_time N K FORMAT TOKENS THREADS LEVEL [ROUNDS], given {args:?}");
    };
    let number = |text: &String| text.parse::<usize>().unwrap_or_else(|_| panic!("{text:?} is no number"));
    let rounds = rounds.first().map_or(5, number);
    let shape = NK { n: number(n), k: number(k) };
    let tokens = TokenBucket::of(number(tokens));
    let spec = WeightSpec::parse(format).unwrap_or_else(|error| panic!("{error}"));
    let level = IsaLevel::parse(level).unwrap_or_else(|| panic!("{level:?} is no level"));
    let ctx = Ctx::new(Isa::detect().at_most(level), number(threads));
    let w = weights(&spec, shape);
    let m = tokens.typical();
    println!("{shape} {format}, {m} tokens, {} threads, {}", ctx.threads(), ctx.isa().level());
    for rounding in [ActRounding::Group32, ActRounding::Group32Twice, ActRounding::Token] {
        let subject = Subject::new(&ctx, &w, Some(rounding));
        let (mut times, mut peaks) = (BTreeMap::new(), Vec::new());
        for _ in 0..rounds {
            for timing in subject.measure(&ctx, tokens, &|| false).expect("nothing stops it") {
                times.entry(timing.card.name).or_insert_with(Vec::new).push(timing.seconds);
            }
            peaks.push(dot_peak(&ctx, 5).median_g_mac_per_s);
        }
        let peak = median(&mut peaks);
        for card in KERNELS {
            let Some(times) = times.get_mut(card.name) else { continue };
            let seconds = median(times);
            let rate = (m * shape.weights()) as f64 / seconds / 1e9;
            println!(
                "  {:14} {:24} {:9.1} µs {:6.1} GB/s {:6.1} G MAC/s, {:3.0} % of {peak:.0}",
                ActRounding::label(Some(rounding)),
                card.name,
                seconds * 1e6,
                w.bytes() as f64 / seconds / 1e9,
                rate,
                100.0 * rate / peak,
            );
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Random weights; of blocks the bytes, with scales that are finite.
fn weights(spec: &WeightSpec, shape: NK) -> QuantTensor {
    let tensor = match spec {
        WeightSpec::Block(format) => {
            let layout = format.layout();
            let mut bytes: Vec<u8> = (0..shape.weights() / layout.weights * layout.bytes)
                .map(|i| random(i as u64).to_bits() as u8)
                .collect();
            for block in bytes.chunks_exact_mut(layout.bytes) {
                format.scale_bits(0.01).into_iter().for_each(|bits| bits.put(block));
            }
            QuantTensor::from_blocks(*format, shape, Storage::from(bytes))
        }
        _ => {
            let values: Vec<f32> = (0..shape.weights() as u64).map(random).collect();
            QuantTensor::quantize_nearest(spec, &values, shape)
        }
    };
    tensor.unwrap_or_else(|error| panic!("{error}"))
}

/// In [-1, 1), from its index.
fn random(i: u64) -> f32 {
    let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z >> 40) as f32 / 8_388_608.0 - 1.0
}
