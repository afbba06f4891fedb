//! Where one layer's outputs are the next one's inputs and nothing but a scale for each column lies between.

use crate::{QuantError, driver::Work, fit::Fit, stats::InputStats};
use lowbit_format::{GroupedSpec, NK, WeightSpec};
use lowbit_model::{Ffn, ModelSpec, Role};

/// A place in every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From the norm before attention into query, key and value.
    AttentionIn,
    /// From the value projection into the output projection; only where every query head has a value head of its own.
    ValueOut,
    /// From the norm before the feed-forward part into gate and up.
    FfnIn,
    /// From the up projection into the down projection.
    DownIn,
}

impl Place {
    /// Every place, in the order in which a token passes them.
    pub const ALL: [Self; 4] = [Self::AttentionIn, Self::ValueOut, Self::FfnIn, Self::DownIn];

    /// Role of the layer whose inputs are collected: the others that read there have the same.
    pub(crate) fn inputs(self) -> Role {
        self.readers()[0]
    }

    /// Roles of the layers that read there.
    pub(crate) fn readers(self) -> &'static [Role] {
        match self {
            Self::AttentionIn => &[Role::Query, Role::Key, Role::Value],
            Self::ValueOut => &[Role::Output],
            Self::FfnIn => &[Role::Gate, Role::Up],
            Self::DownIn => &[Role::Down],
        }
    }

    /// Whether a scale can be taken into whatever makes the inputs.
    fn exists(self, spec: &ModelSpec, block: usize) -> bool {
        let dense = matches!(spec.blocks[block].ffn, Ffn::Dense { .. });
        match self {
            Self::AttentionIn => spec.norms.attention_in,
            Self::ValueOut => spec.heads == spec.kv_heads && !spec.norms.attention_sub,
            // The norm feeds a router too where there are experts.
            Self::FfnIn => spec.norms.ffn_in && dense,
            Self::DownIn => dense && !spec.norms.ffn_sub,
        }
    }
}

/// A layer that reads at a seam.
pub struct Consumer {
    /// Its weights, row after row.
    pub weights: Vec<f32>,
    /// N and K.
    pub shape: NK,
    /// What it will be rounded to.
    pub spec: GroupedSpec,
}

/// A place of one block, with the layers that read there and what they read.
pub struct Seam<'a> {
    /// Which place.
    pub place: Place,
    /// The layers.
    pub consumers: Vec<Consumer>,
    /// What calibration collected of what they read.
    pub stats: &'a InputStats,
    /// How their groups will be fitted.
    pub fit: &'a dyn Fit,
    /// Workers, at least one.
    pub threads: usize,
}

/// The places of a block at which all layers concerned are to be rounded to grouped formats, so that none must be
/// stored otherwise than it was only to be scaled.
pub(crate) fn seams(work: &Work<'_>, places: &[Place]) -> Vec<Place> {
    let grouped = |role: &Role| {
        work.layers_of(*role).all(|layer| matches!(work.spec_of(&layer.tensor), Some(WeightSpec::Grouped(_))))
    };
    let found = places.iter().copied().filter(|place| {
        let writer: &[Role] = match place {
            Place::ValueOut => &[Role::Value],
            Place::DownIn => &[Role::Up],
            Place::AttentionIn | Place::FfnIn => &[],
        };
        place.exists(work.model, work.index) && place.readers().iter().chain(writer).all(grouped)
    });
    found.collect()
}

/// The tensors of the layers that read at a place, where what they read can be moved about: none where there are experts, which share a
/// tensor and not what is done to its input, or a layer that stays as it is stored.
pub(crate) fn movable(work: &Work<'_>, place: Place) -> Vec<String> {
    let layers = || place.readers().iter().flat_map(|role| work.layers_of(*role));
    let grouped = |tensor: &str| matches!(work.spec_of(tensor), Some(WeightSpec::Grouped(_)));
    if layers().any(|layer| layer.id.expert.is_some() || !grouped(&layer.tensor)) {
        return Vec::new();
    }
    let mut names: Vec<String> = layers().map(|layer| layer.tensor.clone()).collect();
    names.dedup();
    names
}

/// The layers that read at a place of a block and are rounded to groups, those of one tensor once.
pub(crate) fn consumers(work: &Work<'_>, place: Place) -> Result<Vec<Consumer>, QuantError> {
    let mut consumers: Vec<Consumer> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for layer in place.readers().iter().flat_map(|role| work.layers_of(*role)) {
        if let Some(WeightSpec::Grouped(spec)) = work.spec_of(&layer.tensor)
            && !seen.contains(&layer.tensor.as_str())
        {
            seen.push(&layer.tensor);
            let (weights, shape) = work.decoded(&layer.tensor)?;
            consumers.push(Consumer { weights, shape, spec: spec.clone() });
        }
    }
    Ok(consumers)
}
