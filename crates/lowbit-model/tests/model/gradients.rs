//! Blocks with derivatives against the decoder's own, and gradients against differences of losses, over every dense architecture.

use super::tiny::{self, Tiny};
use lowbit_format::Storage;
use lowbit_kernels::{ActPrecision, Ctx, Isa};
use lowbit_model::{
    Decoder, Ffn, KvElement, Logits, ModelError, ModelSpec, OneBlock, Role, WeightCoding,
    backward::{LossHead, TracedBlock},
    embed,
};
use lowbit_testing::{GoldenCase, StoredType, golden_case, golden_cases, max_relative_error, normal};
use std::collections::BTreeMap;

/// Cases that have gradients. Weights that are ternary by training are floats here: norms before the last projections and
/// squared activations are theirs alone.
fn dense() -> impl Iterator<Item = (GoldenCase, ModelSpec)> {
    let cases = golden_cases().into_iter().map(|case| {
        let mut spec = tiny::spec(&case.config).unwrap();
        if spec.coding == WeightCoding::TernaryMaster {
            spec.coding = WeightCoding::Plain;
        }
        (case, spec)
    });
    cases.filter(|(_, spec)| {
        let experts = spec.blocks.iter().any(|block| matches!(block.ffn, Ffn::Experts { .. }));
        !experts && spec.coding == WeightCoding::Plain
    })
}

fn capacity(case: &GoldenCase) -> usize {
    case.tokens.len() + case.greedy.len()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// `stream` moved by `step` along a direction.
fn moved(stream: &[f32], direction: &[f32], step: f64) -> Vec<f32> {
    stream.iter().zip(direction).map(|(x, d)| (f64::from(*x) + step * f64::from(*d)) as f32).collect()
}

/// The slope of `of` at 0 by central differences of two steps, joined so that what is left grows with the fourth power.
fn slope(step: f64, of: impl Fn(f64) -> f64) -> f64 {
    let by = |step: f64| (of(step) - of(-step)) / (2.0 * step);
    (4.0 * by(step) - by(2.0 * step)) / 3.0
}

#[test]
fn a_block_with_derivatives_gives_what_the_decoders_does_and_the_loss_is_that_of_its_logits() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for (case, spec) in dense() {
        let weights = Tiny::new(&case);
        let decoder = Decoder::build(spec.clone(), &weights, ActPrecision::Float).unwrap();
        let mut stream = embed(&spec, decoder.embedding(), &case.tokens).unwrap();
        for index in 0..spec.blocks.len() {
            let traced = TracedBlock::build(&spec, index, &weights, capacity(&case)).unwrap();
            let found = traced.forward(&ctx, &stream).stream;
            let block = OneBlock::build_with(&spec, index, &weights, ActPrecision::Float, &|_, stored| {
                Box::new(stored)
            });
            let block = block.unwrap();
            block.forward(&ctx, &mut stream, &mut block.cache(capacity(&case)).unwrap()).unwrap();
            let error = max_relative_error(&found, &stream);
            assert!(error < 2e-5, "{} block {index} {error}", case.name);
        }
        let (loss, _) = LossHead::build(&spec, &weights).unwrap().loss(&ctx, &stream, &case.tokens).unwrap();
        let (mut logits, mut cache) = (Vec::new(), decoder.cache(capacity(&case), KvElement::F32).unwrap());
        decoder.forward(&ctx, &case.tokens, &mut cache, Logits::All, &mut logits).unwrap();
        let rows = logits.chunks_exact(spec.vocab).zip(&case.tokens[1..]);
        let lost = rows.map(|(row, next)| {
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            sum.ln() - f64::from(row[*next as usize])
        });
        let expected = lost.sum::<f64>() / (case.tokens.len() - 1) as f64;
        assert!((loss - expected).abs() < 1e-4 * expected, "{} {loss} {expected}", case.name);
    }
    let subs = dense().filter(|(_, spec)| spec.norms.attention_sub && spec.norms.ffn_sub).count();
    let capped = dense().filter(|(_, spec)| spec.attention_cap.is_some() && spec.logit_cap.is_some()).count();
    let windows = dense().filter(|(_, spec)| spec.blocks.iter().any(|block| block.window.is_some())).count();
    assert!(subs > 0 && capped > 0 && windows > 0, "cases of every kind");
}

#[test]
fn the_gradient_of_the_loss_is_its_slope_along_any_direction() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for (case, spec) in dense() {
        let head = LossHead::build(&spec, &Tiny::new(&case)).unwrap();
        let stream = normal(case.tokens.len() * spec.hidden, 1);
        let loss = |stream: &[f32]| head.loss(&ctx, stream, &case.tokens).unwrap();
        let (_, gradient) = loss(&stream);
        for seed in 3..6 {
            let direction = normal(stream.len(), seed);
            let expected = slope(0.01, |step| loss(&moved(&stream, &direction, step)).0);
            let found = dot(&gradient, &direction);
            // Of the length that the slope has along most directions.
            let unit = norm(&gradient);
            assert!((found - expected).abs() < 2e-3 * unit, "{} {found} {expected} {unit}", case.name);
        }
        // The last token's prediction is nobody's.
        assert!(gradient[stream.len() - spec.hidden..].iter().all(|g| *g == 0.0), "{}", case.name);
        let (none, zeros) = head.loss(&ctx, &stream[..spec.hidden], &case.tokens[..1]).unwrap();
        assert!(none == 0.0 && zeros == vec![0.0; spec.hidden], "{}", case.name);
    }
}

#[test]
fn the_gradient_of_a_blocks_input_is_its_slope_along_any_direction() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for (case, spec) in dense() {
        let weights = Tiny::new(&case);
        let stream = normal(case.tokens.len() * spec.hidden, 1);
        let outer = normal(stream.len(), 2);
        for index in 0..spec.blocks.len() {
            let block = TracedBlock::build(&spec, index, &weights, capacity(&case)).unwrap();
            let mut gradient = outer.clone();
            block.backward(&ctx, block.forward(&ctx, &stream), &mut gradient, &mut |_| {});
            for seed in 3..6 {
                let direction = normal(stream.len(), seed);
                let value =
                    |step| dot(&block.forward(&ctx, &moved(&stream, &direction, step)).stream, &outer);
                let (found, expected) = (dot(&gradient, &direction), slope(0.01, value));
                // What the block adds, not what it passes on.
                let added: Vec<f32> = gradient.iter().zip(&outer).map(|(g, o)| g - o).collect();
                let unit = norm(&added);
                let error = (found - expected).abs() / unit;
                assert!(error < 3e-3, "{} block {index} {found} {expected} {unit}", case.name);
            }
        }
    }
}

#[test]
fn what_layers_read_and_the_gradient_of_what_they_give_is_the_slope_in_their_weights() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for (case, spec) in dense() {
        let stream = normal(case.tokens.len() * spec.hidden, 1);
        let outer = normal(stream.len(), 2);
        let index = spec.blocks.len() - 1;
        let built = |weights: &Tiny| TracedBlock::build(&spec, index, weights, capacity(&case)).unwrap();
        let plain = Tiny::new(&case);
        // The gradient of each layer's weights, Σ g xᵀ.
        let mut gradients: BTreeMap<Role, Vec<f32>> = BTreeMap::new();
        let block = built(&plain);
        block.backward(&ctx, block.forward(&ctx, &stream), &mut outer.clone(), &mut |seen| {
            let mut sum = vec![0.0; seen.shape.weights()];
            for (x, g) in seen.input.chunks_exact(seen.shape.k).zip(seen.gradient.chunks_exact(seen.shape.n))
            {
                for (row, g) in sum.chunks_exact_mut(seen.shape.k).zip(g) {
                    row.iter_mut().zip(x).for_each(|(sum, x)| *sum += g * x);
                }
            }
            gradients.insert(seen.id.role, sum);
        });
        assert_eq!(gradients.len(), 7, "{}", case.name);
        for (role, names) in [
            (
                vec![Role::Query, Role::Key, Role::Value],
                &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.qkv_proj"][..],
            ),
            (vec![Role::Output], &["self_attn.o_proj"]),
            (vec![Role::Gate, Role::Up], &["mlp.gate_proj", "mlp.up_proj", "mlp.gate_up_proj"]),
            (vec![Role::Down], &["mlp.down_proj"]),
        ] {
            let names = names.iter().map(|name| format!("model.layers.{index}.{name}.weight"));
            let names: Vec<String> = names.filter(|name| plain.0.contains_key(name)).collect();
            let gradient: Vec<f32> = role.iter().flat_map(|role| gradients[role].iter().copied()).collect();
            let direction = normal(gradient.len(), 3);
            let value = |step: f64| {
                let mut changed = Tiny::new(&case);
                let mut rest = &direction[..];
                for name in &names {
                    let values = lowbit_model::Weights::vector(&plain, name).unwrap();
                    let (own, others) = rest.split_at(values.len());
                    rest = others;
                    let bytes =
                        moved(&values, own, step).iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
                    let shape = plain.0[name].1.clone();
                    changed.0.insert(name.clone(), (StoredType::F32, shape, Storage::from(bytes)));
                }
                assert!(rest.is_empty(), "{} {role:?}", case.name);
                dot(&built(&changed).forward(&ctx, &stream).stream, &outer)
            };
            let (found, expected) = (dot(&gradient, &direction), slope(0.002, value));
            let unit = norm(&gradient);
            assert!(
                (found - expected).abs() < 3e-3 * unit,
                "{} {role:?} {found} {expected} {unit}",
                case.name
            );
        }
    }
}

#[test]
fn gradients_do_not_depend_on_the_number_of_threads() {
    let (case, spec) = dense().find(|(case, _)| case.name == "gemma2").unwrap();
    let weights = Tiny::new(&case);
    // More tokens than a tile and than rows of a task.
    let stream = normal(200 * spec.hidden, 1);
    let tokens: Vec<u32> = (0..200).map(|i| (i * 7 % spec.vocab) as u32).collect();
    let block = TracedBlock::build(&spec, 0, &weights, 200).unwrap();
    let head = LossHead::build(&spec, &weights).unwrap();
    let run = |threads: usize| {
        let ctx = Ctx::new(Isa::detect(), threads);
        let trace = block.forward(&ctx, &stream);
        let (loss, mut gradient) = head.loss(&ctx, &trace.stream, &tokens).unwrap();
        block.backward(&ctx, trace, &mut gradient, &mut |_| {});
        (loss, gradient)
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn what_has_no_gradient_is_refused_by_name() {
    for (name, part) in [("mixtral", "experts of block 0"), ("bitnet", "TernaryMaster")] {
        let Some(case) = golden_cases().into_iter().find(|case| case.name.starts_with(name)) else {
            panic!("no case {name}")
        };
        let spec = tiny::spec(&case.config).unwrap();
        let error = TracedBlock::build(&spec, 0, &Tiny::new(&case), 8).err().unwrap();
        assert!(matches!(error, ModelError::NoGradient { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let case = golden_case("qwen3");
    let spec = tiny::spec(&case.config).unwrap();
    let head = LossHead::build(&spec, &Tiny::new(&case)).unwrap();
    let wrong =
        head.loss(&Ctx::new(Isa::detect(), 1), &vec![0.0; 2 * spec.hidden], &[0, 1 << 20]).unwrap_err();
    assert!(matches!(wrong, ModelError::Token { index: 1, .. }), "{wrong}");
}
