//! Products of weights with activations.

use super::{COLD, ENOUGH, Subject, middle, noise, timed};
use crate::{SimError, trace::Weight};
use lowbit_format::NK;
use lowbit_kernels::{Act, MatMut, MatRef};
use lowbit_model::{LinearOp, Role};
use std::time::Instant;

/// Weights of a matrix that is measured; of a larger one as many rows as have that many.
const WEIGHTS: usize = 1 << 24;

/// Rows of a matrix are cut to a multiple of this, which no kernel's panels are larger than.
const ROWS: usize = 256;

/// Rows of activations from which on a weight is read so often that it does not matter where from.
const MANY: usize = 64;

/// Seconds of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// To round activations or make tables of them.
    pub(super) prepare_s: f64,
    /// To multiply.
    pub(super) multiply_s: f64,
}

impl Product {
    /// Measures a product of `rows` activations with the weight.
    pub(super) fn measure(
        subject: &Subject<'_>,
        (weight, role): (&Weight, Role),
        rows: usize,
    ) -> Result<Self, SimError> {
        let NK { n, k } = weight.shape;
        let few = (WEIGHTS / k.max(1)).max(ROWS) / ROWS * ROWS;
        let part = Weight { format: weight.format.clone(), shape: NK { n: n.min(few), k } };
        let layers = copies(subject, &part, role, rows)?;
        let n_part = part.shape.n;
        let (x, mut out) = (noise(rows * k), vec![0.0; rows * n_part]);
        let mut once = |layer: &dyn LinearOp| {
            let act = Act::new(MatRef::new(&x, rows, k));
            let prepare = timed(|| layer.prepare(subject.ctx, &act));
            let multiply = timed(|| layer.forward(subject.ctx, &act, MatMut::new(&mut out, rows, n_part)));
            (prepare, multiply)
        };
        // The first time faults pages in.
        for layer in &layers {
            once(&**layer);
        }
        let (mut prepare, mut multiply) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for layer in layers.iter().cycle() {
            let (p, m) = once(&**layer);
            prepare.push(p);
            multiply.push(m);
            let whole_rounds = multiply.len().is_multiple_of(layers.len());
            if whole_rounds && multiply.len() >= 3 && start.elapsed() >= ENOUGH {
                break;
            }
        }
        Ok(Self {
            prepare_s: middle(prepare),
            multiply_s: middle(multiply) * n as f64 / n_part.max(1) as f64,
        })
    }
}

/// As many layers as are larger than a cache together, or as a token reads.
fn copies(
    subject: &Subject<'_>,
    weight: &Weight,
    role: Role,
    rows: usize,
) -> Result<Vec<Box<dyn LinearOp>>, SimError> {
    let make = |seed: u64| {
        (subject.layers)(weight, role, seed).map_err(|why| SimError::Tensor {
            shape: weight.shape,
            format: weight.format.label(),
            why,
        })
    };
    let mut layers = vec![make(0)?];
    if rows < MANY {
        let bytes = layers[0].bytes().max(1);
        let count = COLD.min(subject.footprint).div_ceil(bytes).clamp(1, 256);
        for seed in 1..count {
            layers.push(make(seed as u64)?);
        }
    }
    Ok(layers)
}
