//! The methods, one file each. Adding one is a file and a line of [`METHODS`].

mod absmean;
mod hqq;
mod mse;
mod rtn;

pub use absmean::AbsMean;
pub use hqq::Hqq;
pub use mse::Mse;
pub use rtn::Rtn;

use crate::{Card, QuantError, fit::Fit};
use lowbit_format::GroupedSpec;
use serde::{Serialize, de::DeserializeOwned};
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

/// What is done with every weight matrix: scale and zero point of each group by `fit`, then the nearest codes.
pub struct Recipe {
    /// The method it is of.
    pub card: &'static Card,
    /// Chooses scale and zero point.
    pub fit: Box<dyn Fit>,
    /// Why a format cannot be made, `Ok` where it can.
    pub check: fn(&GroupedSpec) -> Result<(), &'static str>,
}

impl Recipe {
    /// # Errors
    /// Why the method cannot make the format.
    pub fn accepts(&self, spec: &GroupedSpec) -> Result<(), &'static str> {
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
pub static METHODS: &[MethodEntry] = &[entry::<Rtn>(), entry::<Mse>(), entry::<Hqq>(), entry::<AbsMean>()];

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

/// An error of the settings of `M`.
fn wrong<M: Method>(why: impl Into<String>) -> QuantError {
    QuantError::Settings { method: M::CARD.name, why: why.into() }
}
