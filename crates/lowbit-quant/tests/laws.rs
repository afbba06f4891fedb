//! What every method must obey.

use lowbit_format::{ActSpec, FormatError, GroupedSpec, NK, QuantTensor, WeightSpec};
use lowbit_kernels::{
    Act, ActRounding, Arranged, Ctx, Isa, IsaLevel, MatMut, MatRef, Method, Planner, Query, TokenBucket,
};
use lowbit_model::Role;
use lowbit_quant::{
    METHODS, Quantized, Recipe,
    solve::{Layer, SolveError},
    stats::Inputs,
};
use lowbit_testing::seeded_values;
use serde_json::json;

const SHAPE: NK = NK { n: 7, k: 128 };
const LABELS: [&str; 10] = [
    "int1-sym-g32",
    "int2-sym-g64",
    "int2-asym-g32",
    "int3-asym-g128",
    "int4-sym-row",
    "int4-fzero-g32",
    "int8-asym-g64",
    "int8-sym-row",
    "ternary-row",
    "ternary-tensor-f32",
];

fn grouped(label: &str) -> GroupedSpec {
    match WeightSpec::parse(label).unwrap() {
        WeightSpec::Grouped(spec) => spec,
        other => panic!("{other} is not grouped"),
    }
}

/// Weights with heavy tails, as real ones have: cubes of uniform numbers.
fn weights() -> Vec<f32> {
    seeded_values("weights", SHAPE.weights(), 1.0, 0.0).iter().map(|u| 0.1 * u * u * u + 0.01).collect()
}

fn matrix(weights: &[f32]) -> QuantTensor {
    QuantTensor::quantize_nearest(&WeightSpec::parse("f32").unwrap(), weights, SHAPE).unwrap()
}

/// A matrix through a recipe that needs no calibration.
fn quantize_matrix(
    recipe: &Recipe,
    weight: &QuantTensor,
    spec: &WeightSpec,
    threads: usize,
) -> Result<Quantized, SolveError> {
    lowbit_quant::quantize_matrix(recipe.parts(Role::Up), &Layer { weight, stats: None, threads }, spec)
}

/// Every method that works from weights alone with every format that it makes.
fn every_pair(mut law: impl FnMut(&Recipe, &WeightSpec)) {
    for entry in METHODS {
        let recipe = (entry.recipe)(&json!({})).unwrap();
        if recipe.needs().inputs != Inputs::None {
            continue;
        }
        let labels = LABELS.iter().filter(|label| recipe.accepts(&grouped(label)).is_ok());
        let made = labels.map(|label| law(&recipe, &WeightSpec::parse(label).unwrap())).count();
        assert!(made > 0, "{} makes none of the formats", entry.card.name);
    }
}

#[test]
fn every_file_of_the_folder_is_in_the_list_and_every_card_is_complete() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/methods");
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files.filter(|f| f != "mod.rs").collect();
    files.sort();
    let mut listed: Vec<String> = METHODS.iter().map(|m| format!("{}.rs", m.card.name)).collect();
    listed.sort();
    assert_eq!(files, listed);
    for entry in METHODS {
        assert!(!entry.card.summary.is_empty() && !entry.card.formats.is_empty(), "{}", entry.card.name);
        assert!((entry.settings)(&json!({})).unwrap().is_object(), "{}", entry.card.name);
    }
}

#[test]
fn settings_that_do_not_exist_are_refused() {
    for entry in METHODS {
        let error = (entry.recipe)(&json!({"no_such_setting": 1})).err().unwrap().to_string();
        assert!(error.contains(entry.card.name) && error.contains("no_such_setting"), "{error}");
    }
}

#[test]
fn bytes_and_figures_do_not_depend_on_the_number_of_threads() {
    let tensor = matrix(&weights());
    every_pair(|recipe, spec| {
        let one = quantize_matrix(recipe, &tensor, spec, 1).unwrap();
        for threads in [2, 3, 64] {
            let more = quantize_matrix(recipe, &tensor, spec, threads).unwrap();
            assert_eq!(one.parts, more.parts, "{} {spec} {threads}", recipe.card.name);
            assert_eq!(one.squared_error, more.squared_error, "{} {spec} {threads}", recipe.card.name);
        }
    });
}

#[test]
fn no_method_is_worse_than_a_matrix_of_zeros_and_clip_search_never_than_rtn() {
    let tensor = matrix(&weights());
    let error = |name: &str, spec: &WeightSpec| {
        let settings = if name == "mse" { json!({"norm": 2}) } else { json!({}) };
        let recipe = (lowbit_quant::method(name).unwrap().recipe)(&settings).unwrap();
        quantize_matrix(&recipe, &tensor, spec, 1).unwrap().squared_error
    };
    every_pair(|recipe, spec| {
        let made = quantize_matrix(recipe, &tensor, spec, 1).unwrap();
        assert!(made.squared_error < made.squared, "{} {spec}", recipe.card.name);
    });
    for label in LABELS {
        let spec = WeightSpec::parse(label).unwrap();
        // Rounding of ties is the only thing in which search and encoder differ.
        assert!(error("mse", &spec) <= error("rtn", &spec) * (1.0 + 1e-6), "{label}");
    }
}

#[test]
fn rtn_is_what_the_format_calls_nearest() {
    let weights = weights();
    let recipe = (lowbit_quant::method("rtn").unwrap().recipe)(&json!({})).unwrap();
    for label in LABELS {
        let spec = WeightSpec::parse(label).unwrap();
        let made = quantize_matrix(&recipe, &matrix(&weights), &spec, 2).unwrap();
        let nearest = QuantTensor::quantize_nearest(&spec, &weights, SHAPE).unwrap();
        let lowbit_format::TensorData::Grouped(nearest) = nearest.data() else { unreachable!() };
        assert_eq!(made.parts[0], nearest.codes().bytes().bytes(), "{label}");
        assert_eq!(made.parts[1], nearest.params().levels[0].bytes().bytes(), "{label}");
    }
}

#[test]
fn zeros_stay_zeros() {
    let tensor = matrix(&vec![0.0; SHAPE.weights()]);
    every_pair(|recipe, spec| {
        let made = quantize_matrix(recipe, &tensor, spec, 2).unwrap();
        assert_eq!(made.squared_error, 0.0, "{} {spec}", recipe.card.name);
    });
}

#[test]
fn a_weight_that_is_no_number_is_refused_with_its_place() {
    let mut weights = weights();
    weights[3 * SHAPE.k + 5] = f32::NAN;
    let tensor = matrix(&weights);
    every_pair(|recipe, spec| {
        let error = quantize_matrix(recipe, &tensor, spec, 2).err().unwrap();
        assert!(
            matches!(error, SolveError::Format(FormatError::NotFinite { n: 3, k: 5, .. })),
            "{} {spec} {error}",
            recipe.card.name
        );
    });
}

#[test]
fn the_half_quadratic_zero_point_lowers_the_mean_error_of_float_zero_points() {
    let tensor = matrix(&weights());
    let spec = WeightSpec::parse("int2-fzero-g32").unwrap();
    let error = |name: &str| {
        let recipe = (lowbit_quant::method(name).unwrap().recipe)(&json!({})).unwrap();
        quantize_matrix(&recipe, &tensor, &spec, 1).unwrap().squared_error
    };
    assert!(error("hqq") < error("rtn"), "{} {}", error("hqq"), error("rtn"));
}

#[test]
fn formats_that_are_made_for_8_bit_activations_are_multiplied_in_integers() {
    for entry in METHODS {
        let recipe = (entry.recipe)(&json!({})).unwrap();
        if recipe.activations != Some(ActSpec::Int8Token) {
            continue;
        }
        let (name, spec) = (entry.card.name, WeightSpec::parse(entry.card.default_format).unwrap());
        let rounding = Some(ActRounding::Token);
        let levels = [IsaLevel::Scalar, IsaLevel::Neon, IsaLevel::Dotprod, IsaLevel::Avx2, IsaLevel::Avx512];
        for isa in levels {
            let tokens = TokenBucket::One;
            let query = Query { spec: &spec, shape: NK { n: 64, k: 512 }, tokens, rounding, isa, threads: 1 };
            for plan in Planner::new().plans(&query) {
                for tokens in [1, 2, 8, 64, 512] {
                    let kernel = plan.kernel(tokens);
                    assert!(kernel.method != Method::Float, "{name} {spec} {isa:?} {}", kernel.name);
                }
            }
        }
        let tensor = QuantTensor::quantize_nearest(&spec, &weights(), SHAPE).unwrap();
        let (ctx, x) = (Ctx::new(Isa::detect(), 1), seeded_values("inputs", SHAPE.k, 1.0, 0.0));
        let mut found = vec![0.0; SHAPE.n];
        let (x_matrix, out) = (MatRef::new(&x, 1, SHAPE.k), MatMut::new(&mut found, 1, SHAPE.n));
        Arranged::new(&ctx, &tensor, &Planner::new(), rounding).multiply(&ctx, &Act::new(x_matrix), out);
        // One scale for the token, and integers of at most 127.
        let scale = x.iter().fold(0f32, |max, x| max.max(x.abs())) / 127.0;
        let mut row = vec![0.0; SHAPE.k];
        for (n, found) in found.into_iter().enumerate() {
            tensor.decode_row(n, &mut row);
            let each =
                row.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from((x / scale).round() * scale));
            let (exact, size) = each.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + f64::abs(x)));
            assert!((f64::from(found) - exact).abs() < 1e-5 * size, "{name} row {n}: {found} {exact}");
        }
    }
}
