//! The weights of runs in as few bytes as give the same floats.

use super::WIDE;
use lowbit_format::{FloatFormat, GroupShape, QuantTensor, TensorData};

/// How weights are kept: in as few bytes as give the same floats.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    F32,
    F16,
    I8,
    /// As [`crate::lanes::Lanes::load_i4`] takes them; of runs only.
    I4,
}

/// Weights before they are put into blocks.
pub(super) struct Values {
    pub(super) kept: Kept,
    bytes: Vec<u8>,
    /// What integers are worth, of each run or all; none where weights are floats.
    pub(super) worth: Vec<f32>,
}

impl Kept {
    /// Bytes of so many weights.
    pub(super) fn bytes(self, weights: usize) -> usize {
        match self {
            Self::F32 => 4 * weights,
            Self::F16 => 2 * weights,
            Self::I8 => weights,
            Self::I4 => weights / 2,
        }
    }
}

impl Values {
    /// The weights of runs, in the fewest bytes that give the same floats; `wide` ones have a multiple of sixteen.
    pub(super) fn new(runs: &QuantTensor, wide: bool) -> Self {
        let width = runs.shape().k;
        let mut values = vec![0.0; runs.shape().weights()];
        for (i, run) in values.chunks_exact_mut(width).enumerate() {
            runs.decode_row(i, run);
        }
        if let Some(worth) = worth(runs, wide)
            && let Some(integers) = integers(&values, &worth, width)
        {
            let small = integers.iter().all(|integer| (-8..8).contains(integer));
            if !(wide && small) {
                return Self { kept: Kept::I8, bytes: bytemuck::cast_slice(&integers).to_vec(), worth };
            }
            // The first lower half has lane 0, the first upper one lane 2, the fifth lane 1.
            let byte = |some: &[i8], i: usize| {
                let lane = 4 * (i % 4) + i / 4;
                (some[lane] & 15 | some[lane + 2] << 4) as u8
            };
            let sixteen = |some: &[i8; WIDE]| -> [u8; 8] { std::array::from_fn(|i| byte(some, i)) };
            let bytes = integers.as_chunks::<WIDE>().0.iter().flat_map(sixteen).collect();
            return Self { kept: Kept::I4, bytes, worth };
        }
        let halves = FloatFormat::F16.encode(&values);
        let mut again = vec![0.0; values.len()];
        FloatFormat::F16.decode(&halves, &mut again);
        if again == values {
            return Self { kept: Kept::F16, bytes: halves, worth: vec![] };
        }
        Self { kept: Kept::F32, bytes: FloatFormat::F32.encode(&values), worth: vec![] }
    }

    /// Those of a run of `width`.
    pub(super) fn run(&self, run: usize, width: usize) -> &[u8] {
        let bytes = self.kept.bytes(width);
        &self.bytes[run * bytes..][..bytes]
    }
}

/// What integers are worth, of each run or all; `None` where that is neither.
fn worth(runs: &QuantTensor, wide: bool) -> Option<Vec<f32>> {
    let TensorData::Grouped(grouped) = runs.data() else { return None };
    let [scales] = &*grouped.params().levels else { return None };
    let width = runs.shape().k;
    match scales.shape() {
        GroupShape::Tensor => Some(vec![scales.get(0, 0)]),
        shape if wide && shape.len_in_row(width) == width => {
            Some((0..runs.shape().n).map(|run| scales.get(run, 0)).collect())
        }
        _ => None,
    }
}

/// The integers that give the same floats; `None` where a byte does not hold them.
fn integers(values: &[f32], worth: &[f32], width: usize) -> Option<Vec<i8>> {
    let integer = |(i, value): (usize, &f32)| {
        let worth = worth[(i / width).min(worth.len() - 1)];
        let integer = if worth == 0.0 { 0.0 } else { (value / worth).round() };
        ((-128.0..=127.0).contains(&integer) && integer * worth == *value).then_some(integer as i8)
    };
    values.iter().enumerate().map(integer).collect()
}
