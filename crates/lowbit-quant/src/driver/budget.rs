//! How much memory a run takes, known before it starts.

use super::{
    block::{ONE_BY_ONE, TOGETHER},
    plan::Plan,
    rows,
};
use crate::{
    QuantError, Recipe,
    stats::{Inputs, Needs},
    transform::Place,
};
use lowbit_model::{Ffn, ModelSpec, Role};

/// Rows of inputs that wait to be added to a Hessian.
const WAITING_ROWS: u64 = 2048;

/// Bytes of what a run holds at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// Residual streams of all samples. They can be in a file instead.
    streams: u64,
    /// Statistics of the inputs of a block, collected in one pass.
    statistics: u64,
    /// The same where they are collected in a pass for each place of the block.
    statistics_apart: u64,
    /// The weights of the largest block and the floats of its largest matrix.
    weights: u64,
    /// What is held while rows are chosen, before all that.
    rows: u64,
}

/// How a run keeps within its memory.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// Places whose inputs are collected in one pass, pass by pass.
    pub(crate) passes: &'static [&'static [Place]],
    /// Whether streams go to a file.
    pub(crate) in_file: bool,
    /// What it takes.
    pub(crate) bytes: u64,
}

impl Budget {
    /// Of a run that is calibrated with so many tokens, the longest sample so long.
    pub(crate) fn new(
        model: &ModelSpec,
        plan: &Plan<'_>,
        recipe: &Recipe,
        (tokens, longest): (u64, usize),
    ) -> Self {
        let needs = recipe.needs();
        let each: Vec<u64> = Place::ALL.iter().map(|place| inputs(model, *place, needs)).collect();
        let blocks = plan.blocks.iter().map(|layers| {
            let layers = layers.iter().filter_map(|layer| plan.get(&layer.tensor));
            // Stored, packed for products, and rounded.
            layers.map(|planned| 3 * planned.info.bytes as u64).sum::<u64>()
        });
        let largest = plan.tensors.iter().filter(|planned| planned.block.is_some());
        let largest = largest.map(|planned| planned.info.elements() as u64).max().unwrap_or(0);
        Self {
            streams: 4 * tokens * model.hidden as u64,
            statistics: each.iter().sum(),
            statistics_apart: each.iter().copied().max().unwrap_or(0),
            // The weights, their errors and what they are rounded to.
            weights: blocks.max().unwrap_or(0) + 3 * 4 * largest,
            rows: recipe.rows.as_ref().map_or(0, |_| rows::bytes(model, longest)),
        }
    }

    /// How the run is made so that `memory` is enough.
    pub(crate) fn fit(self, memory: Option<u64>, recipe: &Recipe) -> Result<Way, QuantError> {
        let sequential = recipe.sequential && !recipe.folds();
        let usual = if sequential { ONE_BY_ONE } else { TOGETHER };
        let together = if sequential { self.statistics_apart } else { self.statistics };
        // Scales of all places are folded before anything is rounded.
        let (split, apart) =
            if recipe.folds() { (usual, self.statistics) } else { (ONE_BY_ONE, self.statistics_apart) };
        let ways = [
            Way { passes: usual, in_file: false, bytes: together + self.weights + self.streams },
            Way { passes: usual, in_file: true, bytes: together + self.weights },
            Way { passes: split, in_file: true, bytes: apart + self.weights },
        ];
        let ways = ways.map(|way| Way { bytes: way.bytes.max(self.rows), ..way });
        let least = ways.iter().map(|way| way.bytes).min().unwrap_or(0);
        let given = memory.unwrap_or(u64::MAX);
        ways.into_iter().find(|way| way.bytes <= given).ok_or(QuantError::Memory { least, given })
    }
}

/// Bytes of the statistics of the inputs at a place.
fn inputs(model: &ModelSpec, place: Place, needs: Needs) -> u64 {
    let ffn = model.blocks.iter().map(|block| match block.ffn {
        Ffn::Dense { inner } => (inner as u64, 1),
        Ffn::Experts { count, inner, .. } => (inner as u64, count as u64),
    });
    let (inner, experts) = ffn.max_by_key(|(inner, count)| inner * count).unwrap_or((0, 1));
    let hidden = model.hidden as u64;
    let (k, count) = match place.inputs() {
        Role::Output => (model.query_width() as u64, 1),
        Role::Gate => (hidden, experts),
        Role::Down => (inner, experts),
        _ => (hidden, 1),
    };
    // Sums, then sums and factor, then the factor in single precision.
    let hessian = if needs.inputs == Inputs::Hessian { 8 * k * k + 4 * WAITING_ROWS * k } else { 0 };
    count * (hessian + 4 * needs.samples as u64 * k + 20 * k)
        + if needs.inputs == Inputs::Hessian { 8 * k * k } else { 0 }
}
