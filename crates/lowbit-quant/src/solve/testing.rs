//! What a solver loses on one layer, for tests against values that were made elsewhere.

use super::{Layer, Solve, quantize_matrix};
use crate::{
    fit::Range,
    stats::{Collector, Inputs, Needs},
};
use lowbit_format::{FloatFormat, NK, QuantTensor, Storage, WeightSpec};
use lowbit_kernels::MatRef;

/// The squared error of the weights, and of the outputs, of W rounded to a format, groups fitted by range; `x` are the inputs.
pub(crate) fn lost(solve: &dyn Solve, (w, x, shape): (&[f32], &[f32], NK), format: &str) -> [f64; 2] {
    let weight = Storage::from(FloatFormat::F32.encode(w));
    let weight = QuantTensor::from_floats(FloatFormat::F32, shape, weight).unwrap();
    let spec = WeightSpec::parse(format).unwrap();
    let needs = solve.needs().and(Needs { inputs: Inputs::Hessian, ..Needs::NONE });
    let tokens = x.len() / shape.k;
    let mut collector = Collector::new(shape.k, needs, tokens as u64, 1);
    collector.add(MatRef::new(x, tokens, shape.k));
    let stats = collector.finish();
    let layer = Layer { weight: &weight, stats: Some(&stats), threads: 1 };
    let made = quantize_matrix((&Range, solve), &layer, &spec).unwrap();
    let tensor = made.tensor(&spec, shape).unwrap();
    let mut row = vec![0.0; shape.k];
    let mut outputs = 0.0;
    for (n, w) in w.chunks_exact(shape.k).enumerate() {
        tensor.decode_row(n, &mut row);
        for x in x.chunks_exact(shape.k) {
            let error = (0..shape.k).map(|k| f64::from(w[k] - row[k]) * f64::from(x[k])).sum::<f64>();
            outputs += error * error;
        }
    }
    [made.squared_error, outputs]
}
