//! A method that another one works on, as a setting.

use crate::{
    Card, Method, QuantError, Recipe, method,
    methods::wrong,
    solve::{Lost, LowRank},
};
use lowbit_format::WeightSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The name of a method, with its settings where they are not its defaults: `"gptq"`, or `{"gptq": {"act_order": "none"}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Base {
    /// With its defaults.
    Named(String),
    /// One method with settings.
    With(Map<String, Value>),
}

/// The largest rank of a correction.
const MOST_RANK: u32 = 4096;

impl Base {
    /// A method with its defaults.
    pub(crate) fn named(name: &str) -> Self {
        Self::Named(name.to_owned())
    }

    /// Its recipe, under the name of `M`.
    pub(crate) fn recipe<M: Method>(&self) -> Result<Recipe, QuantError> {
        let defaults = Value::Object(Map::new());
        let (name, settings) = match self {
            Self::Named(name) => (name, &defaults),
            Self::With(one) => match one.iter().next() {
                Some(only) if one.len() == 1 => only,
                _ => return Err(wrong::<M>("base has not one method; give its name, or {NAME: {SETTINGS}}")),
            },
        };
        // A method on itself would go on for ever.
        if name == M::CARD.name {
            return Err(wrong::<M>(format!("base is {name} itself, expected another method")));
        }
        let card: &'static Card = &M::CARD;
        Ok(Recipe { card, ..(method(name)?.recipe)(settings)? })
    }

    /// Its recipe with a correction of a rank after it.
    pub(crate) fn with_low_rank<M: Method>(
        &self,
        rank: u32,
        format: &WeightSpec,
        lost: Lost,
    ) -> Result<Recipe, QuantError> {
        if !(1..=MOST_RANK).contains(&rank) {
            return Err(wrong::<M>(format!("rank is {rank}, expected 1 to {MOST_RANK}")));
        }
        let row = |spec: &lowbit_format::GroupedSpec| {
            spec.levels().iter().all(|level| !matches!(level.shape, lowbit_format::GroupShape::Group(_)))
        };
        match format {
            WeightSpec::Float(_) => {}
            WeightSpec::Grouped(spec) if row(spec) => {}
            _ => {
                let expected = "expected floats, or codes with one scale a row such as int8-sym-row";
                return Err(wrong::<M>(format!("low_rank_format is {format}, {expected}")));
            }
        }
        let recipe = self.recipe::<M>()?;
        if recipe.solve.name() == LowRank::NAME {
            return Err(wrong::<M>("base adds a low-rank matrix already; give a method that only rounds"));
        }
        let solve = LowRank { inner: recipe.solve, rank, format: format.clone(), lost };
        Ok(Recipe { solve: Box::new(solve), ..recipe })
    }
}
