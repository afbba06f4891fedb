//! One block through a recipe.

use super::{
    plan::BlockLayer,
    streams::{After, Collected, Streams, Wanted, pass},
    work::Work,
};
use crate::{
    QuantError, Recipe,
    methods::Propagate,
    solve::{Layer, Quantized, Rows, SolveError, add_rows, quantize_matrix},
    transform::{FindScale, Place, Reorder, Seam, consumers, fold, seams},
};
use lowbit_format::{GroupShape, NK, OnlineOp, QuantTensor, WeightSpec};
use lowbit_kernels::Ctx;
use lowbit_model::Role;

/// What all blocks of a run have in common.
pub(crate) struct Run<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) recipe: &'a Recipe,
    /// Those of its scales that were chosen, where it has any.
    pub(crate) scale: Option<&'a dyn FindScale>,
    /// The rows that get more bits.
    pub(crate) rows: &'a Rows,
    pub(crate) threads: usize,
    /// Tokens of the calibration.
    pub(crate) tokens: u64,
    /// Places whose inputs are collected in one pass, pass by pass.
    pub(crate) passes: &'a [&'a [Place]],
    /// Told how much of the block is done, from 0 to 1, and what is being done.
    pub(crate) step: &'a dyn Fn(f64, &'static str) -> Result<(), QuantError>,
}

/// A tensor that is done.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) spec: WeightSpec,
    pub(crate) shape: NK,
    pub(crate) quantized: Quantized,
    /// What is done to the input of its layers.
    pub(crate) input: Vec<OnlineOp>,
    /// Tokens that its inputs were collected from, the fewest of its layers; `None` without calibration.
    pub(crate) tokens: Option<u64>,
}

/// Places in one pass, where memory allows it, and in a pass each.
pub(crate) const TOGETHER: &[&[Place]] = &[&Place::ALL];
pub(crate) const ONE_BY_ONE: &[&[Place]] =
    &[&[Place::AttentionIn], &[Place::ValueOut], &[Place::FfnIn], &[Place::DownIn]];

/// Rounds all tensors of a block that the plan rounds. `streams` are those of the calibration, where the recipe wants one;
/// they are what comes out of the block afterwards.
pub(crate) fn block(
    run: &Run<'_>,
    work: &mut Work<'_>,
    streams: Option<&mut Streams>,
) -> Result<Vec<Made>, QuantError> {
    if let Some(rotate) = run.recipe.rotate {
        rotate.turn(work)?;
    }
    let Some(streams) = streams else { return solve(run, work, None, &Place::ALL) };
    let from_source = run.recipe.propagate == Propagate::Source;
    // Passes take about as long as each other, and rounding about as long as one.
    let parts = (run.passes.len() + 1 + usize::from(!from_source)) as f64;
    let mut made: Vec<Made> = Vec::new();
    for (i, places) in run.passes.iter().enumerate() {
        let samples = streams.len() as f64;
        let step = |done: usize| (run.step)((i as f64 + done as f64 / samples) / parts, "collecting inputs");
        let roles: Vec<Role> = places.iter().map(|place| place.inputs()).collect();
        let needs = run.recipe.needs();
        let wanted = Wanted { roles: &roles, needs, tokens: run.tokens, threads: run.threads };
        let last = i + 1 == run.passes.len();
        let after = if from_source && last { After::Advance } else { After::Stay };
        let mut collected = pass(run.ctx, work, streams, (wanted, after), &step)?;
        (run.step)((i + 1) as f64 / parts, "rounding")?;
        smooth(run, work, &collected)?;
        transform(run, work, &mut collected)?;
        sort(run, work, &mut collected)?;
        reassemble(run, work, &mut collected, places)?;
        let done = solve(run, work, Some(&collected), places)?;
        if run.recipe.sequential && !last {
            done.iter().try_for_each(|made| made.put(work))?;
        }
        made.extend(done);
    }
    if !from_source {
        made.iter().try_for_each(|made| made.put(work))?;
        advance(run, work, streams, 1.0 - 1.0 / parts)?;
    }
    Ok(made)
}

/// Runs the streams through the block as it is, which is `from` done.
pub(crate) fn advance(
    run: &Run<'_>,
    work: &Work<'_>,
    streams: &mut Streams,
    from: f64,
) -> Result<(), QuantError> {
    let samples = streams.len() as f64;
    let step = |done: usize| (run.step)(from + (1.0 - from) * done as f64 / samples, "passing on");
    pass(run.ctx, work, streams, (Wanted::NOTHING, After::Advance), &step).map(drop)
}

/// Evens out the keys of a block.
fn smooth(run: &Run<'_>, work: &mut Work<'_>, collected: &Collected) -> Result<(), QuantError> {
    let stats = collected.get(&(Place::AttentionIn.inputs(), None)).filter(|stats| stats.tokens > 0);
    match (run.recipe.attention, stats) {
        (Some(attention), Some(stats)) => attention.fold(work, stats),
        _ => Ok(()),
    }
}

/// Sorts what the layers of a block read.
fn sort(run: &Run<'_>, work: &mut Work<'_>, collected: &mut Collected) -> Result<(), QuantError> {
    for place in run.recipe.reorder.iter().flat_map(|reorder| reorder.places) {
        if let Some(stats) = collected.get_mut(&(place.inputs(), None)).filter(|s| s.tokens > 0) {
            Reorder::sort(work, *place, stats)?;
        }
    }
    Ok(())
}

/// Splits and merges what the layers at some places of a block read.
fn reassemble(
    run: &Run<'_>,
    work: &mut Work<'_>,
    collected: &mut Collected,
    places: &[Place],
) -> Result<(), QuantError> {
    let Some(reassemble) = run.recipe.reassemble else { return Ok(()) };
    for place in places {
        if let Some(stats) = collected.get_mut(&(place.inputs(), None)).filter(|s| s.tokens > 0) {
            reassemble.fold(work, *place, stats, (run.recipe.needs(), run.threads))?;
        }
    }
    Ok(())
}

/// Finds and folds the scales of a block.
fn transform(run: &Run<'_>, work: &mut Work<'_>, collected: &mut Collected) -> Result<(), QuantError> {
    let Some(scale) = run.scale else { return Ok(()) };
    for place in seams(work, scale.places()) {
        let Some(stats) = collected.get_mut(&(place.inputs(), None)).filter(|s| s.tokens > 0) else {
            continue;
        };
        let consumers = consumers(work, place)?;
        let fit = run.recipe.fit(place.inputs());
        let found = scale.find(&Seam { place, consumers, stats, fit, threads: run.threads });
        if let Some(scales) = found {
            fold(work, place, &scales)?;
            stats.divide(&scales);
        }
    }
    Ok(())
}

/// The role under which the inputs of a layer are collected.
pub(crate) fn inputs_of(role: Role) -> Option<Role> {
    Place::ALL.iter().find(|place| place.readers().contains(&role)).map(|place| place.inputs())
}

/// Rounds the tensors whose layers read at some places, and with the last of them those that read at none.
fn solve(
    run: &Run<'_>,
    work: &Work<'_>,
    collected: Option<&Collected>,
    places: &[Place],
) -> Result<Vec<Made>, QuantError> {
    let here = |layer: &BlockLayer| places.iter().any(|place| place.readers().contains(&layer.id.role));
    let mut made: Vec<Made> = Vec::new();
    for layer in work.layers().iter().filter(|layer| here(layer)) {
        let Some(spec) = work.spec_of(&layer.tensor) else { continue };
        if made.iter().any(|made| made.name == layer.tensor) {
            continue;
        }
        let layers = work.layers().iter().filter(|other| other.tensor == layer.tensor);
        made.push(tensor(run, work, (&layer.tensor, spec), layers, collected)?);
    }
    Ok(made)
}

/// Rounds one tensor, the rows of layers with other inputs by themselves.
fn tensor<'a>(
    run: &Run<'_>,
    work: &Work<'_>,
    (name, spec): (&str, &WeightSpec),
    layers: impl Iterator<Item = &'a BlockLayer> + Clone,
    collected: Option<&Collected>,
) -> Result<Made, QuantError> {
    let wrong = |error| QuantError::Solve { tensor: name.to_owned(), error };
    let weight = work.weight(name)?;
    let shape = weight.shape();
    let role = layers.clone().next().map_or(Role::Query, |layer| layer.id.role);
    let threads = run.threads;
    let stats_of = |layer: &BlockLayer| {
        let key = (inputs_of(layer.id.role)?, layer.id.expert);
        // An expert that no token chose is rounded from its weights alone.
        collected?.get(&key).filter(|stats| stats.tokens > 0)
    };
    let apart = layers.clone().any(|layer| layer.id.expert.is_some()) && collected.is_some();
    let whole = matches!(spec, WeightSpec::Grouped(s) if s.levels().iter().any(|l| matches!(l.shape, GroupShape::Tensor | GroupShape::Column(_))));
    let refused = |why| {
        let (method, format) = (run.recipe.card.name, spec.label());
        Err(QuantError::Refused { tensor: name.to_owned(), method, format, why })
    };
    if apart && whole && layers.clone().count() > 1 {
        return refused("experts in one tensor cannot share a scale where each is rounded by its own inputs");
    }
    let mut input = work.input(name).to_vec();
    let mut made_into = spec.clone();
    let mut quantized = Quantized::default();
    let mut tokens = collected.map(|_| u64::MAX);
    let pieces: Vec<&BlockLayer> = if apart { layers.collect() } else { layers.take(1).collect() };
    for piece in pieces {
        let stats = stats_of(piece);
        let rows = if apart { weight.rows(piece.rows.clone()) } else { weight.clone() };
        let seen = stats.map_or(0, |stats| stats.tokens);
        tokens = tokens.map(|fewest| fewest.min(seen));
        let (fit, solver) = run.recipe.parts(piece.id.role);
        let layer = Layer { weight: &rows, stats, threads };
        let solver = if stats.is_some() || collected.is_none() { solver } else { solver.without_inputs() };
        let mut rows = quantize_matrix((fit, solver), &layer, spec).map_err(wrong)?;
        // Models with experts, whose rows are rounded apart, have none.
        if let Some(chosen) = run.rows.get(name).filter(|_| !apart) {
            rows = add_rows(&layer, (rows, spec), chosen).map_err(wrong)?;
        }
        if let Some(order) = rows.order.take() {
            if apart {
                return refused(
                    "experts in one tensor cannot have their inputs permuted each in its own way",
                );
            }
            input.push(OnlineOp::Permute(order));
        }
        if let Some(sum) = rows.spec.take() {
            if apart {
                return refused("experts in one tensor cannot have something added each of its own");
            }
            made_into = sum;
        }
        quantized.append(rows);
    }
    Ok(Made { name: name.to_owned(), role, spec: made_into, shape, quantized, input, tokens })
}

impl Made {
    /// Puts it in the place of what it was made from.
    fn put(&self, work: &mut Work<'_>) -> Result<(), QuantError> {
        work.set(&self.name, self.tensor()?);
        work.set_input(&self.name, self.input.clone());
        Ok(())
    }

    /// The tensor.
    pub(crate) fn tensor(&self) -> Result<QuantTensor, QuantError> {
        let wrong = |error| QuantError::Solve { tensor: self.name.clone(), error: SolveError::Format(error) };
        self.quantized.tensor(&self.spec, self.shape).map_err(wrong)
    }
}
