//! Operations on the input of layers: a model whose weights were changed the other way gives the same logits.

use super::tiny::{self, Tiny};
use lowbit_format::{FloatFormat, NK, OnlineOp, QuantTensor};
use lowbit_kernels::{ActPrecision, Ctx, Isa};
use lowbit_model::{
    Decoder, InputOps, KvElement, LinearOp, Logits, ModelError, Naming, PackedBytes, WeightError, Weights,
};
use lowbit_testing::{GoldenCase, SplitMix64, golden_case, max_relative_error};
use std::{cell::RefCell, sync::Arc};

/// Makes the operations of a matrix from its name and width.
type Ops = fn(&str, usize) -> Vec<OnlineOp>;

/// A golden checkpoint whose matrices were changed for operations on their inputs.
struct Changed {
    tiny: Tiny,
    ops: Ops,
}

fn is_layer(name: &str) -> bool {
    name.ends_with("proj.weight") || name.contains(".block_sparse_moe.") || name == "lm_head.weight"
}

impl Weights for Changed {
    fn scheme(&self) -> Naming {
        self.tiny.scheme()
    }

    fn has(&self, name: &str) -> bool {
        self.tiny.has(name)
    }

    fn matrix(&self, name: &str) -> Result<QuantTensor, WeightError> {
        let tensor = self.tiny.matrix(name)?;
        let ops = self.input_ops(name)?;
        let NK { n, k } = tensor.shape();
        let (mut all, mut scratch) = (vec![0.0; n * k], vec![0.0; k]);
        for (row, out) in all.chunks_exact_mut(k).enumerate() {
            tensor.decode_row(row, out);
            for op in &ops {
                match op {
                    // W · x = (W / s) · (x ∘ s); the others are orthonormal: W · x = (W · Aᵀ) · (A · x).
                    OnlineOp::Scale(s) => out.iter_mut().zip(s).for_each(|(w, s)| *w /= s),
                    op => op.apply(out, &mut scratch),
                }
            }
        }
        Ok(QuantTensor::from_floats(FloatFormat::F32, NK { n, k }, FloatFormat::F32.encode(&all).into())?)
    }

    fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, WeightError> {
        if !is_layer(name) {
            return Ok(Vec::new());
        }
        Ok((self.ops)(name, self.tiny.matrix(name)?.shape().k))
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        self.tiny.vector(name)
    }

    fn packed(&self, name: &str) -> Result<PackedBytes, WeightError> {
        self.tiny.packed(name)
    }
}

/// A permutation without a pattern.
fn shuffled(k: usize, seed: u64) -> OnlineOp {
    let (mut order, mut random) = ((0..k as u32).collect::<Vec<_>>(), SplitMix64::new(seed));
    (1..k).rev().for_each(|i| order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize));
    OnlineOp::Permute(order)
}

fn signs(k: usize) -> Vec<i8> {
    (0..k).map(|i| if i * i % 7 > 2 { -1 } else { 1 }).collect()
}

fn logits(decoder: &Decoder, case: &GoldenCase) -> Vec<Vec<f32>> {
    let ctx = Ctx::new(Isa::detect(), 2);
    let mut cache = decoder.cache(case.tokens.len(), KvElement::F32).unwrap();
    let mut out = Vec::new();
    decoder.forward(&ctx, &case.tokens, &mut cache, Logits::All, &mut out).unwrap();
    case.positions
        .iter()
        .map(|at| out[at * decoder.spec().vocab..][..decoder.spec().vocab].to_vec())
        .collect()
}

fn build(case: &GoldenCase, ops: Ops) -> Result<Decoder, ModelError> {
    let weights = Changed { tiny: Tiny::new(case), ops };
    Decoder::build(tiny::spec(&case.config).unwrap(), &weights, ActPrecision::Float)
}

#[test]
fn a_model_of_changed_weights_with_operations_on_its_inputs_is_the_same_model() {
    let all: [(&str, Ops); 4] = [
        ("a permutation of each layer's own", |name, k| vec![shuffled(k, lowbit_testing::fnv1a(name))]),
        ("a permutation of all", |_, k| vec![shuffled(k, 1)]),
        ("a rotation", |_, k| vec![OnlineOp::Hadamard { block: 1 << k.trailing_zeros(), signs: signs(k) }]),
        ("several", |_, k| {
            let scales = (0..k).map(|i| if i % 3 == 0 { 0.25 } else { 2.0 }).collect();
            let rotation = OnlineOp::Hadamard { block: 4, signs: signs(k) };
            vec![shuffled(k, 2), OnlineOp::Scale(scales), rotation]
        }),
    ];
    for name in ["llama-gqa", "mixtral", "phi3-window", "gemma3"] {
        let case = golden_case(name);
        for (what, ops) in all {
            let decoder = build(&case, ops).unwrap();
            for (row, expected) in logits(&decoder, &case).iter().zip(&case.logits) {
                let error = max_relative_error(row, expected);
                // What the goldens themselves are held to: sums in another order are well within it.
                assert!(error < 1e-4, "{name}, {what}: {error}");
            }
        }
    }
}

#[test]
fn layers_of_one_input_share_equal_operations() {
    let case = golden_case("llama-gqa");
    let seen: RefCell<Vec<(String, InputOps)>> = RefCell::default();
    let weights = Changed { tiny: Tiny::new(&case), ops: |_, k| vec![shuffled(k, k as u64)] };
    let spec = tiny::spec(&case.config).unwrap();
    Decoder::build_with(spec, &weights, ActPrecision::Float, &|id, stored| {
        seen.borrow_mut().push((format!("{} {:?}", id.block, id.role), stored.input().unwrap().clone()));
        Box::new(stored)
    })
    .unwrap();
    let seen = seen.into_inner();
    let of = |name: &str| &seen.iter().find(|(other, _)| other == name).unwrap().1;
    for name in ["0 Key", "0 Value", "0 Gate", "1 Query"] {
        assert!(Arc::ptr_eq(of("0 Query"), of(name)), "{name}");
    }
}

#[test]
fn operations_that_do_not_fit_are_refused_by_name() {
    let case = golden_case("llama-gqa");
    let error = build(&case, |_, k| vec![OnlineOp::Scale(vec![1.0; k - 1])]).map(|_| ()).unwrap_err();
    let text = std::error::Error::source(&error).map_or(String::new(), |e| e.to_string());
    assert!(format!("{error} {text}").contains("lm_head.weight"), "{error}");
    assert!(format!("{error} {text}").contains("scaling"), "{error} {text}");
}
