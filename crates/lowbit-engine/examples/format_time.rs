//! Times one product of one token for several formats, in turns, as models have them: weights from memory, kernels by the
//! planner, activations from floats. `format_time N K THREADS LEVEL FORMAT...`, for example
//! `cargo run --release -p lowbit-engine --example format_time -- 4096 4096 2 avx512 int4-sym-g64 int4-asym-c64`.
//!
//! Prints for every format the median over rounds, what a second reads of stored weights, and how that compares with the
//! first format.

use lowbit_engine::synth::random_tensor;
use lowbit_format::{NK, WeightSpec};
use lowbit_kernels::{Act, ActRounding, Arranged, Ctx, Isa, IsaLevel, MatMut, MatRef, Planner};
use std::time::Instant;

/// Bytes of copies of a weight, more than caches keep of it.
const COPIES: usize = 128 << 20;

const ROUNDS: usize = 15;

struct Subject<'a> {
    format: &'a String,
    stored: usize,
    copies: Vec<Arranged>,
    seconds: Vec<f64>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [n, k, threads, level, formats @ ..] = &args[..] else {
        panic!("usage: format_time N K THREADS LEVEL FORMAT..., given {args:?}");
    };
    let number = |text: &String| text.parse::<usize>().unwrap_or_else(|_| panic!("{text:?} is no number"));
    let shape = NK { n: number(n), k: number(k) };
    let level = IsaLevel::parse(level).unwrap_or_else(|| panic!("{level:?} is no level"));
    let ctx = Ctx::new(Isa::detect().at_most(level), number(threads));
    let mut subjects: Vec<Subject<'_>> = formats
        .iter()
        .map(|format| {
            let spec = WeightSpec::parse(format).unwrap_or_else(|error| panic!("{error}"));
            let w = random_tensor(&spec, shape, 0).unwrap_or_else(|error| panic!("{error}"));
            let arranged = || Arranged::new(&ctx, &w, &Planner::new(), Some(ActRounding::Group32Twice));
            let copies = (0..COPIES.div_ceil(w.bytes())).map(|_| arranged()).collect();
            Subject { format, stored: w.bytes(), copies, seconds: Vec::new() }
        })
        .collect();
    let x: Vec<f32> = (0..shape.k).map(|k| (k as f32).sin()).collect();
    let x = MatRef::new(&x, 1, shape.k);
    let mut out = vec![0.0; shape.n];
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            let start = Instant::now();
            for w in &subject.copies {
                w.multiply(&ctx, &Act::new(x), MatMut::new(&mut out, 1, shape.n));
            }
            subject.seconds.push(start.elapsed().as_secs_f64() / subject.copies.len() as f64);
        }
    }
    println!("{shape}, 1 token, {} threads, {}", ctx.threads(), ctx.isa().level());
    let mut first = None;
    for subject in &mut subjects {
        subject.seconds.sort_by(f64::total_cmp);
        let seconds = subject.seconds[ROUNDS / 2];
        let rate = subject.stored as f64 / seconds / 1e9;
        let first = *first.get_or_insert(rate);
        println!(
            "  {:48} {:14} {:6.3} bits in memory {:8.1} µs {:6.1} GB/s stored, {:.2}",
            subject.format,
            subject.copies[0].plan().kernel(1).name,
            subject.copies[0].bytes() as f64 * 8.0 / shape.weights() as f64,
            seconds * 1e6,
            rate,
            rate / first,
        );
    }
}
