//! Laws that every kernel keeps, for every block format, level and awkward shape.

use lowbit_format::{BlockFormat, FloatFormat, NK, QuantTensor, Storage, WeightSpec};
use lowbit_kernels::{
    Act, ActPrecision, ActRounding, Codes, Ctx, Integers, Isa, IsaLevel, Lookup, LutWeights, MatMut, MatRef,
    Packed, PackedGroups, TableBits, Tables, mpgemm, reference,
};

const ROUNDINGS: [ActRounding; 6] = [
    ActRounding::Group32,
    ActRounding::Group32Twice,
    ActRounding::Gguf32,
    ActRounding::Gguf256,
    ActRounding::Token,
    ActRounding::Token4,
];

/// Numbers in [-1, 1) from a seed.
fn values(len: usize, seed: u64) -> Vec<f32> {
    bits(len, seed).map(|b| (b >> 40) as f32 / 8_388_608.0 - 1.0).collect()
}

fn bits(len: usize, seed: u64) -> impl Iterator<Item = u64> {
    (0..len as u64).map(move |i| {
        let mut z = i.wrapping_add(seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A tensor of random blocks whose scales are finite: bytes are redrawn until every weight decodes to one.
fn random_blocks(format: BlockFormat, shape: NK, seed: u64) -> QuantTensor {
    let layout = format.layout();
    let mut bytes = Vec::new();
    let mut draw = seed << 20;
    while bytes.len() < shape.weights() / layout.weights * layout.bytes {
        draw += 1;
        let block: Vec<u8> = bits(layout.bytes, draw).map(|b| b as u8).collect();
        let one = NK { n: 1, k: layout.weights };
        let tensor = QuantTensor::from_blocks(format, one, Storage::from(block.clone())).unwrap();
        let mut row = vec![0.0; layout.weights];
        tensor.decode_row(0, &mut row);
        if row.iter().all(|w| w.is_finite() && w.abs() < 1e4) {
            bytes.extend(block);
        }
    }
    let tensor_scale = if layout.tensor_scale { 0.37 } else { 1.0 };
    QuantTensor::from_scaled_blocks(format, shape, Storage::from(bytes), tensor_scale).unwrap()
}

/// The levels under test: all of the CPU's, or those that the environment allows.
fn levels() -> Vec<Isa> {
    let limit = std::env::var("LOWBIT_ISA")
        .ok()
        .map(|name| IsaLevel::parse(&name).expect("LOWBIT_ISA names a level"));
    Isa::available().filter(|isa| limit.is_none_or(|limit| isa.level() <= limit)).collect()
}

/// One and three workers on every level, made once a test: starting threads is slow where the processor is emulated.
fn contexts() -> Vec<Ctx> {
    levels().into_iter().flat_map(|isa| [1, 3].map(|threads| Ctx::new(isa, threads))).collect()
}

fn product(isa: Isa, threads: usize, w: &QuantTensor, x: MatRef<'_>, precision: ActPrecision) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.rows() * w.shape().n];
    let ctx = Ctx::new(isa, threads);
    mpgemm(&ctx, w, &Act::new(x), precision, MatMut::new(&mut out, x.rows(), w.shape().n));
    out
}

#[test]
fn integer_products_equal_the_reference_bit_for_bit_on_every_level() {
    let mut failures = Vec::new();
    for format in BlockFormat::ALL {
        let unit = format.layout().weights;
        for (n, blocks, m) in
            [(1, 1, 1), (16, 2, 1), (17, 3, 2), (33, 1, 3), (5, 5, 13), (48, 2, 8), (16, 1100 / unit + 1, 5)]
        {
            let w = random_blocks(*format, NK { n, k: blocks * unit }, n as u64);
            let x = values(m * w.shape().k, 7);
            let x = MatRef::new(&x, m, w.shape().k);
            for rounding in ROUNDINGS {
                let precision = ActPrecision::Int8(rounding);
                let want = reference::mpgemm(&w, x, precision);
                for isa in levels() {
                    for threads in [1, 3] {
                        if product(isa, threads, &w, x, precision) != want {
                            failures.push(format!(
                                "{} {} {threads} threads, {m} tokens, {}",
                                format.label(),
                                isa.level(),
                                w.shape()
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Packing changes the order in memory and nothing else, and takes no more memory than the stored blocks do.
#[test]
fn packed_products_equal_the_reference_bit_for_bit_on_every_level() {
    let contexts = contexts();
    let mut failures = Vec::new();
    let mut packed_formats = 0;
    for format in BlockFormat::ALL {
        let unit = format.layout().weights;
        let long = 1100 / unit + 1;
        for (n, blocks, m) in [
            (1, 1, 1),
            (16, 2, 1),
            (17, 3, 2),
            (33, 1, 3),
            (5, 5, 13),
            (48, 2, 8),
            (100, long, 1),
            (20, 2 * long, 7),
        ] {
            let w = random_blocks(*format, NK { n, k: blocks * unit }, n as u64);
            let Some(packed) = Packed::new(&Ctx::new(Isa::detect(), 2), &w) else { continue };
            packed_formats += 1;
            if n % 16 == 0 {
                assert!(packed.bytes() <= w.bytes() + 128, "{}: {} bytes", format.label(), packed.bytes());
            }
            let x = values(m * w.shape().k, 7);
            let x = MatRef::new(&x, m, w.shape().k);
            for rounding in ROUNDINGS {
                let want = reference::mpgemm(&w, x, ActPrecision::Int8(rounding));
                for ctx in &contexts {
                    // Few tokens are for registers, more for memory.
                    let codes = if m < 4 { Codes::InRegisters } else { Codes::Expanded };
                    let mut out = vec![f32::NAN; m * n];
                    let how = Integers { rounding, codes };
                    packed.multiply(ctx, &Act::new(x), how, MatMut::new(&mut out, m, n));
                    if out != want {
                        let (format, level) = (format.label(), ctx.isa().level());
                        failures.push(format!("{format} {level} {m} tokens, {}", w.shape()));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(packed_formats, 8 * 22, "every format with a code for each weight is packed");
}

/// Grouped integers of every width and zero point and numbers of tables, groups that are too small for the integer kernels included, on
/// rows that are no whole number of groups.
#[test]
fn grouped_products_equal_the_reference_bit_for_bit_on_every_level() {
    let mut labels: Vec<String> = [
        "ternary-tensor-f32",
        "int4-asym-g32-int6-g256",
        "nf4-g64-f32",
        "fp4-g32-f32",
        "nf4-row",
        "e4m3-tensor-f32",
        "e4m3-row-bf16",
        "e4m3-g128-f32",
    ]
    .map(str::to_owned)
    .into();
    for bits in 1..=8 {
        for tail in ["sym-g16", "asym-g32", "fzero-g64", "sym-row", "asym-tensor", "asym-g20", "sym-g128-f32"]
        {
            labels.push(format!("int{bits}-{tail}"));
        }
    }
    let mut failures = Vec::new();
    for label in &labels {
        let spec = WeightSpec::parse(label).unwrap();
        for (n, k, m) in [(1, 32, 1), (17, 100, 3), (33, 256, 9), (16, 340, 1)] {
            let w = QuantTensor::quantize_nearest(&spec, &values(n * k, 21), NK { n, k }).unwrap();
            let x = values(m * k, 22);
            let x = MatRef::new(&x, m, k);
            let precision = ActPrecision::Int8(ActRounding::Group32);
            let want = reference::mpgemm(&w, x, precision);
            for isa in levels() {
                if product(isa, 2, &w, x, precision) != want {
                    failures.push(format!("{label} {} {m} tokens, {}", isa.level(), w.shape()));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Rounding an activation to 8 bits moves it by at most half a step `d`; the rest is f32 arithmetic on at most
/// `2 K / 16 + 3` terms. Both sums are bounded by the weights' magnitudes.
#[test]
fn integer_products_lie_within_the_bound_of_their_roundings() {
    for format in BlockFormat::ALL {
        let (n, m) = (9, 3);
        let w = random_blocks(*format, NK { n, k: 2 * format.layout().weights }, 3);
        let k = w.shape().k;
        let x = values(m * k, 5);
        let exact = reference::mpgemm_f64(&w, MatRef::new(&x, m, k));
        let got =
            product(Isa::detect(), 1, &w, MatRef::new(&x, m, k), ActPrecision::Int8(ActRounding::Group32));
        let mut row = vec![0.0; k];
        for r in 0..n {
            w.decode_row(r, &mut row);
            for t in 0..m {
                let x = &x[t * k..][..k];
                let mut bound = 0.0;
                for (w, x) in row.chunks(32).zip(x.chunks(32)) {
                    let d = f64::from(x.iter().fold(0f32, |a, x| a.max(x.abs()))) / 127.0;
                    let magnitude: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
                    // Codes and offsets may cancel in a weight; their terms are at most 512 times its scale each.
                    bound += magnitude * d * 0.5001 + 1e-5 * magnitude.max(1.0);
                }
                let error = (f64::from(got[t * n + r]) - exact[t * n + r]).abs();
                assert!(error <= bound * 1.01, "{}: {error} > {bound}", format.label());
            }
        }
    }
}

/// A second term leaves at most 1/254 of the first one's error, so two together lie within what f32 arithmetic adds.
#[test]
fn two_terms_are_a_hundred_times_closer_than_one() {
    for format in [BlockFormat::Q4_1, BlockFormat::Q8_0, BlockFormat::Q6_K] {
        let w = random_blocks(format, NK { n: 32, k: 512 }, 4);
        let x = values(512, 6);
        let x = MatRef::new(&x, 1, 512);
        let exact = reference::mpgemm_f64(&w, x);
        let error = |rounding| {
            let got = product(Isa::detect(), 1, &w, x, ActPrecision::Int8(rounding));
            got.iter().zip(&exact).map(|(y, e)| (f64::from(*y) - e).powi(2)).sum::<f64>().sqrt()
        };
        let (one, two) = (error(ActRounding::Group32), error(ActRounding::Group32Twice));
        assert!(two < one / 100.0, "{}: {two} against {one}", format.label());
    }
}

#[test]
fn float_products_equal_the_reference_bit_for_bit_on_every_level() {
    for (n, k, m) in [(1, 1, 1), (33, 172, 5), (70, 64, 1)] {
        let floats = values(n * k, 11);
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        let w = QuantTensor::from_floats(FloatFormat::F32, NK { n, k }, Storage::from(bytes)).unwrap();
        let x = values(m * k, 13);
        let x = MatRef::new(&x, m, k);
        let want = reference::mpgemm(&w, x, ActPrecision::Float);
        for isa in levels() {
            assert_eq!(product(isa, 2, &w, x, ActPrecision::Float), want, "{} {n}x{k}", isa.level());
        }
    }
    let w = random_blocks(BlockFormat::Q4_1, NK { n: 5, k: 64 }, 1);
    let x = values(64, 2);
    let x = MatRef::new(&x, 1, 64);
    for isa in levels() {
        assert_eq!(
            product(isa, 1, &w, x, ActPrecision::Float),
            reference::mpgemm(&w, x, ActPrecision::Float)
        );
    }
}

#[test]
fn all_zero_activations_give_zero() {
    for format in BlockFormat::ALL {
        let w = random_blocks(*format, NK { n: 4, k: 256 }, 9);
        let x = vec![0.0; 256];
        for isa in levels() {
            let out = product(isa, 1, &w, MatRef::new(&x, 1, 256), ActPrecision::Int8(ActRounding::Group32));
            assert!(out.iter().all(|y| *y == 0.0), "{} {}", format.label(), isa.level());
        }
    }
}

/// Every format that has tables: widths, zero points, group sizes, row ends, more rows than a panel, more tokens than a tile.
#[test]
fn looked_up_products_equal_the_reference_bit_for_bit_on_every_level() {
    let mut labels: Vec<String> =
        ["ternary-tensor-f32", "ternary-row", "ternary-g128", "ternary-g256"].map(str::to_owned).into();
    for bits in 1..=4 {
        for tail in [
            "sym-g32",
            "asym-g32",
            "fzero-g64",
            "sym-row",
            "asym-tensor",
            "asym-g60",
            "sym-g128-f32",
            "fzero-g1024",
        ] {
            labels.push(format!("int{bits}-{tail}"));
        }
    }
    let mut failures = Vec::new();
    for label in &labels {
        let spec = WeightSpec::parse(label).unwrap();
        for (n, k, m) in [(1, 32, 1), (65, 100, 3), (64, 1030, 9), (130, 2600, 1), (16, 340, 2)] {
            let w = QuantTensor::quantize_nearest(&spec, &values(n * k, 31), NK { n, k }).unwrap();
            let x = values(m * k, 32);
            let x = MatRef::new(&x, m, k);
            for isa in levels() {
                for bits in TableBits::ALL {
                    let Some(want) = reference::lut(isa, &w, x, bits) else { continue };
                    for threads in [1, 3] {
                        let ctx = Ctx::new(isa, threads);
                        let lut = LutWeights::new(&ctx, &w).expect("the reference has tables");
                        let tables = if m < 4 { Tables::Once } else { Tables::Tiled };
                        let mut out = vec![f32::NAN; m * n];
                        let how = Lookup { bits, tables };
                        lut.multiply(&ctx, &Act::new(x), how, MatMut::new(&mut out, m, n));
                        if out != want {
                            failures.push(format!(
                                "{label} {} {bits:?} {m} tokens, {}",
                                isa.level(),
                                w.shape()
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} {failures:#?}", failures.len());
}

/// Every width, zero point and kind of group that is packed by groups: row ends, more panels than are multiplied at once,
/// more tokens than are; and no more memory than is stored but for what fills the last chunk, headers and a byte for a
/// zero point.
#[test]
fn packed_groups_equal_the_reference_bit_for_bit_on_every_level() {
    let contexts = contexts();
    let mut failures = Vec::new();
    for bits in 2..=8 {
        for tail in [
            "sym-g32",
            "asym-g64",
            "fzero-g128",
            "sym-row",
            "asym-tensor",
            "asym-g160-f32",
            "fzero-g1024-f32",
        ] {
            let label = format!("int{bits}-{tail}");
            let spec = WeightSpec::parse(&label).unwrap();
            for (n, k, m) in
                [(1, 32, 1), (17, 100, 3), (64, 1030, 9), (150, 2600, 1), (80, 340, 6), (200, 96, 2)]
            {
                let w = QuantTensor::quantize_nearest(&spec, &values(n * k, 51), NK { n, k }).unwrap();
                let packed =
                    PackedGroups::new(&Ctx::new(Isa::detect(), 2), &w).expect("groups of the format");
                let (panels, scales) = (n.div_ceil(16), n.div_ceil(16) * 16 * k.div_ceil(32));
                let most = w.bytes() * panels * 16 * k.next_multiple_of(32) / (n * k) + scales + panels * 512;
                assert!(packed.bytes() <= most, "{label} {n}x{k}: {} of {most} bytes", packed.bytes());
                let x = values(m * k, 52);
                let x = MatRef::new(&x, m, k);
                for rounding in
                    [ActRounding::Group32, ActRounding::Group32Twice, ActRounding::Token, ActRounding::Token4]
                {
                    let want = reference::groups(&w, x, rounding).expect("groups of the format");
                    for ctx in &contexts {
                        for codes in [Codes::InRegisters, Codes::Expanded] {
                            let mut out = vec![f32::NAN; m * n];
                            let how = Integers { rounding, codes };
                            packed.multiply(ctx, &Act::new(x), how, MatMut::new(&mut out, m, n));
                            if out != want {
                                failures.push(format!(
                                    "{label} {} {codes:?} {rounding:?} {m} tokens, {n}x{k}",
                                    ctx.isa().level()
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} {failures:#?}", failures.len());
}

/// Rounding an activation moves it by at most half a step, of its group's largest or its token's; a second term leaves a
/// 254th of that. The rest is f32 arithmetic on three terms a group.
#[test]
fn packed_groups_lie_within_the_bound_of_their_roundings() {
    for label in ["int8-sym-g128", "int8-sym-row", "int8-asym-g64", "int5-asym-g32", "int6-fzero-row"] {
        let (n, k) = (20, 1000);
        let spec = WeightSpec::parse(label).unwrap();
        let w = QuantTensor::quantize_nearest(&spec, &values(n * k, 61), NK { n, k }).unwrap();
        let packed = PackedGroups::new(&Ctx::new(Isa::detect(), 1), &w).unwrap();
        let x = values(k, 62);
        let largest = x.iter().fold(0f32, |a, x| a.max(x.abs()));
        let exact = reference::mpgemm_f64(&w, MatRef::new(&x, 1, k));
        for (rounding, worth) in [
            (ActRounding::Group32, 1.0),
            (ActRounding::Token, 1.0),
            (ActRounding::Token4, 127.0 / 7.0),
            (ActRounding::Group32Twice, 1.0 / 254.0),
        ] {
            let mut out = vec![f32::NAN; n];
            let how = Integers { rounding, codes: Codes::InRegisters };
            let act = Act::new(MatRef::new(&x, 1, k));
            packed.multiply(&Ctx::new(Isa::detect(), 1), &act, how, MatMut::new(&mut out, 1, n));
            let mut row = vec![0.0; k];
            for r in 0..n {
                w.decode_row(r, &mut row);
                let magnitude: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
                // A code and its offset may cancel; they are at most 256 steps of weights that use most of these.
                let arithmetic = 1e-5 * magnitude;
                let bound = magnitude * f64::from(largest) / 254.0 * worth * 1.001 + arithmetic;
                let error = (f64::from(out[r]) - exact[r]).abs();
                assert!(error <= bound, "{label} {rounding:?} row {r}: {error} > {bound}");
            }
        }
    }
}

/// Activations in 4 bits are what floats say they are: x to the nearest of 15 values, the largest of which is max|x|, then a
/// product in double precision. What lies between is f32 arithmetic on the terms of the groups.
#[test]
fn products_with_activations_in_4_bits_are_those_of_floats_that_were_rounded_before() {
    let (n, k, m) = (20, 1000, 5);
    let x = values(m * k, 62);
    let mut rounded = Vec::new();
    for row in x.chunks_exact(k) {
        let d = row.iter().fold(0f32, |a, x| a.max(x.abs())) / 7.0;
        let codes = row.iter().map(|x| (x / d).round_ties_even());
        assert!(codes.clone().all(|code| (-7.0..=7.0).contains(&code)));
        rounded.extend(codes.map(|code| code * d));
    }
    let x = MatRef::new(&x, m, k);
    for label in ["int4-asym-g128", "int4-sym-row", "int8-asym-g64", "int3-fzero-g32", "ternary-row"] {
        let spec = WeightSpec::parse(label).unwrap();
        let w = QuantTensor::quantize_nearest(&spec, &values(n * k, 61), NK { n, k }).unwrap();
        let got = product(Isa::detect(), 1, &w, x, ActPrecision::Int8(ActRounding::Token4));
        let want = reference::mpgemm_f64(&w, MatRef::new(&rounded, m, k));
        let mut row = vec![0.0; k];
        for r in 0..n {
            w.decode_row(r, &mut row);
            let magnitude: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
            for t in 0..m {
                let largest = x.row(t).iter().fold(0f32, |a, x| a.max(x.abs()));
                let error = (f64::from(got[t * n + r]) - want[t * n + r]).abs();
                assert!(error <= 1e-5 * magnitude * f64::from(largest), "{label} {t} {r}: {error}");
            }
        }
    }
}

/// Tables of 16 bits give the same sums on every level; only those of 8 depend on how many activations an entry adds.
#[test]
fn tables_of_sixteen_bits_give_the_same_on_every_level() {
    for label in ["int1-sym-g128", "int2-asym-g128", "int3-fzero-g64", "int4-sym-row"] {
        let spec = WeightSpec::parse(label).unwrap();
        let (n, k) = (70, 512);
        let w = QuantTensor::quantize_nearest(&spec, &values(n * k, 41), NK { n, k }).unwrap();
        let x = values(k, 42);
        let x = MatRef::new(&x, 1, k);
        let want = reference::lut(Isa::SCALAR, &w, x, TableBits::Sixteen);
        for isa in levels() {
            assert_eq!(reference::lut(isa, &w, x, TableBits::Sixteen), want, "{label} {}", isa.level());
        }
    }
}
