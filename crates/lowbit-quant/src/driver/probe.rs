//! How fast this machine is at what calibration does: the first block run over some tokens, and the parts of the recipe on
//! matrices of noise. None of it goes into the file that is made.

use super::{
    estimate::Count,
    plan::Plan,
    streams::{Keep, Streams, build},
    survey::losses,
    work::Work,
};
use crate::{
    QuantError, Recipe,
    fit::Range,
    solve::{Layer, Nearest, SolveError, quantize_matrix},
    stats::{Collector, Hessian, InputStats, Inputs, Needs},
    transform::{Consumer, FindScale, Seam},
};
use lowbit_format::{FloatFormat, GroupShape, GroupedSpec, NK, QuantTensor, Storage, WeightSpec};
use lowbit_io::Checkpoint;
use lowbit_kernels::{Ctx, MatRef};
use lowbit_model::{ModelSpec, Names, Role};
use rand_pcg::{Pcg64, rand_core::Rng as _};
use std::time::Instant;

/// Tokens of the first run of the block; each next one has four times as many.
const TOKENS: usize = 32;
/// Time after which nothing longer is tried.
const ENOUGH_SECONDS: f64 = 0.04;
/// Rows of a matrix for each worker, at first and at most.
const ROWS: [usize; 2] = [16, 256];
/// Columns of a matrix of weights, about.
const COLUMNS: usize = 512;
/// Columns of a Hessian, and rows that are summed into it.
const HESSIAN: [usize; 2] = [1024, 1024];
/// Most tokens of sampled inputs.
const SAMPLED: usize = 2048;

/// Seconds.
pub(super) struct Rates {
    /// Of a multiply-add of a pass.
    pub(super) forward: f64,
    /// Of packing the first block.
    pub(super) packing: f64,
    /// Of adding up an element of an input.
    pub(super) sum: f64,
    /// Of a multiply-add in single precision, on all workers.
    pub(super) product: f64,
    /// Of a multiply-add of a Cholesky factor.
    pub(super) factor: f64,
    /// Of searching scales, for a weight.
    pub(super) scale: f64,
    /// Of comparing scales for the whole model, for a weight.
    pub(super) survey: f64,
    /// Of choosing codes, for a weight, without what is passed on from other blocks of columns.
    pub(super) solve: f64,
    /// Of rounding a weight to the nearest code.
    pub(super) nearest: f64,
}

/// Measures all rates.
pub(super) fn measure(
    ctx: &Ctx,
    (checkpoint, model, names): (&Checkpoint, &ModelSpec, &Names),
    (plan, recipe): (&Plan<'_>, &Recipe),
    (length, threads): (usize, usize),
) -> Result<Rates, QuantError> {
    let mut work = Work::new(checkpoint, (model, names), plan, 0);
    if let Some(rotate) = recipe.rotate {
        rotate.turn(&mut work)?;
    }
    let start = Instant::now();
    let block = build(ctx, &work, &|_, inner| inner)?;
    let packing = start.elapsed().as_secs_f64();
    let count = Count { model, plan, recipe, length };
    let forward = longest(TOKENS, length, |tokens| {
        let ids = (0..tokens).map(|i| (i % model.vocab) as u32).collect();
        let mut stream = Streams::embed(checkpoint, (model, names), &[ids], Keep::InMemory)?.take(0)?;
        let mut cache = block.cache(tokens).map_err(QuantError::Forward)?;
        let start = Instant::now();
        block.forward(ctx, &mut stream, &mut cache).map_err(QuantError::Forward)?;
        Ok(start.elapsed().as_secs_f64() / count.forward_of(0, tokens))
    })?;

    let [k, rows] = HESSIAN;
    let x = noise(rows * k);
    let mut hessian = Hessian::new(k);
    let product = 2.0 * timed(|| hessian.add(&x, threads)) / (rows * k * k) as f64;
    let order: Vec<u32> = (0..k as u32).rev().collect();
    let factor = 6.0 * timed(|| drop(hessian.factor(0.01, &order))) / (k as f64).powi(3);
    let mut collector = Collector::new(k, Needs { inputs: Inputs::Magnitudes, ..Needs::NONE }, 0, threads);
    let sum = timed(|| collector.add(MatRef::new(&x, rows, k))) / (rows * k) as f64;
    let rates =
        Rates { forward, packing, sum, product, factor, scale: 0.0, survey: 0.0, solve: 0.0, nearest: 0.0 };
    let largest = plan.tensors.iter().filter(|planned| planned.block == Some(0));
    let grouped = largest.filter_map(|planned| match &planned.to {
        Some((role, WeightSpec::Grouped(spec))) => Some((planned.info.elements(), *role, spec)),
        _ => None,
    });
    match grouped.max_by_key(|(elements, ..)| *elements) {
        Some((_, role, spec)) => rounding(rates, recipe, (role, spec), threads),
        None => Ok(rates),
    }
}

/// The rates of what is done with the weights of a role.
fn rounding(
    rates: Rates,
    recipe: &Recipe,
    (role, spec): (Role, &GroupedSpec),
    threads: usize,
) -> Result<Rates, QuantError> {
    let k = columns(spec);
    let stats = stats(recipe.needs(), k, threads);
    let label = WeightSpec::Grouped(spec.clone());
    let wrong = |error| QuantError::Solve { tensor: "noise".into(), error };
    let matrix = |rows: usize| -> Result<QuantTensor, QuantError> {
        let bytes = Storage::from(FloatFormat::F32.encode(&noise(rows * k)));
        QuantTensor::from_floats(FloatFormat::F32, NK { n: rows, k }, bytes)
            .map_err(|error| wrong(SolveError::Format(error)))
    };
    let [fewest, most] = ROWS.map(|rows| rows * threads);
    let parts = recipe.parts(role);
    // The factor is made by the first layer, and the others find it done.
    let first = matrix(1)?;
    let layer = Layer { weight: &first, stats: Some(&stats), threads };
    quantize_matrix(parts, &layer, &label).map_err(wrong)?;
    let of_weight = |seconds: f64, rows: usize| seconds / (rows * k) as f64;
    let solve = longest(fewest, most, |rows| {
        let weight = matrix(rows)?;
        let layer = Layer { weight: &weight, ..layer };
        let mut made = Ok(());
        let seconds = timed(|| made = quantize_matrix(parts, &layer, &label).map(drop));
        made.map_err(wrong).map(|()| of_weight(seconds, rows))
    })?;
    let nearest = longest(fewest, most, |rows| {
        let weight = matrix(rows)?;
        let layer = Layer { weight: &weight, stats: None, threads };
        let mut made = Ok(());
        let seconds = timed(|| made = quantize_matrix((&Range, &Nearest), &layer, &label).map(drop));
        made.map_err(wrong).map(|()| of_weight(seconds, rows))
    })?;
    let at_seam = |rows: usize, work: &dyn Fn(&dyn FindScale, &Seam<'_>)| match recipe.scales.first() {
        None => 0.0,
        Some(scale) => {
            let weights = noise(rows * k);
            let consumers = vec![Consumer { weights, shape: NK { n: rows, k }, spec: spec.clone() }];
            let place = scale.places()[0];
            let seam = Seam { place, consumers, stats: &stats, fit: recipe.fit(role), threads };
            of_weight(timed(|| work(&**scale, &seam)), rows)
        }
    };
    let scale = longest(fewest, most, |rows| Ok(at_seam(rows, &|scale, seam| drop(scale.find(seam)))))?;
    let survey = match recipe.scales.len() {
        0 | 1 => 0.0,
        _ => longest(fewest, most, |rows| Ok(at_seam(rows, &|_, seam| drop(losses(recipe, seam)))))?,
    };
    let passed_on =
        if recipe.needs().inputs == Inputs::Hessian { k as f64 / 2.0 * rates.product } else { 0.0 };
    Ok(Rates { solve: (solve - passed_on).max(0.0), nearest, scale, survey, ..rates })
}

/// What `measure` gives for the largest size that it is called with: from `first` by fours up to `most`, until a call
/// takes long enough to be counted on.
fn longest(
    first: usize,
    most: usize,
    mut measure: impl FnMut(usize) -> Result<f64, QuantError>,
) -> Result<f64, QuantError> {
    let mut size = first.min(most);
    loop {
        let start = Instant::now();
        let rate = measure(size)?;
        if size == most || start.elapsed().as_secs_f64() > ENOUGH_SECONDS {
            return Ok(rate);
        }
        size = size.saturating_mul(4).min(most);
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// A number of columns that are whole groups of every level.
fn columns(spec: &GroupedSpec) -> usize {
    let groups = spec.levels().iter().filter_map(|level| match level.shape {
        GroupShape::Group(size) => Some(size as usize),
        _ => None,
    });
    let longest = groups.max().unwrap_or(1).max(1);
    COLUMNS.div_ceil(longest) * longest
}

/// Statistics of noise.
fn stats(needs: Needs, k: usize, threads: usize) -> InputStats {
    let rows = needs.samples.clamp(k, SAMPLED.max(k));
    let mut collector = Collector::new(k, needs, rows as u64, threads);
    collector.add(MatRef::new(&noise(rows * k), rows, k));
    collector.finish()
}

/// Numbers between −1 and 1, always the same ones.
fn noise(count: usize) -> Vec<f32> {
    let mut rng = Pcg64::new(0, 0x006e_6f69_7365);
    (0..count).map(|_| (rng.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}
