//! Times products by look-up: `lut_time N K FORMAT TOKENS THREADS LEVEL`, for example
//! `cargo run --release -p lowbit-kernels --example lut_time -- 4096 4096 int2-sym-g128 1 1 avx2`.
//!
//! Prints the minimum and the median of some hundred products, and bits stored for a weight. `cached` activations are the
//! same in every product, whose tables are made once; otherwise each product rounds activations and makes tables anew.

use lowbit_format::{NK, QuantTensor, WeightSpec};
use lowbit_kernels::{
    Act, ActRounding, Ctx, Isa, IsaLevel, Lookup, LutWeights, MatMut, MatRef, TableBits, Tables,
};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [n, k, format, tokens, threads, level] = &args[..] else {
        panic!("usage: lut_time N K FORMAT TOKENS THREADS LEVEL, given {args:?}");
    };
    let number = |text: &String| text.parse::<usize>().unwrap_or_else(|_| panic!("{text:?} is no number"));
    let (n, k, m) = (number(n), number(k), number(tokens));
    let spec = WeightSpec::parse(format).unwrap_or_else(|error| panic!("{error}"));
    let level = IsaLevel::parse(level).unwrap_or_else(|| panic!("{level:?} is no level"));
    let ctx = Ctx::new(Isa::detect().at_most(level), number(threads));

    let values = |len: usize, seed: u64| -> Vec<f32> {
        let mixed =
            |i: u64| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xbf58_476d);
        (0..len as u64).map(|i| (mixed(i) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
    };
    let w =
        QuantTensor::quantize_nearest(&spec, &values(n * k, 1), NK { n, k }).expect("weights of the format");
    let lut = LutWeights::new(&ctx, &w)
        .unwrap_or_else(|| panic!("{format} has no tables at {}", ctx.isa().level()));
    let x = values(m * k, 2);
    let x = MatRef::new(&x, m, k);
    let mut out = vec![0f32; m * n];
    println!(
        "{n}x{k} {format}, {m} tokens, {} threads, {}: {:.3} bits a weight",
        ctx.threads(),
        ctx.isa().level(),
        lut.bytes() as f64 * 8.0 / (n * k) as f64
    );
    let tables = if m <= 4 { Tables::Once } else { Tables::Tiled };
    let show = |(least, median): (f64, f64)| {
        format!("min {least:.1} median {median:.1} µs, {:.0} G MAC/s", (m * n * k) as f64 / median / 1e3)
    };
    for bits in TableBits::ALL {
        let how = Lookup { bits, tables };
        let cached = Act::new(x);
        let anew = median(|| lut.multiply(&ctx, &Act::new(x), how, MatMut::new(&mut out, m, n)));
        let again = median(|| lut.multiply(&ctx, &cached, how, MatMut::new(&mut out, m, n)));
        println!("  tables of {bits:?}: {}; cached {}", show(anew), show(again));
    }
    for rounding in [ActRounding::Group32, ActRounding::Group32Twice] {
        if lut.can_expand(level) {
            let time =
                median(|| lut.multiply_expanded(&ctx, &Act::new(x), rounding, MatMut::new(&mut out, m, n)));
            println!("  expanded, {} terms: {}", rounding.terms(), show(time));
        }
    }
}

/// Minimum and median, in microseconds, of as many calls as half a second has.
fn median(mut call: impl FnMut()) -> (f64, f64) {
    let (mut times, all) = (Vec::new(), Instant::now());
    while times.len() < 11 || all.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}
