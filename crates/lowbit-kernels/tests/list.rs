//! Every kernel of the list, held against the reference on awkward shapes, through the plan of a weight as models use it.

use lowbit_format::{GroupShape, NK, QuantTensor, Storage, WeightSpec, all_specs};
use lowbit_kernels::{
    Act, ActPrecision, ActRounding, Arranged, Ctx, Isa, IsaLevel, KERNELS, KernelCard, Lookup, MatMut,
    MatRef, Method, PlanKey, Planner, Query, Record, Timing, TokenBucket, WeightLayout, reference,
};
use std::collections::BTreeSet;

/// Numbers in [-1, 1) from a seed.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mixed = |i: u64| {
        (i ^ (seed << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xbf58_476d)
    };
    (0..len as u64).map(|i| (mixed(i) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
}

/// A tensor with weights of a format; blocks of zeros but for one byte in eight, so that scales are finite and small.
fn tensor(spec: &WeightSpec, shape: NK) -> QuantTensor {
    let NK { n, k } = shape;
    match spec {
        WeightSpec::Block(format) => {
            let layout = format.layout();
            let bytes = n * k / layout.weights * layout.bytes;
            let bytes: Vec<u8> =
                (0..bytes).map(|i| if i % 7 < 5 { (i * 31 % 61) as u8 } else { 0x11 }).collect();
            QuantTensor::from_blocks(*format, shape, Storage::from(bytes)).unwrap()
        }
        _ => QuantTensor::quantize_nearest(spec, &values(n * k, 3), shape).unwrap(),
    }
}

/// The levels under test: all of the CPU's, or those that the environment allows.
fn levels() -> Vec<Isa> {
    let limit = std::env::var("LOWBIT_ISA")
        .ok()
        .map(|name| IsaLevel::parse(&name).expect("LOWBIT_ISA names a level"));
    Isa::available().filter(|isa| limit.is_none_or(|limit| isa.level() <= limit)).collect()
}

/// What the reference makes of a product with the roundings of a kernel.
fn want(
    card: &KernelCard,
    isa: Isa,
    w: &QuantTensor,
    x: MatRef<'_>,
    rounding: Option<ActRounding>,
) -> Vec<f32> {
    match (card.method, rounding) {
        (Method::Lookup(Lookup { bits, .. }), _) => {
            reference::lut(isa, w, x, bits).expect("tables of the format")
        }
        (Method::Expand, Some(rounding)) if card.layout == WeightLayout::Planes => {
            reference::expanded_planes(isa, w, x, rounding).expect("bit planes of the format")
        }
        (_, Some(rounding)) if card.layout == WeightLayout::Groups => {
            reference::groups(w, x, rounding).expect("groups of the format")
        }
        (Method::Float, _) | (_, None) => reference::mpgemm(w, x, ActPrecision::Float),
        (_, Some(rounding)) => reference::mpgemm(w, x, ActPrecision::Int8(rounding)),
    }
}

/// A record that says a kernel is the fastest for a query, so that a planner chooses it and its layout.
fn in_favour_of(card: &'static KernelCard, q: &Query<'_>) -> Record {
    let mut record = Record::default();
    for tokens in TokenBucket::ALL {
        let q = q.at(tokens);
        let times = Planner::new().explain(&q).candidates.into_iter().map(|candidate| {
            let same_layout = candidate.card.layout == card.layout;
            let seconds = if candidate.card == card {
                1.0
            } else if same_layout {
                2.0
            } else {
                1000.0
            };
            Timing { card: candidate.card, seconds }
        });
        record.insert(PlanKey::from(&q), times.collect());
    }
    record
}

const ROUNDINGS: [Option<ActRounding>; 5] = [
    None,
    Some(ActRounding::Group32),
    Some(ActRounding::Group32Twice),
    Some(ActRounding::Token),
    Some(ActRounding::Token4),
];

/// Formats of every family, and shapes: more rows than any panel is wide, a row end within a group, one row, many tokens.
const CASES: [(&str, NK, usize); 16] = [
    ("int2-asym-g32", NK { n: 4097, k: 3 * 32 + 12 }, 1),
    ("int4-sym-g128", NK { n: 4097, k: 3 * 32 + 5 }, 3),
    ("int1-sym-row", NK { n: 1, k: 37 }, 300),
    ("int3-fzero-g64", NK { n: 70, k: 1100 }, 17),
    ("ternary-g128", NK { n: 65, k: 300 }, 64),
    ("int4-asym-g20", NK { n: 70, k: 130 }, 11),
    ("int8-sym-g32", NK { n: 33, k: 100 }, 9),
    ("int8-sym-g128", NK { n: 4097, k: 300 }, 1),
    ("int6-fzero-g64", NK { n: 150, k: 1000 }, 16),
    ("int8-asym-row", NK { n: 70, k: 600 }, 70),
    ("int5-asym-g20", NK { n: 33, k: 100 }, 2),
    ("q4_0", NK { n: 4097, k: 96 }, 2),
    ("q6_k", NK { n: 17, k: 512 }, 16),
    ("iq2_xxs", NK { n: 17, k: 256 }, 1),
    ("iq2_xxs", NK { n: 17, k: 256 }, 66),
    ("bf16", NK { n: 70, k: 101 }, 5),
];

#[test]
fn every_kernel_of_the_list_can_be_selected_and_equals_the_reference_bit_for_bit() {
    let (mut failures, mut ran) = (Vec::new(), BTreeSet::new());
    for (label, shape, m) in CASES {
        let spec = WeightSpec::parse(label).unwrap();
        let w = tensor(&spec, shape);
        let x = values(m * shape.k, 5);
        let x = MatRef::new(&x, m, shape.k);
        for (isa, rounding) in levels().into_iter().flat_map(|isa| ROUNDINGS.map(|rounding| (isa, rounding)))
        {
            let (threads, tokens) = (2, TokenBucket::of(m));
            let q = Query { spec: &spec, shape, tokens, rounding, isa: isa.level(), threads };
            let ctx = Ctx::new(isa, threads);
            for card in KERNELS.iter().filter(|card| card.accepts(&q).is_ok()) {
                let record = in_favour_of(card, &q);
                let arranged = Arranged::new(&ctx, &w, &Planner::with_record(&record), rounding);
                assert_eq!(arranged.plan().kernel(m), card, "{label}: the kernel that the record prefers");
                let mut out = vec![f32::NAN; m * shape.n];
                let x = Act::new(x);
                arranged.prepare(&ctx, &x);
                arranged.multiply(&ctx, &x, MatMut::new(&mut out, m, shape.n));
                if out != want(card, isa, &w, x.x(), rounding) {
                    failures.push(format!("{} {label} {shape} {m} tokens {rounding:?}", card.name));
                }
                ran.insert(card.name);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    let here = levels();
    for card in KERNELS.iter().filter(|card| here.iter().any(|isa| isa.level() == card.isa)) {
        assert!(ran.contains(card.name), "{} never ran", card.name);
    }
}

/// A prompt that is cut otherwise must not give other logits: kernels of one layout that accept the same rounding compute
/// the same. Of bit planes, those for activations of 16 bits do: with 8, tables round sums of activations, and expanded codes
/// meet activations that are rounded themselves, so that there the planner must be asked for it.
#[test]
fn kernels_of_a_layout_give_the_same_bits_for_every_number_of_tokens() {
    for label in ["int2-asym-g64", "int4-sym-g128", "int5-asym-g128", "int8-sym-row", "q4_k", "iq2_xxs"] {
        let spec = WeightSpec::parse(label).unwrap();
        let shape = NK { n: 70, k: 512 };
        let w = tensor(&spec, shape);
        let x = values(300 * shape.k, 8);
        let settings = levels().into_iter().flat_map(|isa| ROUNDINGS.map(|rounding| (isa, rounding)));
        for ((isa, rounding), invariant) in settings.flat_map(|setting| [(setting, false), (setting, true)]) {
            let ctx = Ctx::new(isa, 2);
            let planner = Planner::new().batch_invariant(invariant);
            let arranged = Arranged::new(&ctx, &w, &planner, rounding);
            let methods = TokenBucket::ALL.map(|tokens| arranged.plan().kernel(tokens.typical()).method);
            if !invariant
                && rounding == Some(ActRounding::Group32)
                && arranged.plan().layout() == WeightLayout::Planes
                && methods.contains(&Method::Expand)
            {
                continue;
            }
            let product = |m: usize| {
                let mut out = vec![f32::NAN; m * shape.n];
                let x = MatRef::new(&x[..m * shape.k], m, shape.k);
                arranged.multiply(&ctx, &Act::new(x), MatMut::new(&mut out, m, shape.n));
                out
            };
            let all = product(300);
            for m in [1, 2, 4, 5, 16, 17, 64, 65] {
                assert_eq!(product(m), all[..m * shape.n], "{label} {} {rounding:?} {m} tokens", isa.level());
            }
        }
    }
}

/// Whatever a checkpoint holds has a kernel, at every level, for every number of tokens, in a layout that can be had.
#[test]
fn every_format_has_a_plan() {
    for info in all_specs() {
        let spec = info.spec;
        let k = match &spec {
            WeightSpec::Block(format) => format.layout().weights,
            WeightSpec::Grouped(spec) => match spec.levels()[0].shape {
                GroupShape::Group(size) => size as usize,
                _ => 64,
            },
            WeightSpec::Float(_) | WeightSpec::Sum(_) => 64,
        };
        let ctx = Ctx::new(Isa::detect(), 1);
        for (rounding, isa) in
            ROUNDINGS.into_iter().flat_map(|rounding| IsaLevel::ALL.iter().map(move |isa| (rounding, *isa)))
        {
            let q = Query {
                spec: &spec,
                shape: NK { n: 3, k },
                tokens: TokenBucket::One,
                rounding,
                isa,
                threads: 1,
            };
            let plans = Planner::new().plans(&q);
            assert!(
                plans.iter().any(|plan| plan.layout() == WeightLayout::Stored),
                "{} {isa} {rounding:?}",
                spec.label()
            );
        }
        Arranged::new(&ctx, &tensor(&spec, NK { n: 3, k }), &Planner::new(), Some(ActRounding::Group32));
    }
}

#[test]
fn a_kernel_that_refuses_says_why() {
    let refusal = |name: &str, label: &str, tokens, rounding| {
        let card = KernelCard::named(name).unwrap();
        let spec = WeightSpec::parse(label).unwrap();
        let shape = NK { n: 4096, k: 16384 };
        let q = Query { spec: &spec, shape, tokens, rounding, isa: card.isa, threads: 2 };
        card.accepts(&q).map_or_else(|refusal| refusal.to_string(), |()| "accepted".to_owned())
    };
    let (one, more) = (TokenBucket::One, TokenBucket::More);
    let (int8, int16) = (Some(ActRounding::Group32), Some(ActRounding::Group32Twice));
    for (name, label, tokens, rounding, expected) in [
        ("lut-8bit-once-avx512", "int2-sym-g128", one, int8, "accepted"),
        ("lut-8bit-once-avx512", "int2-sym-g128", more, int8, "memory: "),
        ("lut-8bit-tiled-avx512", "int2-sym-g128", more, int8, "accepted"),
        ("lut-8bit-once-avx512", "int2-sym-g128", one, int16, "accuracy: its tables have 8 bits"),
        (
            "lut-16bit-once-avx2",
            "int2-sym-g128",
            one,
            Some(ActRounding::Token),
            "accuracy: it rounds activations by groups",
        ),
        ("lut-8bit-once-avx512", "int5-sym-g128", one, int8, "format: it has more than 4 bits"),
        ("lut-8bit-once-avx512", "int4-asym-g32-int6-g256", one, int8, "format: it has two levels of scales"),
        ("lut-8bit-once-avx512", "q4_0", one, int8, "format: its codes are no bit planes"),
        ("packed-dot-avx512", "q4_0", more, int8, "tokens: it takes at most 16"),
        ("packed-expand-avx512", "iq2_xxs", more, int8, "format: its codes are not one for each weight"),
        ("packed-expand-avx512", "q4_0", more, None, "accuracy: it rounds activations"),
        ("groups-dot-avx512", "int8-sym-g128", one, int8, "accepted"),
        ("groups-dot-avx512", "int8-sym-row", one, Some(ActRounding::Token), "accepted"),
        ("groups-dot-avx512", "int8-sym-g128", more, int8, "tokens: it takes at most 16"),
        ("groups-expand-avx2", "int8-sym-g128", one, None, "accuracy: it rounds activations"),
        ("groups-expand-avx2", "int8-asym-g32-int6-g256", one, int8, "format: it has two levels of scales"),
        ("groups-expand-avx2", "int8-sym-g128-bf16", one, int8, "format: its scales are neither f16 nor f32"),
        ("groups-expand-avx2", "int8-sym-g48", one, int8, "group size: it takes a multiple of 32"),
        ("groups-expand-avx2", "int1-sym-g32", one, int8, "format: its codes are single bits"),
        ("groups-expand-avx2", "ternary-row", one, int8, "format: its codes are several weights each"),
        ("groups-expand-avx2", "q8_0", one, int8, "format: its codes lie in blocks"),
        ("stored-expand-avx2", "int4-asym-g20", one, int8, "group size: it takes a multiple of 16"),
        ("stored-float-avx2", "int4-asym-g20", one, int8, "accepted"),
        ("stored-float-avx2", "q4_0", one, int8, "accuracy: it leaves activations floats"),
    ] {
        let got = refusal(name, label, tokens, rounding);
        assert!(got.starts_with(expected), "{name} {label}: {got}");
    }
}
