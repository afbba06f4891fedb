//! Activation functions of the feed-forward block, applied to the gate and multiplied with the up projection.

use super::softmax::exp;
use crate::isa::multiversion;

/// What is applied to the gate projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` by the tanh formula: `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
    /// `max(x, 0)²`.
    SquaredRelu,
}

/// `tanh(x)` through [`exp`]; absolute error below 3e-7.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

multiversion! {
    /// `gate = f(gate) · up`, element by element.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) = gate_row;
}

#[inline(always)]
fn gate_row(activation: Activation, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    match activation {
        Activation::Silu => apply(gate, up, |x| x / (1.0 + exp(-x))),
        Activation::GeluTanh => apply(gate, up, |x| {
            let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + tanh(inner))
        }),
        Activation::SquaredRelu => apply(gate, up, |x| {
            let positive = if x > 0.0 { x } else { 0.0 };
            positive * positive
        }),
    }
}

#[inline(always)]
fn apply(gate: &mut [f32], up: &[f32], f: impl Fn(f32) -> f32) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = f(*gate) * up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn activations_match_f64_within_a_millionth() {
        let xs: Vec<f32> = (-600..600).map(|i| i as f32 * 0.05).collect();
        let ones = vec![1.0; xs.len()];
        type Exact = fn(f64) -> f64;
        let exact: [(Activation, Exact); 3] = [
            (Activation::Silu, |x| x / (1.0 + (-x).exp())),
            (Activation::GeluTanh, |x| {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }),
            (Activation::SquaredRelu, |x| x.max(0.0).powi(2)),
        ];
        for (activation, f) in exact {
            for isa in Isa::available() {
                let mut out = xs.clone();
                gate(isa, activation, &mut out, &ones);
                for (x, y) in xs.iter().zip(&out) {
                    let want = f(f64::from(*x));
                    assert!(
                        (f64::from(*y) - want).abs() <= 1e-6 * (1.0 + want.abs()),
                        "{activation:?}({x}) = {y}, not {want}"
                    );
                }
            }
        }
    }
}
