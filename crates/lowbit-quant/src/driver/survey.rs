//! A look at every block of the source before any is changed, for what is chosen for the whole model: the format of every
//! tensor, and which scales serve all of it best.

use super::{
    Job, Request, allocate,
    plan::{BlockLayer, Plan},
    streams::{After, Collected, Streams, Wanted, pass},
    work::Work,
};
use crate::{
    Calibration, ChooseFormat, Formats, Pattern, QuantError, Recipe,
    solve::SolveError,
    stats::{Inputs, Needs},
    transform::{FindScale, Place, Seam, consumers, output_error, seams},
};
use lowbit_format::WeightSpec;
use lowbit_kernels::Ctx;
use lowbit_model::Role;

/// Bits cannot be chosen where the method chooses formats.
pub(super) fn check_target(request: &Request<'_>, recipe: &Recipe) -> Result<(), QuantError> {
    if recipe.format.is_none() || request.target.is_none() {
        return Ok(());
    }
    let name = recipe.card.name;
    Err(QuantError::Target { why: format!("{name} chooses formats itself; leave the target out") })
}

impl Job<'_> {
    /// The formats that were asked for, and those that were chosen: by the method, or under a target.
    pub(super) fn formats(&self, plan: &Plan<'_>) -> Result<Formats, QuantError> {
        let mut formats = self.request.formats.clone();
        let chosen = match self.partial.formats()? {
            Some(chosen) => chosen,
            None => {
                let Some(chosen) = self.choose_formats(plan)? else { return Ok(formats) };
                self.partial.keep_formats(&chosen)?;
                chosen
            }
        };
        formats.tensors.extend(chosen.into_iter().map(|(name, spec)| (Pattern(name), spec)));
        Ok(formats)
    }

    fn choose_formats(&self, plan: &Plan<'_>) -> Result<Option<Vec<(String, WeightSpec)>>, QuantError> {
        let default = &self.request.formats.default;
        match (&self.recipe.format, self.request.target) {
            (Some(choose), _) => {
                let step = |done| self.told(done, 0, "choosing formats");
                let survey = self.survey(Needs::NONE, &step);
                formats_of(&survey, (&**choose, default), self.work(plan)).map(Some)
            }
            (None, Some(target)) => {
                let step = |done| self.told(done, 0, "choosing bits");
                let needs = Needs { inputs: Inputs::Magnitudes, ..Needs::NONE };
                let survey = &self.survey(needs, &step);
                let search = allocate::Search { survey, plan, default, target };
                allocate::allocate(&search, self.work(plan), self.streams()?).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// The scales of the recipe, where it has any: of several those that serve the whole model best.
    pub(super) fn scale(&self, plan: &Plan<'_>) -> Result<Option<&dyn FindScale>, QuantError> {
        let scales = &self.recipe.scales;
        let number = match self.partial.scales()? {
            _ if scales.len() < 2 => 0,
            Some(number) if number < scales.len() => number,
            _ => {
                let step = |done| self.told(done, 0, "choosing scales");
                let survey = self.survey(self.recipe.needs(), &step);
                let number = best_scales(&survey, self.recipe, self.work(plan), self.streams()?)?;
                self.partial.keep_scales(number)?;
                number
            }
        };
        Ok(scales.get(number).map(|scale| &**scale))
    }

    fn survey<'a>(&'a self, needs: Needs, step: &'a dyn Fn(f64) -> Result<(), QuantError>) -> Survey<'a> {
        let blocks = self.model.0.blocks.len();
        let tokens = self.calibration.map_or(0, Calibration::tokens);
        Survey { ctx: self.ctx, blocks, needs, tokens, threads: self.request.threads, step }
    }

    /// What makes a block to work on.
    fn work<'a>(&'a self, plan: &'a Plan<'_>) -> impl Fn(usize) -> Work<'a> {
        |index| Work::new(self.checkpoint, self.model, plan, index)
    }
}

/// What a look at all blocks works with.
pub(super) struct Survey<'a> {
    pub(super) ctx: &'a Ctx,
    /// Number of blocks.
    pub(super) blocks: usize,
    /// What is collected of inputs, where there are streams.
    pub(super) needs: Needs,
    /// Tokens of the calibration.
    pub(super) tokens: u64,
    pub(super) threads: usize,
    /// Told how far it is, from 0 to 1.
    pub(super) step: &'a dyn Fn(f64) -> Result<(), QuantError>,
}

impl Survey<'_> {
    /// Shows every block, and what its layers read where there are streams, to `look`. `work` makes a block.
    pub(super) fn walk<'w>(
        &self,
        work: impl Fn(usize) -> Work<'w>,
        mut streams: Option<Streams>,
        mut look: impl FnMut(&Work<'w>, Option<&Collected>) -> Result<(), QuantError>,
    ) -> Result<(), QuantError> {
        let blocks = self.blocks as f64;
        let roles: Vec<Role> = Place::ALL.iter().map(|place| place.inputs()).collect();
        for index in 0..self.blocks {
            let work = work(index);
            let collect = |streams: &mut Streams| {
                let (needs, tokens, threads) = (self.needs, self.tokens, self.threads);
                let wanted = Wanted { roles: &roles, needs, tokens, threads };
                let samples = streams.len() as f64;
                let step = |done: usize| (self.step)((index as f64 + done as f64 / samples) / blocks);
                pass(self.ctx, &work, streams, (wanted, After::Advance), &step)
            };
            let collected = streams.as_mut().map(collect).transpose()?;
            look(&work, collected.as_ref())?;
            (self.step)((index + 1) as f64 / blocks)?;
        }
        Ok(())
    }
}

/// The tensors of a block that have the default format, each by the first of its layers.
pub(super) fn of_default<'w>(work: &Work<'w>, default: &WeightSpec) -> Vec<&'w BlockLayer> {
    let mut found: Vec<&BlockLayer> = Vec::new();
    for layer in work.layers().iter().filter(|layer| work.spec_of(&layer.tensor) == Some(default)) {
        if !found.iter().any(|other| other.tensor == layer.tensor) {
            found.push(layer);
        }
    }
    found
}

/// The format of every tensor of a block that would have the default one, from its weights.
fn formats_of<'w>(
    survey: &Survey<'_>,
    (choose, default): (&dyn ChooseFormat, &WeightSpec),
    work: impl Fn(usize) -> Work<'w>,
) -> Result<Vec<(String, WeightSpec)>, QuantError> {
    let mut chosen = Vec::new();
    let WeightSpec::Grouped(spec) = default else { return Ok(chosen) };
    survey.walk(work, None, |work, _| {
        for layer in of_default(work, default) {
            let (tensor, weight) = (layer.tensor.clone(), work.weight(&layer.tensor)?);
            match choose.choose(&weight, spec, survey.threads) {
                Ok(spec) => chosen.push((tensor, WeightSpec::Grouped(spec))),
                Err(error) => return Err(QuantError::Solve { tensor, error: SolveError::Format(error) }),
            }
        }
        Ok(())
    })?;
    Ok(chosen)
}

/// Which of the scales of a recipe lose the least over all seams of the model.
fn best_scales<'w>(
    survey: &Survey<'_>,
    recipe: &Recipe,
    work: impl Fn(usize) -> Work<'w>,
    streams: Option<Streams>,
) -> Result<usize, QuantError> {
    let mut lost = vec![0.0; recipe.scales.len()];
    survey.walk(work, streams, |work, collected| {
        for place in seams(work, &Place::ALL) {
            let stats = collected.and_then(|collected| collected.get(&(place.inputs(), None)));
            if let Some(stats) = stats.filter(|stats| stats.tokens > 0) {
                let (consumers, fit) = (consumers(work, place)?, recipe.fit(place.inputs()));
                let seam = Seam { place, consumers, stats, fit, threads: survey.threads };
                lost.iter_mut().zip(losses(recipe, &seam)).for_each(|(sum, lost)| *sum += lost);
            }
        }
        Ok(())
    })?;
    // Of equal losses the first counts.
    let least = lost.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
    Ok(least.map_or(0, |(number, _)| number))
}

/// What each of the scales of a recipe loses at a seam.
pub(crate) fn losses(recipe: &Recipe, seam: &Seam<'_>) -> Vec<f64> {
    let losses = recipe.scales.iter().map(|scale| {
        let found = if scale.places().contains(&seam.place) { scale.find(seam) } else { None };
        output_error(seam, &found.unwrap_or_else(|| vec![1.0; seam.stats.columns()]))
    });
    losses.collect()
}
