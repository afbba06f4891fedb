//! The methods, one file each. Adding one is a file and a line of [`METHODS`].

mod absmean;
mod adadim;
mod awq;
mod dgq;
mod eora;
mod fast_2bit;
mod finequant;
mod gptq;
mod hqq;
mod imatrix;
mod llm_int8;
mod lorc;
mod mixllm;
mod mse;
mod pb_llm;
mod qllm;
mod qoq;
mod quarot;
mod rtn;
mod slim_llm;
mod smoothquant;
mod smoothquant_plus;
mod spqr;

pub use absmean::AbsMean;
pub use adadim::AdaDim;
pub use awq::Awq;
pub use dgq::Dgq;
pub use eora::Eora;
pub use fast_2bit::Fast2Bit;
pub use finequant::FineQuant;
pub use gptq::Gptq;
pub use hqq::Hqq;
pub use imatrix::Imatrix;
pub use llm_int8::LlmInt8;
pub use lorc::Lorc;
pub use mixllm::MixLlm;
pub use mse::Mse;
pub use pb_llm::PbLlm;
pub use qllm::Qllm;
pub use qoq::Qoq;
pub use quarot::QuaRot;
pub use rtn::Rtn;
pub use slim_llm::SlimLlm;
pub use smoothquant::SmoothQuant;
pub use smoothquant_plus::SmoothQuantPlus;
pub use spqr::Spqr;

use crate::{
    Card, ChooseFormat, QuantError,
    fit::Fit,
    solve::{Blocks, MoreRows, Nearest, Solve, no_columns},
    stats::{Inputs, Needs},
    transform::{FindScale, Reassemble, Reorder, Rotate, SmoothAttention},
};
use lowbit_format::{ActSpec, BlockFormat, ElementFormat, FormatError, GroupShape, GroupedSpec};
use lowbit_model::Role;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A method: its settings, whose defaults are the paper's, and the recipe they stand for. Settings that do not exist
/// are refused (`#[serde(deny_unknown_fields)]`).
pub trait Method: Serialize + DeserializeOwned + Default {
    /// Who it is.
    const CARD: Card;

    /// Puts the parts together.
    ///
    /// # Errors
    /// Which setting is out of range.
    fn recipe(&self) -> Result<Recipe, QuantError>;
}

/// What is done with a model: parts, put together by a method.
pub struct Recipe {
    /// The method it is of.
    pub card: &'static Card,
    /// Rotates what layers read, and their weights with it.
    pub rotate: Option<Rotate>,
    /// In which numbers activations are multiplied afterwards, where the method prescribes it.
    pub activations: Option<ActSpec>,
    /// Chooses the format of a matrix that would have the default one.
    pub format: Option<Box<dyn ChooseFormat>>,
    /// Finds scales that make weights easier to round. Of several the one is taken for all blocks that loses the least over
    /// the whole model.
    pub scales: Vec<Box<dyn FindScale>>,
    /// Makes keys even at the cost of queries.
    pub attention: Option<SmoothAttention>,
    /// Sorts what layers read by its size, after scales were found.
    pub reorder: Option<Reorder>,
    /// Splits large inputs and merges similar ones, last of all.
    pub reassemble: Option<Reassemble>,
    /// Chooses scale and zero point of groups.
    pub fit: Box<dyn Fit>,
    /// Of some roles another way.
    pub fit_for: Vec<(&'static [Role], Box<dyn Fit>)>,
    /// Chooses codes.
    pub solve: Box<dyn Solve>,
    /// Gives more bits to rows that the loss of the model depends on.
    pub rows: Option<MoreRows>,
    /// What the layers of a block read while their inputs are collected, where they are.
    pub propagate: Propagate,
    /// Whether inputs are collected anew at every place of a block, with what was rounded before in it.
    pub sequential: bool,
    /// Why a format cannot be made, `Ok` where it can.
    pub check: fn(&GroupedSpec) -> Result<(), &'static str>,
}

/// A setting: in which numbers activations are multiplied when the model runs, as its label, or `none` where a run says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Activations(pub Option<ActSpec>);

impl TryFrom<String> for Activations {
    type Error = FormatError;

    fn try_from(label: String) -> Result<Self, FormatError> {
        if label == NO_ACTIVATIONS {
            Ok(Self(None))
        } else {
            ActSpec::parse(&label).map(|spec| Self(Some(spec)))
        }
    }
}

impl From<Activations> for String {
    fn from(Activations(spec): Activations) -> Self {
        spec.map_or(NO_ACTIVATIONS, ActSpec::label).to_owned()
    }
}

/// What stands for no prescribed activations.
const NO_ACTIVATIONS: &str = "none";

/// What a block reads while the inputs of its layers are collected: what the blocks before it give
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagate {
    /// as they were,
    Source,
    /// as they are rounded.
    Quantized,
}

impl Recipe {
    /// Nearest codes under a fit, of every format.
    pub fn nearest(card: &'static Card, fit: impl Fit + 'static) -> Self {
        Self {
            card,
            rotate: None,
            activations: None,
            format: None,
            scales: Vec::new(),
            attention: None,
            reorder: None,
            reassemble: None,
            fit: Box::new(fit),
            fit_for: Vec::new(),
            solve: Box::new(Nearest),
            rows: None,
            propagate: Propagate::Source,
            sequential: false,
            check: |_| Ok(()),
        }
    }

    /// Codes chosen column after column, blocks reading what the rounded ones before them give.
    pub fn sweep(card: &'static Card, fit: impl Fit + 'static, solve: impl Solve + 'static) -> Self {
        Self { solve: Box::new(solve), propagate: Propagate::Quantized, ..Self::nearest(card, fit) }
    }

    /// What calibration must collect for it.
    pub fn needs(&self) -> Needs {
        let fits =
            self.fit_for.iter().map(|(_, fit)| fit.needs()).chain([self.fit.needs(), self.solve.needs()]);
        fits.chain(self.attention.iter().map(SmoothAttention::needs))
            .chain(self.reorder.iter().map(Reorder::needs))
            .chain(self.reassemble.iter().map(Reassemble::needs))
            .chain(self.scales.iter().map(|scale| scale.needs()))
            // Gradients are of samples.
            .chain(self.rows.iter().map(|_| Needs { inputs: Inputs::Magnitudes, ..Needs::NONE }))
            .fold(Needs::NONE, Needs::and)
    }

    /// Whether a block is changed by what was collected of it, before it is rounded and all places at once.
    pub(crate) fn folds(&self) -> bool {
        let reassembles = self.reassemble.is_some();
        !self.scales.is_empty() || self.attention.is_some() || self.reorder.is_some() || reassembles
    }

    /// The names of its parts, in the order in which they work.
    pub fn names(&self) -> Vec<&'static str> {
        let special = self.fit_for.iter().map(|(_, fit)| fit.name());
        let mut names = vec![self.fit.name()];
        names.extend(special.filter(|name| *name != self.fit.name()));
        names.push(self.solve.name());
        names.extend(self.rows.iter().map(|_| "more bits for salient rows"));
        let before = [
            self.format.as_ref().map(|format| format.name()),
            self.rotate.map(|_| "Hadamard rotation"),
            self.attention.map(|_| "smooth attention"),
            match self.scales.len() {
                0 => None,
                1 => Some("scales at seams"),
                _ => Some("scales at seams by loss of the model"),
            },
            self.reorder.as_ref().map(|_| "sorted inputs"),
            self.reassemble.map(|_| "split and merged inputs"),
            self.activations.map(|_| "rounded activations"),
        ];
        before.into_iter().flatten().chain(names).collect()
    }

    /// The fit of a role.
    pub fn fit(&self, role: Role) -> &dyn Fit {
        let special = self.fit_for.iter().find(|(roles, _)| roles.contains(&role));
        special.map_or(&*self.fit, |(_, fit)| &**fit)
    }

    /// What rounds the layers of a role.
    pub fn parts(&self, role: Role) -> (&dyn Fit, &dyn Solve) {
        (self.fit(role), &*self.solve)
    }

    /// # Errors
    /// Why the method cannot make blocks of a format of GGUF.
    pub(crate) fn accepts_blocks(&self, format: BlockFormat) -> Result<(), &'static str> {
        let Ok(blocks) = Blocks::of(format) else {
            return Err(
                "lowbit reads such blocks and does not write them; take q2_k to q6_k, q4_0, q4_1, q5_0, q5_1 or q8_0",
            );
        };
        if !self.solve.makes_blocks() || self.rows.is_some() || self.format.is_some() {
            return Err("it makes no blocks of GGUF; take gptq or imatrix, or an int format");
        }
        self.accepts(&blocks.spec)
    }

    /// # Errors
    /// Why the method cannot make the format.
    pub fn accepts(&self, spec: &GroupedSpec) -> Result<(), &'static str> {
        if let ElementFormat::Codebook(_) = spec.element() {
            return Err(
                "lowbit runs such weights of other tools and does not make them; take an int or ternary format",
            );
        }
        // Shorter groups are multiplied with floats, which is no harm in place of 8 bits and another model in place of 4.
        if let (Some(ActSpec::Int4Token), GroupShape::Group(size)) =
            (self.activations, spec.levels()[0].shape)
            && !size.is_multiple_of(16)
        {
            return Err(
                "activations would meet such groups unrounded; take groups of a multiple of 16 weights",
            );
        }
        if self.folds() {
            no_columns(spec)?;
        }
        self.solve.accepts(spec)?;
        (self.check)(spec)
    }
}

/// One line of [`METHODS`].
pub struct MethodEntry {
    /// Who it is.
    pub card: &'static Card,
    /// Its recipe under settings, an object; those that are absent have their defaults.
    pub recipe: fn(&Value) -> Result<Recipe, QuantError>,
    /// All settings, the given ones and the defaults.
    pub settings: fn(&Value) -> Result<Value, QuantError>,
}

/// Every method, the simplest first.
pub static METHODS: &[MethodEntry] = &[
    entry::<Rtn>(),
    entry::<Mse>(),
    entry::<Hqq>(),
    entry::<FineQuant>(),
    entry::<Imatrix>(),
    entry::<Awq>(),
    entry::<Gptq>(),
    entry::<QuaRot>(),
    entry::<SmoothQuant>(),
    entry::<SmoothQuantPlus>(),
    entry::<LlmInt8>(),
    entry::<Dgq>(),
    entry::<Qoq>(),
    entry::<Qllm>(),
    entry::<AdaDim>(),
    entry::<Lorc>(),
    entry::<Eora>(),
    entry::<Spqr>(),
    entry::<SlimLlm>(),
    entry::<PbLlm>(),
    entry::<Fast2Bit>(),
    entry::<MixLlm>(),
    entry::<AbsMean>(),
];

/// The method of a name.
///
/// # Errors
/// Where none is called so, with the nearest that is.
pub fn method(name: &str) -> Result<&'static MethodEntry, QuantError> {
    METHODS.iter().find(|entry| entry.card.name == name).ok_or_else(|| {
        QuantError::unknown("quantization method", name, METHODS.iter().map(|entry| entry.card.name))
    })
}

const fn entry<M: Method>() -> MethodEntry {
    MethodEntry {
        card: &M::CARD,
        recipe: |settings| parse::<M>(settings)?.recipe(),
        settings: |settings| {
            serde_json::to_value(parse::<M>(settings)?).map_err(|e| wrong::<M>(e.to_string()))
        },
    }
}

fn parse<M: Method>(settings: &Value) -> Result<M, QuantError> {
    serde_json::from_value(settings.clone()).map_err(|e| wrong::<M>(e.to_string()))
}

/// Checks what is added to the diagonal of a Hessian.
fn check_damp<M: Method>(damp: f64) -> Result<(), QuantError> {
    if damp > 0.0 && damp <= 1.0 {
        return Ok(());
    }
    Err(wrong::<M>(format!("damp is {damp}, expected above 0 and at most 1")))
}

/// An error of the settings of `M`.
pub(crate) fn wrong<M: Method>(why: impl Into<String>) -> QuantError {
    QuantError::Settings { method: M::CARD.name, why: why.into() }
}
