//! Stages of the sampler: the trait they share, the list of all of them, and the order they run in.
//!
//! To add one, write its file with an `ENTRY` and put that into [`STAGES`]; its settings are a field of
//! [`SamplingParams`](super::SamplingParams). The laws in `laws.rs` then hold for it or fail.

use std::fmt::Debug;

use super::candidates::Candidates;
use super::error::SamplerError;
use super::params::SamplingParams;
use super::rng::Rng;
use super::vocab::Vocab;
use super::{dry, min_p, penalties, temperature, top_k, top_n_sigma, top_p, typical, xtc};

/// All stages, in the order they run in unless [`SamplingParams::order`] says otherwise.
///
/// It is llama.cpp's default order. Penalties come before truncation, so that they act on the whole vocabulary;
/// temperature comes last, so that truncation judges the model's own distribution.
pub const STAGES: &[StageEntry] = &[
    penalties::ENTRY,
    dry::ENTRY,
    top_n_sigma::ENTRY,
    top_k::ENTRY,
    typical::ENTRY,
    top_p::ENTRY,
    min_p::ENTRY,
    xtc::ENTRY,
    temperature::ENTRY,
];

/// One stage of the list, as a name for users and a constructor for the sampler.
#[derive(Debug)]
pub struct StageEntry {
    /// Name in [`SamplingParams::order`].
    pub name: &'static str,
    /// Other names that are understood, as other programs write them.
    pub aliases: &'static [&'static str],
    /// What it may do to the candidates.
    pub effect: Effect,
    /// One sentence for a listing.
    pub summary: &'static str,
    /// Settings, as JSON, that make it act.
    pub example: &'static str,
    pub(super) check: fn(&SamplingParams) -> Result<(), SamplerError>,
    /// Whether two sets of parameters say the same about this stage.
    pub(super) same: fn(&SamplingParams, &SamplingParams) -> bool,
    /// `None` when the parameters switch the stage off.
    pub(super) build: Build,
}

type Build = fn(&SamplingParams, &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError>;

/// What a stage may do to the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Lowers logits by what was written before.
    Penalizes,
    /// Drops candidates, never the best one.
    TruncatesTail,
    /// Drops candidates, among them perhaps the best one.
    TruncatesAnywhere,
    /// Changes how far the probabilities are apart and not their order.
    Scales,
}

impl Effect {
    pub(super) fn truncates(self) -> bool {
        matches!(self, Self::TruncatesTail | Self::TruncatesAnywhere)
    }
}

/// A stage with its settings and its memory of the text.
pub(super) trait Stage: Debug + Send + Sync {
    /// Changes the candidates of one step; at least one stays.
    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step<'_>);

    /// Learns that the last token of `history` was written.
    fn accept(&mut self, _history: &[u32]) {}

    /// Forgets the text.
    fn reset(&mut self) {}
}

/// What a stage may look at besides the candidates.
pub(super) struct Step<'a> {
    /// Prompt and text so far.
    pub(super) history: &'a [u32],
    pub(super) rng: &'a mut Rng,
}

/// The stages that `params` ask for, in their order.
pub(super) fn resolve_order(params: &SamplingParams) -> Result<Vec<&'static StageEntry>, SamplerError> {
    let Some(names) = &params.order else {
        return Ok(STAGES.iter().collect());
    };
    let mut order: Vec<&'static StageEntry> = Vec::with_capacity(STAGES.len());
    for name in names {
        let entry = find(name)?;
        if order.iter().any(|earlier| earlier.name == entry.name) {
            return Err(SamplerError::RepeatedStage { name: entry.name });
        }
        order.push(entry);
    }
    Ok(order)
}

fn find(name: &str) -> Result<&'static StageEntry, SamplerError> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let all_names = |entry: &'static StageEntry| {
        std::iter::once(entry.name).chain(entry.aliases.iter().copied()).map(move |known| (known, entry))
    };
    let (distance, nearest) = STAGES
        .iter()
        .flat_map(all_names)
        .map(|(known, entry)| (strsim::levenshtein(&wanted, known), entry))
        .min_by_key(|(distance, _)| *distance)
        .expect("the list of stages is not empty");
    if distance == 0 {
        return Ok(nearest);
    }
    let known: Vec<&str> = STAGES.iter().map(|entry| entry.name).collect();
    Err(SamplerError::UnknownStage { name: name.to_owned(), nearest: nearest.name, known: known.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(names: &[&str]) -> Result<Vec<&'static str>, SamplerError> {
        let order = Some(names.iter().map(|&name| name.to_owned()).collect());
        let entries = resolve_order(&SamplingParams { order, ..SamplingParams::default() })?;
        Ok(entries.iter().map(|entry| entry.name).collect())
    }

    #[test]
    fn names_of_other_programs_are_understood() {
        let names = order(&["temp", "top-k", "typ_p", "Min-P", "top_n_sigma"]);
        assert_eq!(names.unwrap(), ["temperature", "top_k", "typical_p", "min_p", "top_n_sigma"]);
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let error = order(&["top_k", "tmeperature"]).unwrap_err();
        assert!(
            error.to_string().contains(r#"unknown sampling stage "tmeperature", did you mean "temperature""#)
        );
    }

    #[test]
    fn a_stage_stands_once() {
        assert_eq!(order(&["temp", "temperature"]), Err(SamplerError::RepeatedStage { name: "temperature" }));
    }

    #[test]
    fn names_and_aliases_are_unique() {
        let mut names: Vec<&str> =
            STAGES.iter().flat_map(|entry| entry.aliases.iter().copied().chain([entry.name])).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
