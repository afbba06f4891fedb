//! One product of one token, for counting its instructions: `instructions FORMAT int8|int16 LEVEL`.
//!
//! `cargo run -p xtask -- instructions` runs it under callgrind, which counts what [`measured`] does, and looks at its
//! disassembly for what callgrind cannot run. Prints the number of weights. Weights are arranged and tables made before.

use lowbit_format::{NK, QuantTensor, Storage, WeightSpec};
use lowbit_kernels::{Act, ActRounding, Arranged, Ctx, Isa, IsaLevel, MatMut, MatRef, Planner};

const SHAPE: NK = NK { n: 256, k: 1024 };

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [format, activations, level] = &args[..] else {
        panic!("usage: instructions FORMAT int8|int16 LEVEL, given {args:?}");
    };
    let spec = WeightSpec::parse(format).unwrap_or_else(|error| panic!("{error}"));
    let rounding = match activations.as_str() {
        "int8" => ActRounding::Group32,
        "int16" => ActRounding::Group32Twice,
        other => panic!("{other:?} is neither int8 nor int16"),
    };
    let level = IsaLevel::parse(level).unwrap_or_else(|| panic!("{level:?} is no level"));
    let isa = Isa::detect().at_most(level);
    assert_eq!(isa.level(), level, "this CPU has no more");

    let ctx = Ctx::new(isa, 1);
    let w = Arranged::new(&ctx, &weights(&spec), &Planner::new(), Some(rounding));
    let x: Vec<f32> = (0..SHAPE.k as u64).map(number).collect();
    let x = Act::new(MatRef::new(&x, 1, SHAPE.k));
    w.prepare(&ctx, &x);
    let mut out = vec![0.0; SHAPE.n];
    measured(&ctx, &w, &x, &mut out);
    assert!(out.iter().all(|y| y.is_finite()));
    println!("{}", SHAPE.weights());
}

/// What is counted.
#[inline(never)]
fn measured(ctx: &Ctx, w: &Arranged, x: &Act<'_>, out: &mut [f32]) {
    w.multiply(ctx, x, MatMut::new(out, 1, SHAPE.n));
}

/// Random weights; of blocks the bytes, with scales that are finite.
fn weights(spec: &WeightSpec) -> QuantTensor {
    let tensor = match spec {
        WeightSpec::Block(format) => {
            let layout = format.layout();
            let mut bytes: Vec<u8> = (0..SHAPE.weights() / layout.weights * layout.bytes)
                .map(|i| number(i as u64).to_bits() as u8)
                .collect();
            for block in bytes.chunks_exact_mut(layout.bytes) {
                format.scale_bits(0.01).into_iter().for_each(|bits| bits.put(block));
            }
            QuantTensor::from_blocks(*format, SHAPE, Storage::from(bytes))
        }
        _ => {
            let values: Vec<f32> = (0..SHAPE.weights() as u64).map(number).collect();
            QuantTensor::quantize_nearest(spec, &values, SHAPE)
        }
    };
    tensor.unwrap_or_else(|error| panic!("{error}"))
}

/// In [-1, 1), from its index.
fn number(i: u64) -> f32 {
    let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z >> 40) as f32 / 8_388_608.0 - 1.0
}
