//! What a study compares, in TOML.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Models, methods and formats, each with each, and what is measured of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Heading of the report.
    pub title: String,
    /// What it is for, in a sentence or two.
    #[serde(default)]
    pub about: String,
    /// The paper whose question it asks.
    #[serde(default)]
    pub paper: String,
    /// Sources, as on the command line. Each is measured as it is, too.
    pub models: Vec<String>,
    /// Quantization methods.
    pub methods: Vec<MethodUse>,
    /// Formats of the linear layers, by their labels.
    pub formats: Vec<String>,
    /// Tasks of `lowbit eval`.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Documents of each task.
    pub limit: Option<usize>,
    /// Examples before each question, where not the task's.
    pub num_fewshot: Option<usize>,
    /// Calibration text: a name of `lowbit list calib` or a file.
    pub calib: Option<String>,
    /// Samples of it.
    pub samples: Option<usize>,
    /// Tokens of a sample.
    pub length: Option<usize>,
    /// Windows of the text that divergence is measured on.
    #[serde(default = "chunks")]
    pub chunks: usize,
    /// Whether speed is measured.
    #[serde(default)]
    pub speed: bool,
    /// Numbers in which activations meet weights, as `--activations`.
    pub activations: Option<String>,
}

/// A method, by its name alone or with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MethodUse {
    /// With its own settings.
    Name(String),
    /// With others.
    With(MethodWith),
}

/// A method with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodWith {
    /// Name of the method.
    pub method: String,
    /// What the report calls it.
    pub label: String,
    /// `--set KEY=VALUE`.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
    /// Another calibration text than the others have.
    pub calib: Option<String>,
    /// Other formats than the others have.
    pub formats: Option<Vec<String>>,
    /// What the report calls the methods that this one is held against, at as many bits.
    #[serde(default)]
    pub against: Vec<String>,
}

fn chunks() -> usize {
    8
}

impl MethodUse {
    /// Name of the method.
    pub fn method(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::With(with) => &with.method,
        }
    }

    /// What the report calls it.
    pub fn label(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::With(with) => &with.label,
        }
    }

    /// `KEY=VALUE` of its settings.
    pub fn settings(&self) -> Vec<String> {
        match self {
            Self::Name(_) => Vec::new(),
            Self::With(with) => {
                with.set.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect()
            }
        }
    }

    /// Another calibration text than the others have.
    pub fn calib(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::With(with) => with.calib.as_deref(),
        }
    }

    /// What the report calls the methods that this one is held against.
    pub fn against(&self) -> &[String] {
        match self {
            Self::Name(_) => &[],
            Self::With(with) => &with.against,
        }
    }

    /// Other formats than the others have.
    pub fn formats(&self) -> Option<&[String]> {
        match self {
            Self::Name(_) => None,
            Self::With(with) => with.formats.as_deref(),
        }
    }
}

/// A value as it is written on a command line.
fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let recipe: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for (field, empty) in [
            ("models", recipe.models.is_empty()),
            ("methods", recipe.methods.is_empty()),
            ("formats", recipe.formats.is_empty()),
        ] {
            if empty {
                return Err(format!("{field} is empty, expected at least one"));
            }
        }
        let mut labels: Vec<&str> = recipe.methods.iter().map(MethodUse::label).collect();
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two methods are called {:?}; give each a label of its own", pair[0]));
        }
        for method in &recipe.methods {
            let known = |other: &&String| *other != method.label() && labels.contains(&other.as_str());
            if let Some(other) = method.against().iter().find(|other| !known(other)) {
                return Err(format!(
                    "{} is held against {other:?}, expected the label of another method",
                    method.label()
                ));
            }
        }
        Ok(recipe)
    }

    /// Every combination: each model as it is, then with each method in each format.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for model in &self.models {
            cells.push(Cell { model: model.clone(), made: None });
            for method in &self.methods {
                for format in method.formats().unwrap_or(&self.formats) {
                    let made = Made { method: method.clone(), format: format.clone() };
                    cells.push(Cell { model: model.clone(), made: Some(made) });
                }
            }
        }
        cells
    }
}

/// One model of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The source.
    pub model: String,
    /// How it was quantized; `None` of the source itself.
    pub made: Option<Made>,
}

/// How a model was quantized.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The method.
    pub method: MethodUse,
    /// Label of the format.
    pub format: String,
}

impl Cell {
    /// A name for files.
    pub fn name(&self) -> String {
        let made = match &self.made {
            Some(made) => format!("{}.{}", made.method.label(), made.format),
            None => "source".to_owned(),
        };
        let letter = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        format!("{}.{made}", self.model).chars().map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        title = "t"
        models = ["a", "user/b:Q4"]
        methods = ["rtn", { method = "gptq", label = "gptq-code", set = { act_order = "none", damp = 0.1 }, calib = "c.txt" }]
        formats = ["int4-asym-g64", "int3-asym-g64"]
    "#;

    #[test]
    fn every_model_comes_as_it_is_and_by_every_method_in_every_format() {
        let recipe = Recipe::parse(TEXT).unwrap();
        let names: Vec<String> = recipe.cells().iter().map(Cell::name).collect();
        assert_eq!(names.len(), 2 * (1 + 2 * 2));
        assert_eq!(names[..3], ["a.source", "a.rtn.int4-asym-g64", "a.rtn.int3-asym-g64"]);
        assert_eq!(names[9], "user_b_Q4.gptq-code.int3-asym-g64");
        let own = TEXT.replace("calib = \"c.txt\"", "calib = \"c.txt\", formats = [\"int8-sym-row\"]");
        let names: Vec<String> = Recipe::parse(&own).unwrap().cells().iter().map(Cell::name).collect();
        assert_eq!(names[3], "a.gptq-code.int8-sym-row");
        assert_eq!(recipe.methods[1].settings(), ["act_order=none", "damp=0.1"]);
        assert_eq!((recipe.methods[1].calib(), recipe.chunks), (Some("c.txt"), 8));
    }

    #[test]
    fn what_is_wrong_with_a_recipe_is_said() {
        for (text, said) in [
            (TEXT.replace("title", "titel"), "titel"),
            (TEXT.replace("\"gptq-code\"", "\"rtn\""), "two methods are called \"rtn\""),
            (TEXT.replace("[\"a\", \"user/b:Q4\"]", "[]"), "models is empty"),
            (TEXT.replace("calib =", "against = [\"awq\"], calib ="), "against \"awq\""),
        ] {
            let error = Recipe::parse(&text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
