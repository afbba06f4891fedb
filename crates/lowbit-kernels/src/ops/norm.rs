//! Norms and other element-wise operations on one row.

use super::lane_sum;
use crate::isa::multiversion;

multiversion! {
    /// Root-mean-square norm of one row: `out = x / sqrt(mean(x²) + eps) · gain`; an empty `gain` counts as ones.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) = rms_norm_row;
}

#[inline(always)]
fn rms_norm_row(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == out.len() && (gain.is_empty() || gain.len() == x.len()));
    let mean = lane_sum(x, |x| x * x) / x.len() as f32;
    let factor = 1.0 / (mean + eps).sqrt();
    if gain.is_empty() {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x * factor;
        }
    } else {
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = x * factor * gain;
        }
    }
}

multiversion! {
    /// Layer norm of one row: `out = (x − mean) / sqrt(variance + eps) · gain`.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn layer_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) = layer_norm_row;
}

#[inline(always)]
fn layer_norm_row(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == out.len() && gain.len() == x.len());
    let mean = lane_sum(x, |x| x) / x.len() as f32;
    let variance = lane_sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
    let factor = 1.0 / (variance + eps).sqrt();
    for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
        *out = (x - mean) * factor * gain;
    }
}

multiversion! {
    /// `x += y`.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn add(x: &mut [f32], y: &[f32]) = add_row;
}

#[inline(always)]
fn add_row(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

multiversion! {
    /// `x *= factor`.
    pub fn scale(x: &mut [f32], factor: f32) = scale_row;
}

#[inline(always)]
fn scale_row(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

multiversion! {
    /// `x = cap · tanh(x / cap)`: the soft cap of Gemma 2 on scores and logits.
    pub fn soft_cap(x: &mut [f32], cap: f32) = soft_cap_row;
}

#[inline(always)]
fn soft_cap_row(x: &mut [f32], cap: f32) {
    for x in x {
        *x = cap * super::gate::tanh(*x / cap);
    }
}
