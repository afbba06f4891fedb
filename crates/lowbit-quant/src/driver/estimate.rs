//! How long a calibrated run will take and how much memory, said before it starts: operations counted from the shapes of
//! the model, over rates that this machine reached a moment ago ([`probe`](super::probe)).

use super::{
    Request,
    budget::Budget,
    plan::{self, Plan},
    probe::measure,
    rows::PASSES,
    survey::check_target,
};
use crate::{QuantError, Recipe, methods::Propagate, stats::Inputs, transform::Place};
use lowbit_format::WeightSpec;
use lowbit_io::{Access, Checkpoint};
use lowbit_kernels::Ctx;
use lowbit_model::{Ffn, ModelSpec};
use serde::Serialize;

/// Numbers of bits that `--target-bpw` tries for every tensor.
const TRIED_BITS: f64 = 7.0;

/// Ways of splitting inputs that are tried at a place, about.
const TRIED_SPLITS: f64 = 9.0;

/// What a run takes, by the number of its samples.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    length: usize,
    /// Of a sample: passes over all blocks.
    pass_sample: f64,
    /// Of a sample: sums over inputs.
    statistics_sample: f64,
    /// Whatever the number of samples: blocks packed for their passes.
    packing: f64,
    /// Whatever the number of samples: scales searched, Hessians factored, codes chosen.
    rounding: f64,
    /// Bytes of a sample's residual stream.
    stream_bytes: u64,
    /// Where streams may be in memory: the bytes up to which they are.
    room: Option<u64>,
    /// All other bytes.
    bytes: u64,
    /// Inputs of the widest layer whose products of inputs are summed up, 0 where none are.
    widest: usize,
}

/// What a run is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Samples it is for.
    pub samples: usize,
    /// Tokens of each.
    pub length: usize,
    /// All of it, without reading and writing files.
    pub seconds: f64,
    /// The model's blocks run over all samples.
    pub passes_seconds: f64,
    /// Inputs summed up, Hessians among them.
    pub statistics_seconds: f64,
    /// Scales searched, Hessians factored, codes chosen.
    pub rounding_seconds: f64,
    /// Memory at the same time, the mapped source and what the file system caches apart.
    pub memory_bytes: u64,
    /// Tokens for each input of the widest layer whose products of inputs are summed up; absent where none are. With few, codes
    /// are chosen for the calibration and no other text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_input: Option<f64>,
}

impl Cost {
    /// With so many samples.
    pub fn of(&self, samples: usize) -> Estimate {
        let count = samples as f64;
        let passes_seconds = self.packing + count * self.pass_sample;
        let statistics_seconds = count * self.statistics_sample;
        let whole = self.bytes.saturating_add(self.stream_bytes.saturating_mul(samples as u64));
        Estimate {
            samples,
            length: self.length,
            seconds: passes_seconds + statistics_seconds + self.rounding,
            passes_seconds,
            statistics_seconds,
            rounding_seconds: self.rounding,
            tokens_per_input: (self.widest > 0).then(|| count * self.length as f64 / self.widest as f64),
            memory_bytes: if self.room.is_some_and(|room| whole <= room) { whole } else { self.bytes },
        }
    }

    /// The most samples whose run takes at most `seconds`, found by halving `most`; no fewer than `fewest`.
    pub fn within(&self, seconds: f64, most: usize, fewest: usize) -> usize {
        let mut halves = std::iter::successors(Some(most), |count| Some(count / 2));
        let found = halves.find(|count| *count <= fewest || self.of(*count).seconds <= seconds);
        found.unwrap_or(fewest).max(fewest.min(most))
    }
}

/// What a run will take that is calibrated with samples of `length` tokens; the request's own calibration is not looked at.
/// Measures for about a second on the first block, and on matrices of its own.
///
/// # Errors
/// As [`quantize`](super::quantize) before its work starts.
pub fn estimate(ctx: &Ctx, request: &Request<'_>, length: usize) -> Result<Cost, QuantError> {
    let recipe = (request.method.recipe)(&request.settings)?;
    check_target(request, &recipe)?;
    let checkpoint = Checkpoint::open(request.source, Access::Map)?;
    let (model, names) = plan::model(&checkpoint, request.source)?;
    let plan = plan::plan(&checkpoint, names, &model, &recipe, &request.formats)?;
    // Without streams: those go to a file before anything else changes.
    let none = Budget::new(&model, &plan, &recipe, (0, length)).fit(request.memory, &recipe)?;
    let rates = measure(ctx, (&checkpoint, &model, names), (&plan, &recipe), (length, request.threads))?;
    let count = Count { model: &model, plan: &plan, recipe: &recipe, length };
    let needs = recipe.needs().inputs != Inputs::None;
    // Passes that collect, the one that passes on what was rounded, and those that bits and scales are chosen by.
    let collecting = if needs { none.passes.len() } else { 0 };
    let passing_on = usize::from(needs && recipe.propagate == Propagate::Quantized);
    let choosing = usize::from(request.target.is_some()) + usize::from(recipe.scales.len() > 1);
    let passes = (collecting + passing_on + choosing) as f64;
    let blocks = 0..model.blocks.len();
    let sum = |of: &dyn Fn(usize) -> f64| blocks.clone().map(of).sum::<f64>();
    let weights = sum(&|block| count.weights(block));
    let first_stored = count.stored(0).max(1.0);
    let sums = sum(&|block| count.sums(block));
    let products =
        if recipe.needs().inputs == Inputs::Hessian { sum(&|block| count.products(block)) } else { 0.0 };
    let hessian = recipe.needs().inputs == Inputs::Hessian;
    let columns = blocks.clone().flat_map(|block| count.places(block)).map(|(k, ..)| k as usize);
    let widest = if hessian { columns.max().unwrap_or(0) } else { 0 };
    let factoring = sum(&|block| count.factoring(block));
    let feedback = sum(&|block| count.feedback(block));
    let rounding = weights * (rates.scale + rates.survey + rates.solve)
        + factoring * rates.factor
        + feedback * rates.product
        + recipe.rows.as_ref().map_or(0.0, |more| {
            more.samples as f64
                * (PASSES * sum(&|block| count.forward(block)) + 2.0 * count.head())
                * rates.product
        })
        + recipe.reassemble.map_or(0.0, |part| {
            weights * TRIED_SPLITS * (part.samples as f64 * rates.product + rates.nearest)
        })
        + if request.target.is_some() { TRIED_BITS * weights * rates.nearest } else { 0.0 };
    Ok(Cost {
        length,
        pass_sample: passes * sum(&|block| count.forward(block)) * rates.forward,
        statistics_sample: f64::from(u8::from(needs)) * (sums * rates.sum + products * rates.product)
            + choosing as f64 * sums * rates.sum,
        packing: passes * sum(&|block| count.stored(block)) / first_stored * rates.packing,
        rounding,
        stream_bytes: 4 * (length * model.hidden) as u64,
        room: (!none.in_file).then(|| request.memory.unwrap_or(u64::MAX)),
        bytes: none.bytes,
        widest,
    })
}

/// Counts of what is done for a block: multiply-adds, or elements, of one sample where samples matter.
pub(super) struct Count<'a> {
    pub(super) model: &'a ModelSpec,
    pub(super) plan: &'a Plan<'a>,
    pub(super) recipe: &'a Recipe,
    pub(super) length: usize,
}

impl Count<'_> {
    /// Of a pass: the weights that a token meets, and attention to half of the sample in the mean.
    pub(super) fn forward(&self, block: usize) -> f64 {
        self.forward_of(block, self.length)
    }

    pub(super) fn forward_of(&self, block: usize, tokens: usize) -> f64 {
        let model = self.model;
        let (hidden, wide, narrow) = (model.hidden, model.query_width(), model.kv_width());
        let (inner, _, used) = ffn(model, block);
        let weights = hidden * (2 * wide + 2 * narrow + 3 * inner * used);
        tokens as f64 * (weights as f64 + (wide * tokens) as f64)
    }

    /// Of the head.
    fn head(&self) -> f64 {
        (self.length * self.model.vocab * self.model.hidden) as f64
    }

    /// Columns of the inputs at each place, how many layers are collected apart there, and how many of them see a token.
    fn places(&self, block: usize) -> [(f64, f64, f64); 4] {
        let (inner, count, used) = ffn(self.model, block);
        let (count, used) = (count as f64, used as f64);
        Place::ALL.map(|place| match place {
            Place::AttentionIn => (self.model.hidden as f64, 1.0, 1.0),
            Place::ValueOut => (self.model.query_width() as f64, 1.0, 1.0),
            Place::FfnIn => (self.model.hidden as f64, count, used),
            Place::DownIn => (inner as f64, count, used),
        })
    }

    /// Elements of inputs that are summed up.
    fn sums(&self, block: usize) -> f64 {
        self.places(block).iter().map(|(k, _, used)| self.length as f64 * used * k).sum()
    }

    /// Multiply-adds of XᵀX, of which the lower triangle is made.
    fn products(&self, block: usize) -> f64 {
        self.places(block).iter().map(|(k, _, used)| self.length as f64 * used * k * k / 2.0).sum()
    }

    /// Multiply-adds of Cholesky factors.
    fn factoring(&self, block: usize) -> f64 {
        if self.recipe.needs().inputs != Inputs::Hessian {
            return 0.0;
        }
        self.places(block).iter().map(|(k, count, _)| count * k.powi(3) / 6.0).sum()
    }

    /// Weights that are rounded to groups.
    fn weights(&self, block: usize) -> f64 {
        self.rounded(block).map(|(n, k)| n * k).sum()
    }

    /// Multiply-adds by which errors of columns are passed on to later ones.
    fn feedback(&self, block: usize) -> f64 {
        if self.recipe.needs().inputs != Inputs::Hessian {
            return 0.0;
        }
        self.rounded(block).map(|(n, k)| n * k * k / 2.0).sum()
    }

    fn rounded(&self, block: usize) -> impl Iterator<Item = (f64, f64)> {
        let planned = self.plan.tensors.iter().filter(move |planned| planned.block == Some(block));
        let grouped = planned.filter(|planned| matches!(planned.to, Some((_, WeightSpec::Grouped(_)))));
        grouped.map(|planned| {
            let shape = planned.info.matrix();
            (shape.n as f64, shape.k as f64)
        })
    }

    /// Bytes of the matrices as they are stored.
    fn stored(&self, block: usize) -> f64 {
        let mut seen: Vec<&str> = Vec::new();
        let mut bytes = 0;
        for layer in &self.plan.blocks[block] {
            if !seen.contains(&layer.tensor.as_str()) {
                seen.push(&layer.tensor);
                bytes += self.plan.get(&layer.tensor).map_or(0, |planned| planned.info.bytes);
            }
        }
        bytes as f64
    }
}

/// Width of a block's feed-forward part, how many there are and how many a token uses.
fn ffn(model: &ModelSpec, block: usize) -> (usize, usize, usize) {
    match model.blocks[block].ffn {
        Ffn::Dense { inner } => (inner, 1, 1),
        Ffn::Experts { count, used, inner, .. } => (inner, count, used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_halved_until_the_bound_is_met_and_never_below_the_fewest() {
        let cost = Cost {
            length: 2048,
            pass_sample: 6.0,
            statistics_sample: 4.0,
            packing: 2.0,
            rounding: 98.0,
            stream_bytes: 10,
            room: Some(1320),
            bytes: 1000,
            widest: 0,
        };
        assert_eq!(cost.of(33).memory_bytes, 1000);
        let estimate = cost.of(32);
        assert_eq!((estimate.seconds, estimate.memory_bytes), (420.0, 1320));
        assert_eq!(estimate.passes_seconds + estimate.statistics_seconds + estimate.rounding_seconds, 420.0);
        for (seconds, most, expected) in [
            (1e9, 128, 128),
            (1380.0, 128, 128),
            (1379.0, 128, 64),
            (430.0, 128, 32),
            (1.0, 128, 8),
            (1.0, 4, 4),
        ] {
            assert_eq!(cost.within(seconds, most, 8), expected, "{seconds} {most}");
        }
    }
}
