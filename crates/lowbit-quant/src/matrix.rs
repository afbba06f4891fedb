//! One weight matrix through a recipe, rows in parallel.

use crate::Recipe;
use lowbit_format::{
    FormatError, GroupFit, GroupShape, GroupedSpec, GroupedTensor, NK, QuantTensor, TensorData, WeightSpec,
};

/// Weights that are decoded to floats at a time.
const BATCH_WEIGHTS: usize = 1 << 22;

/// A quantized matrix, and how far it is from the weights.
pub struct Quantized {
    /// The runs of bytes of its parts: codes, scales, zero points; or floats.
    pub parts: Vec<Vec<u8>>,
    /// Σ (w − ŵ)².
    pub squared_error: f64,
    /// Σ w².
    pub squared: f64,
}

/// Rounds a stored matrix to `spec`, a grouped or float format. Rows are shared among `threads`, about 16 MiB of
/// weights at a time, or all of them where the whole tensor shares a scale. Bytes and figures do not depend on the
/// number of threads.
///
/// # Errors
/// Weights that are not finite, or a format without an encoder.
pub fn quantize_matrix(
    recipe: &Recipe,
    tensor: &QuantTensor,
    spec: &WeightSpec,
    threads: usize,
) -> Result<Quantized, FormatError> {
    let shape = tensor.shape();
    let whole =
        matches!(spec, WeightSpec::Grouped(s) if s.levels().iter().any(|l| l.shape == GroupShape::Tensor));
    let (batch, threads) = if whole {
        (shape.n, 1)
    } else {
        let rows = (BATCH_WEIGHTS / shape.k.max(1)).max(threads).max(1);
        (rows.div_ceil(threads.max(1)), threads.max(1))
    };
    let starts: Vec<usize> = (0..shape.n).step_by(batch.max(1)).collect();
    let mut all = Quantized { parts: Vec::new(), squared_error: 0.0, squared: 0.0 };
    for starts in starts.chunks(threads) {
        let run = |start: usize| rows(recipe, tensor, spec, start..(start + batch).min(shape.n));
        let done: Vec<Result<Rows, FormatError>> = std::thread::scope(|scope| {
            let others: Vec<_> = starts[1..].iter().map(|s| scope.spawn(move || run(*s))).collect();
            let first = run(starts[0]);
            let join = |handle: std::thread::ScopedJoinHandle<'_, _>| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            std::iter::once(first).chain(others.into_iter().map(join)).collect()
        });
        for done in done {
            all.add(done?);
        }
    }
    Ok(all)
}

impl Quantized {
    fn add(&mut self, rows: Rows) {
        self.parts.resize(rows.parts.len(), Vec::new());
        for (part, more) in self.parts.iter_mut().zip(&rows.parts) {
            part.extend_from_slice(more);
        }
        // Row by row, so that the sums do not depend on how rows were shared out.
        for (error, squared) in rows.sums {
            self.squared_error += error;
            self.squared += squared;
        }
    }
}

struct Rows {
    parts: Vec<Vec<u8>>,
    /// Σ (w − ŵ)² and Σ w² of each row.
    sums: Vec<(f64, f64)>,
}

fn rows(
    recipe: &Recipe,
    tensor: &QuantTensor,
    spec: &WeightSpec,
    rows: std::ops::Range<usize>,
) -> Result<Rows, FormatError> {
    let shape = NK { n: rows.len(), k: tensor.shape().k };
    let mut weights = vec![0.0; shape.weights()];
    for (n, row) in rows.clone().zip(weights.chunks_exact_mut(shape.k)) {
        tensor.decode_row(n, row);
    }
    if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
        let (n, k) = (rows.start + i / shape.k, i % shape.k);
        return Err(FormatError::NotFinite { n, k, value: weights[i] });
    }
    let rounded = match spec {
        WeightSpec::Grouped(spec) => QuantTensor::from_grouped(grouped(recipe, &weights, spec, shape)?),
        other => QuantTensor::quantize_nearest(other, &weights, shape)?,
    };
    let mut decoded = vec![0.0; shape.k];
    let sums = weights.chunks_exact(shape.k).enumerate().map(|(n, row)| {
        rounded.decode_row(n, &mut decoded);
        let squares =
            row.iter().zip(&decoded).map(|(w, d)| (f64::from(w - d).powi(2), f64::from(*w).powi(2)));
        squares.fold((0.0, 0.0), |(a, b), (e, s)| (a + e, b + s))
    });
    Ok(Rows { sums: sums.collect(), parts: parts(&rounded) })
}

fn grouped(
    recipe: &Recipe,
    weights: &[f32],
    spec: &GroupedSpec,
    shape: NK,
) -> Result<GroupedTensor, FormatError> {
    let level = spec.levels()[0].shape;
    let (row, group) = match level {
        GroupShape::Tensor => (weights.len(), weights.len()),
        other => (shape.k, other.len_in_row(shape.k)),
    };
    let groups = weights.chunks(row).flat_map(|row| row.chunks(group));
    let fits: Vec<GroupFit> = groups.map(|group| recipe.fit.fit(spec, group)).collect();
    GroupedTensor::quantize_with(spec, weights, shape, &fits)
}

/// The bytes of every part in the container's order.
fn parts(tensor: &QuantTensor) -> Vec<Vec<u8>> {
    match tensor.data() {
        TensorData::Float { bytes, .. } | TensorData::Blocks { bytes, .. } => vec![bytes.bytes().to_vec()],
        TensorData::Grouped(grouped) => {
            let params = grouped.params();
            let params = params.levels.iter().chain(&params.zeros).map(|p| p.bytes().bytes().to_vec());
            std::iter::once(grouped.codes().bytes().bytes().to_vec()).chain(params).collect()
        }
    }
}
