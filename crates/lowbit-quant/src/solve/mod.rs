//! Choosing the codes of a layer: the parts that methods share.

mod axis;
mod blocks;
mod column_sweep;
mod group_bits;
mod kept;
mod low_rank;
mod matrix;
mod more_bits;
mod more_rows;
mod nearest;
#[cfg(test)]
pub(crate) mod testing;
mod two_level;

pub use axis::EitherAxis;
pub(crate) use blocks::Blocks;
pub use column_sweep::{ColumnSweep, Order};
pub use group_bits::{ChooseBits, GroupBits};
pub use kept::{Keep, Kept};
pub use low_rank::{Lost, LowRank};
pub use matrix::Matrix;
pub use more_bits::MoreBits;
pub(crate) use more_rows::add_rows;
pub use more_rows::{Among, MoreRows, Rows, Salient};
pub use nearest::Nearest;
pub(crate) use nearest::decode;
pub use two_level::{Coarse, TwoLevel};

use crate::{
    fit::Fit,
    stats::{InputStats, Needs, NotDefinite},
};
use lowbit_format::{FormatError, GroupShape, GroupedSpec, NK, QuantTensor, Storage, WeightSpec};

/// A layer that is to be rounded.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// Its weights, of any format.
    pub weight: &'a QuantTensor,
    /// What calibration knows of its inputs.
    pub stats: Option<&'a InputStats>,
    /// Workers, at least one. What is made does not depend on it.
    pub threads: usize,
}

/// Chooses the codes of a layer.
pub trait Solve: Send + Sync {
    /// What it is called where the parts of a method are listed.
    fn name(&self) -> &'static str;
    /// What calibration must collect for it.
    fn needs(&self) -> Needs {
        Needs::NONE
    }
    /// # Errors
    /// Why it cannot make a format; by default it makes all but groups in columns.
    fn accepts(&self, spec: &GroupedSpec) -> Result<(), &'static str> {
        no_columns(spec)
    }
    /// What rounds a layer that no token of the calibration reached, as an expert may be.
    fn without_inputs(&self) -> &dyn Solve {
        &Nearest
    }
    /// Whether it makes blocks of GGUF too.
    fn makes_blocks(&self) -> bool {
        false
    }
    /// Likewise to blocks, if it makes them.
    ///
    /// # Errors
    /// As for [`Self::solve`].
    fn solve_blocks(&self, _: &Layer<'_>, _: &Blocks, _: &dyn Fit) -> Result<Quantized, SolveError> {
        unreachable!("{} makes no blocks", self.name())
    }
    /// # Errors
    /// Weights or inputs that are no numbers.
    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError>;
}

/// # Errors
/// Where groups lie in columns.
pub(crate) fn no_columns(spec: &GroupedSpec) -> Result<(), &'static str> {
    match spec.levels()[0].shape {
        GroupShape::Column(_) => {
            Err("it works on groups in rows; take a format with groups such as g64 in place of c64")
        }
        _ => Ok(()),
    }
}

/// Why a layer cannot be rounded.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// Its weights are no numbers, or the format has no encoder.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Its inputs are.
    #[error(transparent)]
    Inputs(#[from] NotDefinite),
}

/// A quantized matrix, and how far it is from the weights.
#[derive(Debug, Default)]
pub struct Quantized {
    /// The runs of bytes of its parts: codes, scales, zero points; or floats.
    pub parts: Vec<Vec<u8>>,
    /// What it was made into, where that is not the format asked for: something is added to it.
    pub spec: Option<WeightSpec>,
    /// The columns that the stored ones are, where they were permuted.
    pub order: Option<Vec<u32>>,
    /// Σ (w − ŵ)².
    pub squared_error: f64,
    /// Σ w².
    pub squared: f64,
}

impl Quantized {
    /// Adds the rows of another after those of this one.
    pub(crate) fn append(&mut self, rows: Self) {
        self.parts.resize(rows.parts.len(), Vec::new());
        for (part, more) in self.parts.iter_mut().zip(&rows.parts) {
            part.extend_from_slice(more);
        }
        self.squared_error += rows.squared_error;
        self.squared += rows.squared;
    }

    /// What was made, of a matrix that was to become `asked`.
    pub(crate) fn tensor(&self, asked: &WeightSpec, shape: NK) -> Result<QuantTensor, FormatError> {
        let parts = self.parts.iter().map(|bytes| Storage::from(bytes.clone()));
        QuantTensor::from_parts(self.spec.as_ref().unwrap_or(asked), shape, parts)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }
}

/// Rounds a stored matrix to `spec`, any format but a sum, from weights alone but for what the fit wants.
///
/// # Errors
/// Weights that are not finite, or a format without an encoder.
pub fn quantize_matrix(
    (fit, solve): (&dyn Fit, &dyn Solve),
    layer: &Layer<'_>,
    spec: &WeightSpec,
) -> Result<Quantized, SolveError> {
    match spec {
        WeightSpec::Grouped(spec) => solve.solve(layer, spec, fit),
        WeightSpec::Block(format) => solve.solve_blocks(layer, &Blocks::of(*format)?, fit),
        other => Ok(nearest::to_floats(layer, other)?),
    }
}

/// Runs `work` for every item on `threads` workers; results come in the order of the items.
pub(crate) fn share<I: Send, T: Send>(
    threads: usize,
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let items = std::sync::Mutex::new(items.enumerate());
    let run = || {
        let mut done = Vec::new();
        loop {
            let next = items.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            let Some((i, item)) = next else { return done };
            done.push((i, work(item)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, done)| done).collect()
}
