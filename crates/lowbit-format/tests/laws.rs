//! Laws of labels, packing, grouped tensors and their expansion.

use lowbit_format::{
    Bits, BlockFormat, Codebook, Codes, ElementFormat, FormatError, GroupParams, GroupShape, GroupedSpec,
    GroupedTensor, NK, Packing, ParamFormat, QuantTensor, ScaleLevel, Storage, TensorData, WeightSpec,
    ZeroPoint, all_specs,
};
use proptest::prelude::*;

fn bits() -> impl Strategy<Value = Bits> {
    (1u8..=8).prop_map(|b| Bits::new(b).unwrap())
}

fn element() -> impl Strategy<Value = ElementFormat> {
    let zero = prop_oneof![Just(ZeroPoint::Symmetric), Just(ZeroPoint::Integer), Just(ZeroPoint::Float)];
    prop_oneof![
        6 => (bits(), zero).prop_map(|(bits, zero)| ElementFormat::Int { bits, zero }),
        1 => Just(ElementFormat::Ternary),
        2 => prop::sample::select(Codebook::ALL.to_vec()).prop_map(ElementFormat::Codebook),
    ]
}

fn real() -> impl Strategy<Value = ParamFormat> {
    use ParamFormat::*;
    prop_oneof![Just(F32), Just(F16), Just(Bf16), Just(E8M0), Just(E4M3), Just(PowerOfTwo)]
}

/// Groups of 4 to 64, rows, tensors and groups in columns, one level or two that nest.
fn spec() -> impl Strategy<Value = GroupedSpec> {
    let shape = prop_oneof![
        4 => (1u32..=16).prop_map(|n| GroupShape::Group(4 * n)),
        1 => Just(GroupShape::Row),
        1 => Just(GroupShape::Tensor),
        2 => (1u32..=2).prop_map(|n| GroupShape::Column(4 * n)),
    ];
    let fine = prop_oneof![real(), bits().prop_map(ParamFormat::Int)];
    let levels = (shape, fine, real(), real(), 2u32..5, 0..4);
    let levels = levels.prop_map(|(shape, fine, only, coarse, times, kind)| {
        let outer = match (shape, kind) {
            (GroupShape::Group(size), 1) => GroupShape::Group(size * times),
            (GroupShape::Group(_), 2) => GroupShape::Row,
            (GroupShape::Group(_) | GroupShape::Row, 3) => GroupShape::Tensor,
            _ => return vec![ScaleLevel { shape, format: only }],
        };
        vec![ScaleLevel { shape, format: fine }, ScaleLevel { shape: outer, format: coarse }]
    });
    (element(), levels).prop_map(|(element, levels)| GroupedSpec::new(element, levels).unwrap())
}

/// Weights of a few short rows, of very different sizes, with zero groups among them.
fn weights(n: usize, k: usize) -> impl Strategy<Value = Vec<f32>> {
    let weight = prop_oneof![6 => -1.0f32..1.0, 1 => Just(0.0), 1 => -30.0f32..30.0];
    (prop::collection::vec(weight, n * k), 0usize..4).prop_map(|(mut w, zeros)| {
        let len = w.len();
        w[..zeros * len / 4].fill(0.0);
        w
    })
}

fn matrix() -> impl Strategy<Value = (NK, Vec<f32>)> {
    (1usize..14, 1usize..200).prop_flat_map(|(n, k)| (Just(NK { n, k }), weights(n, k)))
}

fn nearest(label: &str, weights: &[f32], shape: NK) -> Result<GroupedTensor, FormatError> {
    let WeightSpec::Grouped(spec) = WeightSpec::parse(label).unwrap() else {
        panic!("{label} is not grouped")
    };
    GroupedTensor::quantize_nearest(&spec, weights, shape)
}

fn decode(tensor: &GroupedTensor) -> Vec<f32> {
    let shape = tensor.shape();
    let mut out = vec![0.0; shape.weights()];
    for (n, row) in out.chunks_mut(shape.k).enumerate() {
        tensor.decode_row(n, row);
    }
    out
}

proptest! {
    #[test]
    fn labels_are_read_back(spec in spec()) {
        let spec = WeightSpec::Grouped(spec);
        prop_assert_eq!(WeightSpec::parse(&spec.label()), Ok(spec.clone()));
        let json = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(&json, &format!("\"{}\"", spec.label()));
        prop_assert_eq!(serde_json::from_str::<WeightSpec>(&json).unwrap(), spec);
    }

    #[test]
    fn no_label_makes_the_parser_panic(label in "[a-z0-9-]{0,30}") {
        if let Ok(spec) = WeightSpec::parse(&label) {
            prop_assert_eq!(WeightSpec::parse(&spec.label()), Ok(spec));
        }
    }

    #[test]
    fn packed_codes_are_read_back(
        packing in prop_oneof![bits().prop_map(Packing::Bits), Just(Packing::Trits)],
        n in 1usize..4,
        k in 1usize..70,
        seed in any::<u64>(),
    ) {
        let codes: Vec<u8> = (0..n * k)
            .map(|i| ((seed.rotate_left(i as u32 * 7) ^ i as u64) % u64::from(packing.levels())) as u8)
            .collect();
        let shape = NK { n, k };
        let packed = Codes::pack(packing, shape, &codes);
        prop_assert_eq!(packed.bytes().len(), n * packing.row_bytes(k));
        for (row, expected) in codes.chunks(k).enumerate() {
            prop_assert_eq!(packed.row(row).collect::<Vec<_>>(), expected);
            prop_assert_eq!(packed.get(row, k - 1), expected[k - 1]);
        }
        prop_assert!(Codes::new(packing, shape, packed.bytes().clone()).is_ok());
    }

    #[test]
    fn expansion_means_what_decoding_means(spec in spec(), (shape, w) in matrix()) {
        let in_columns = matches!(spec.levels()[0].shape, GroupShape::Column(_));
        if in_columns || matches!(spec.element(), ElementFormat::Codebook(_)) {
            prop_assert_eq!(spec.integer_group(), None);
            return Ok(());
        }
        let tensor = GroupedTensor::quantize_nearest(&spec, &w, shape).unwrap();
        let (group, expanded) = (spec.expansion_group(), tensor.expanded_k());
        let decoded = decode(&tensor);
        for n in 0..shape.n {
            let (mut q, mut s, mut c) = (vec![99; expanded], vec![9.0; expanded / group], vec![9.0; expanded / group]);
            tensor.expand_row(n, &mut q, &mut s, &mut c);
            for (i, w) in decoded[n * shape.k..][..shape.k].iter().enumerate() {
                let (q, s, c) = (f32::from(q[i]), s[i / group], c[i / group]);
                if tensor.has_offsets() {
                    let (q, s, c, w) = (f64::from(q), f64::from(s), f64::from(c), f64::from(*w));
                    let bound = (q.abs() * s + 2.0 * c.abs() + 4.0 * w.abs()) * 2f64.powi(-24) + 1e-44;
                    let affine = f64::from((q as f32) * (s as f32) + c as f32);
                    prop_assert!((affine - w).abs() <= bound, "{w} decoded, {affine} expanded, bound {bound}");
                } else {
                    prop_assert_eq!(c, 0.0);
                    prop_assert_eq!(q * s, *w);
                }
            }
            prop_assert!(q[shape.k..].iter().all(|q| *q == 0));
        }
    }

    #[test]
    fn weights_on_the_grid_are_found_again(
        bits in bits(),
        codes in prop::collection::vec(any::<u8>(), 64),
        exponent in -8i32..8,
    ) {
        // Smallest and largest code occur, so that the range gives the scale back.
        let highest = bits.levels() - 1;
        let codes: Vec<u32> = codes.iter().map(|c| u32::from(*c) % (highest + 1)).chain([0, highest]).collect();
        let zero = highest / 2;
        let w: Vec<f32> = codes.iter().map(|c| (*c as f32 - zero as f32) * 2f32.powi(exponent)).collect();
        let tensor = nearest(&format!("int{}-asym-row", bits.get()), &w, NK { n: 1, k: w.len() }).unwrap();
        prop_assert_eq!(decode(&tensor), w);
    }

    /// Weight by weight from codes and parameters, whatever decoding does to many at once.
    #[test]
    fn a_weight_is_its_code_less_the_zero_point_or_its_number_times_the_scale(
        spec in spec(),
        (shape, w) in (1usize..3, 300usize..700).prop_flat_map(|(n, k)| (Just(NK { n, k }), weights(n, k))),
    ) {
        let tensor = GroupedTensor::quantize_nearest(&spec, &w, shape).unwrap();
        let len = spec.levels()[0].shape.len_in_row(shape.k);
        let decoded = decode(&tensor);
        for n in 0..shape.n {
            let fits = tensor.stored_fits(n);
            for (k, code) in tensor.codes().row(n).enumerate() {
                let fit = fits[k / len];
                let number = match spec.element() {
                    ElementFormat::Codebook(book) => book.values()[usize::from(code)],
                    _ => f32::from(code) - fit.zero,
                };
                prop_assert_eq!(decoded[n * shape.k + k], number * fit.scale, "row {}, column {}", n, k);
            }
        }
    }

    #[test]
    fn rows_are_those_of_the_whole(spec in spec(), (shape, w) in matrix(), at in any::<prop::sample::Index>()) {
        let tensor = GroupedTensor::quantize_nearest(&spec, &w, shape).unwrap();
        let n = at.index(shape.n);
        let rows = tensor.rows(n..n + 1);
        prop_assert_eq!(&decode(&rows)[..], &decode(&tensor)[n * shape.k..][..shape.k]);
    }

    #[test]
    fn stored_bytes_are_all_there_is_to_a_tensor(spec in spec(), (shape, w) in matrix()) {
        let tensor = GroupedTensor::quantize_nearest(&spec, &w, shape).unwrap();
        let bytes = |storage: &Storage| Storage::from(storage.bytes().to_vec());
        let scales = tensor.params().levels.iter().map(|p| bytes(p.bytes())).collect();
        let zeros = tensor.params().zeros.as_ref().map(|p| bytes(p.bytes()));
        let params = GroupParams::new(&spec, shape, scales, zeros).unwrap();
        let codes = Codes::new(spec.element().packing(), shape, bytes(tensor.codes().bytes())).unwrap();
        let again = GroupedTensor::new(spec, codes, params).unwrap();
        prop_assert_eq!(decode(&again), decode(&tensor));
        prop_assert_eq!(again.bytes(), tensor.bytes());
    }
}

#[test]
fn every_listed_label_is_read_back_and_listed_once() {
    let labels: Vec<String> = all_specs().iter().map(|info| info.spec.label()).collect();
    for (i, label) in labels.iter().enumerate() {
        assert_eq!(WeightSpec::parse(label).unwrap().label(), *label);
        assert!(!labels[..i].contains(label), "{label} is listed twice");
    }
    for format in BlockFormat::ALL {
        assert!(labels.iter().any(|l| l == format.label()) && !format.summary().is_empty(), "{format:?}");
        assert_eq!(serde_json::to_string(format).unwrap(), format!("\"{}\"", format.label()));
    }
}

#[test]
fn labels_mean_what_the_documentation_says() {
    let int = |bits, zero| ElementFormat::Int { bits: Bits::new(bits).unwrap(), zero };
    let level = |shape, format| ScaleLevel { shape, format };
    let six = ParamFormat::Int(Bits::new(6).unwrap());
    let cases = [
        ("int4-sym-row", int(4, ZeroPoint::Symmetric), vec![level(GroupShape::Row, ParamFormat::F16)]),
        ("int2-asym-g128", int(2, ZeroPoint::Integer), vec![level(GroupShape::Group(128), ParamFormat::F16)]),
        (
            "int3-fzero-g64-f32",
            int(3, ZeroPoint::Float),
            vec![level(GroupShape::Group(64), ParamFormat::F32)],
        ),
        (
            "int4-asym-c128",
            int(4, ZeroPoint::Integer),
            vec![level(GroupShape::Column(128), ParamFormat::F16)],
        ),
        ("ternary-tensor-f32", ElementFormat::Ternary, vec![level(GroupShape::Tensor, ParamFormat::F32)]),
        (
            "nf4-g64-f32",
            ElementFormat::Codebook(Codebook::Nf4),
            vec![level(GroupShape::Group(64), ParamFormat::F32)],
        ),
        (
            "e4m3-g128-e4m3-row",
            ElementFormat::Codebook(Codebook::E4M3),
            vec![level(GroupShape::Group(128), ParamFormat::E4M3), level(GroupShape::Row, ParamFormat::F16)],
        ),
        (
            "int4-asym-g32-int6-g256",
            int(4, ZeroPoint::Integer),
            vec![level(GroupShape::Group(32), six), level(GroupShape::Group(256), ParamFormat::F16)],
        ),
    ];
    for (label, element, levels) in cases {
        let spec = WeightSpec::Grouped(GroupedSpec::new(element, levels).unwrap());
        assert_eq!(WeightSpec::parse(label), Ok(spec));
    }
    // 4 bits, a 4-bit zero and a 6-bit scale for 32, and a half-precision scale for 256.
    assert_eq!(
        WeightSpec::parse("int4-asym-g32-int6-g256").unwrap().bits_per_weight(),
        4.0 + 10.0 / 32.0 + 16.0 / 256.0
    );
}

#[test]
fn wrong_labels_say_what_is_wrong() {
    let cases = [
        ("q4_km", "unknown weight format `q4_km`, did you mean `q4_k`?"),
        ("int4-symm-g128", "unknown weight format `int4-symm-g128`, did you mean `int4-sym-g128`?"),
        ("", "unknown weight format ``"),
        ("nf4-g6", "groups of 6 weights, expected a positive multiple of 4"),
        ("int9-sym-row", "9 bits a code, expected 1 to 8"),
        ("int4-sym-g30", "groups of 30 weights, expected a positive multiple of 4"),
        ("int4-sym-g0", "groups of 0 weights, expected a positive multiple of 4"),
        ("int4-sym-g32-int6", "integer scales need a coarser level to be in units of"),
        ("int4-sym-g32-int6-g48", "the groups of the second scale level are no whole groups of the first"),
        ("int4-sym-g32-g64-row", "expected one or two scale levels"),
    ];
    for (label, message) in cases {
        assert_eq!(WeightSpec::parse(label).unwrap_err().to_string(), message);
    }
}

#[test]
fn packing_is_low_bits_first_and_rows_begin_on_bytes() {
    let three = Packing::Bits(Bits::new(3).unwrap());
    let codes = Codes::pack(three, NK { n: 2, k: 3 }, &[1, 2, 7, 5, 0, 4]);
    assert_eq!(codes.bytes().bytes(), [0b11_010_001, 0b1, 0b00_000_101, 0b1]);
    let trits = Codes::pack(Packing::Trits, NK { n: 1, k: 6 }, &[2, 1, 0, 2, 1, 2]);
    assert_eq!(trits.bytes().bytes(), [2 + 3 + 2 * 27 + 81, 2]);
}

#[test]
fn impossible_ternary_bytes_are_refused() {
    let found = Codes::new(Packing::Trits, NK { n: 1, k: 10 }, Storage::from(vec![242, 243])).unwrap_err();
    assert_eq!(found, FormatError::TernaryByte { at: 1, found: 243 });
}

#[test]
fn a_ramp_is_decoded_as_by_hand() {
    // 2 bits, groups of 4: range −1 to 2 in steps of one, zero point 1; then one outlier; then all zero, group of two.
    let w = [-1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 30.0, 0.0, 0.0, 0.0];
    let tensor = nearest("int2-asym-g4", &w, NK { n: 1, k: 10 }).unwrap();
    assert_eq!(decode(&tensor), w);
    assert_eq!(tensor.codes().row(0).collect::<Vec<_>>(), [0, 1, 2, 3, 0, 0, 3, 0, 0, 0]);
    // Ten 2-bit codes, three half-precision scales, three 2-bit zero points.
    assert_eq!(tensor.bytes(), 3 + 6 + 1);
    assert_eq!(tensor.bits_per_weight(), 8.0);
}

#[test]
fn numbers_of_tables_are_those_of_their_libraries() {
    // The largest magnitude is 2 and becomes the largest number, so that scales are 2 and 2/448.
    let w = [2.0, -2.0, 1.4, 0.01];
    let of = |label: &str| {
        let tensor = nearest(label, &w, NK { n: 1, k: 4 }).unwrap();
        (tensor.codes().row(0).collect::<Vec<_>>(), decode(&tensor))
    };
    assert_eq!(of("nf4-row-f32"), (vec![15, 0, 14, 7], vec![2.0, -2.0, 2.0 * 0.722_956_84, 0.0]));
    assert_eq!(
        of("fp4-row-f32"),
        (vec![3, 11, 2, 1], vec![2.0, -2.0, 2.0 * (2.0 / 3.0), 2.0 * (1.0 / 192.0)])
    );
    let (codes, decoded) = of("e4m3-row-f32");
    // 448 is 1.75 · 2^8, 320 is 1.25 · 2^8 and 2.25 is 1.125 · 2.
    assert_eq!(codes, [0b0111_1110, 0b1111_1110, 0b0111_1010, 0b0100_0001]);
    assert_eq!(decoded, [448.0, -448.0, 320.0, 2.25].map(|v: f32| v * (2.0 / 448.0)));
    assert_eq!(WeightSpec::parse("nf4-g64-f32").unwrap().bits_per_weight(), 4.5);
}

#[test]
fn the_scale_of_a_tensor_of_blocks_is_one_of_its_parts() {
    for format in BlockFormat::ALL {
        let layout = format.layout();
        let scale = if layout.tensor_scale { 0.37 } else { 1.0 };
        let shape = NK { n: 2, k: layout.weights };
        let bytes: Vec<u8> = (0..2 * layout.bytes).map(|i| (i * 37 % 60) as u8).collect();
        let tensor = QuantTensor::from_scaled_blocks(*format, shape, bytes.into(), scale).unwrap();
        let again = QuantTensor::from_parts(&WeightSpec::Block(*format), shape, tensor.parts()).unwrap();
        let row = |w: &QuantTensor| {
            let mut row = vec![0.0; shape.k];
            w.decode_row(1, &mut row);
            row.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(row(&again), row(&tensor), "{format:?}");
    }
    let parts = [vec![0; 36].into(), f32::NAN.to_le_bytes().to_vec().into()];
    let found = QuantTensor::from_parts(&WeightSpec::Block(BlockFormat::NVFP4), NK { n: 1, k: 64 }, parts);
    assert!(matches!(found.unwrap_err(), FormatError::NotFinite { .. }));
}

#[test]
fn one_bit_weights_are_plus_and_minus_their_mean() {
    let w = [1.0, -3.0, 2.0, -2.0];
    let tensor = nearest("int1-sym-row", &w, NK { n: 1, k: 4 }).unwrap();
    assert_eq!(decode(&tensor), [2.0, -2.0, 2.0, -2.0]);
}

#[test]
fn two_levels_multiply() {
    // Scales 1 and 3 in units of 3/63: the 6-bit scales are 21 and 63.
    let w = [1.0, -7.0, 7.0, 0.0, 21.0, -21.0, 3.0, 0.0];
    let tensor = nearest("int4-sym-g4-int6-g8-f32", &w, NK { n: 1, k: 8 }).unwrap();
    let params = tensor.params();
    assert_eq!([params.levels[0].get(0, 0), params.levels[0].get(0, 1)], [21.0, 63.0]);
    for (found, expected) in decode(&tensor).into_iter().zip(w) {
        // The unit 3/63, its product and the weight are rounded once each.
        assert!(
            (found - expected).abs() <= 3.0 * f32::EPSILON / 2.0 * expected.abs(),
            "{found} for {expected}"
        );
    }
}

#[test]
fn codes_and_scales_that_something_else_chose_are_stored_as_they_are_or_refused() {
    let WeightSpec::Grouped(spec) = WeightSpec::parse("int4-asym-g4-int8-row").unwrap() else { panic!() };
    let shape = NK { n: 2, k: 8 };
    let codes: Vec<u8> = (0..16).collect();
    let (fine, coarse, zeros) = ([1.0, 16.0, 3.0, 127.0], [0.5, 2.0], [0.0, 7.0, 8.0, 15.0]);
    let made = |codes: &[u8], scales: &[&[f32]], zeros: Option<&[f32]>| {
        GroupedTensor::from_codes(&spec, shape, codes, (scales, zeros))
    };
    let tensor = made(&codes, &[&fine, &coarse], Some(&zeros)).unwrap();
    let expected = (0..16).map(|i| (f32::from(codes[i]) - zeros[i / 4]) * (fine[i / 4] * coarse[i / 8]));
    assert_eq!(decode(&tensor), expected.collect::<Vec<_>>());
    let wrong = [
        made(&codes[1..], &[&fine, &coarse], Some(&zeros)),
        made(&[16; 16], &[&fine, &coarse], Some(&zeros)),
        made(&codes, &[&fine], Some(&zeros)),
        made(&codes, &[&fine[1..], &coarse], Some(&zeros)),
        made(&codes, &[&fine, &coarse], Some(&zeros[1..])),
        made(&codes, &[&fine, &coarse], None),
    ];
    assert!(wrong.into_iter().all(|made| matches!(made, Err(FormatError::Levels { .. }))));
}

#[test]
fn more_bits_never_make_the_error_larger() {
    let k = 4096;
    // A sum of uniform numbers from a linear congruential generator: roughly normal.
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let w: Vec<f32> = (0..k).map(|_| uniform() + uniform() + uniform()).collect();
    // Symmetric codes begin at 2 bits: one bit has no zero and another rule for the scale.
    for (zero, first) in [("sym", 2), ("asym", 1), ("fzero", 1)] {
        for shape in ["g32", "g128", "row", "g16-int6-g256"] {
            let mut last = f64::INFINITY;
            for bits in first..=8 {
                let tensor = nearest(&format!("int{bits}-{zero}-{shape}"), &w, NK { n: 1, k }).unwrap();
                let error: f64 = decode(&tensor).iter().zip(&w).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                assert!(error < last, "int{bits}-{zero}-{shape}: {error} after {last}");
                last = error;
            }
        }
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_place() {
    for bad in [f32::NAN, f32::INFINITY] {
        let found = nearest("int4-sym-row", &[0.0, 1.0, bad, 0.0], NK { n: 2, k: 2 }).unwrap_err();
        assert!(matches!(found, FormatError::NotFinite { n: 1, k: 0, .. }), "{found}");
    }
}

#[test]
fn a_wrong_count_of_weights_is_refused() {
    for (count, shape) in [(3, NK { n: 2, k: 2 }), (0, NK { n: 0, k: 2 }), (0, NK { n: 2, k: 0 })] {
        let found = nearest("int4-sym-row", &vec![0.0; count], shape).unwrap_err();
        assert_eq!(found, FormatError::WeightCount { shape, found: count });
    }
}

#[test]
fn a_quantized_tensor_is_its_grouped_one() {
    let (shape, w) = (NK { n: 2, k: 4 }, [1.0, -2.0, 0.5, 0.0, 3.0, 3.0, -3.0, 1.0]);
    let spec = WeightSpec::parse("int4-asym-g4").unwrap();
    let tensor = QuantTensor::quantize_nearest(&spec, &w, shape).unwrap();
    let grouped = nearest("int4-asym-g4", &w, shape).unwrap();
    assert_eq!((tensor.spec(), tensor.bytes(), tensor.shape()), (spec, grouped.bytes(), shape));
    let mut row = [0.0; 4];
    tensor.rows(1..2).decode_row(0, &mut row);
    assert_eq!(row, decode(&grouped)[4..]);
    let halves = QuantTensor::quantize_nearest(&WeightSpec::parse("f16").unwrap(), &w, shape).unwrap();
    halves.decode_row(0, &mut row);
    assert_eq!(row, w[..4]);
    let block = WeightSpec::Block(BlockFormat::Q4_0);
    assert!(matches!(QuantTensor::quantize_nearest(&block, &w, shape), Err(FormatError::NoEncoder { .. })));
    assert!(matches!(
        QuantTensor::quantize_nearest(&WeightSpec::parse("f16").unwrap(), &w[1..], shape),
        Err(FormatError::WeightCount { found: 7, .. })
    ));
}

#[test]
fn blocks_take_no_more_memory_than_in_the_file() {
    for &format in BlockFormat::ALL {
        let layout = format.layout();
        let bytes = Storage::from(vec![0; 3 * layout.bytes]);
        let address = bytes.bytes().as_ptr();
        let tensor = QuantTensor::from_blocks(format, NK { n: 3, k: layout.weights }, bytes).unwrap();
        assert_eq!(tensor.bytes(), 3 * layout.bytes);
        // And they are the very bytes given, not a copy in another form.
        let TensorData::Blocks { bytes, .. } = tensor.data() else { panic!() };
        assert_eq!(bytes.bytes().as_ptr(), address);
        assert!([16, 32].contains(&layout.group) && layout.weights % layout.group == 0, "{}", layout.label);
    }
}

/// The root of the mean square of the weights of random blocks with scale `value`.
fn rms_of_random_blocks(format: BlockFormat, value: f32) -> f64 {
    let layout = format.layout();
    let mut state = 1u64;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(64 * layout.bytes)
    .collect();
    for block in bytes.chunks_exact_mut(layout.bytes) {
        format.scale_bits(value).iter().for_each(|bits| bits.put(block));
    }
    let shape = NK { n: 1, k: 64 * layout.weights };
    let mut row = vec![0.0; shape.k];
    QuantTensor::from_blocks(format, shape, Storage::from(bytes)).unwrap().decode_row(0, &mut row);
    assert!(row.iter().all(|w| w.is_finite()), "{format:?} with scale {value}");
    (row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / row.len() as f64).sqrt()
}

#[test]
fn weights_of_random_blocks_are_finite_and_proportional_to_the_scale() {
    for format in BlockFormat::ALL.iter().filter(|f| !f.layout().scales.is_empty()) {
        let [half, one] = [0.25, 0.5].map(|value| rms_of_random_blocks(*format, value));
        // Powers of two and their multiples by n / 2 are stored exactly in every format, so only sums are rounded.
        assert!(half > 0.0 && (one / half - 2.0).abs() < 1e-6, "{format:?}: {half} and {one}");
    }
    assert!(BlockFormat::I2_S.scale_bits(1.0).is_empty());
}
