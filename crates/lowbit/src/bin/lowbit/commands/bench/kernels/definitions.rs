//! What is measured, as data: `bench/definitions/kernels.toml`, or another file of the kind.

use crate::options::Activations;
use anyhow::{Context, Result, bail, ensure};
use lowbit::WeightSpec;
use lowbit_format::NK;
use serde::Deserialize;
use std::path::Path;

/// The file that is part of the program.
const BUILTIN: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/definitions/kernels.toml"));

/// Shapes, formats and numbers of tokens that are measured in all combinations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definitions {
    pub(super) tokens: Vec<usize>,
    pub(super) activations: Vec<Activations>,
    pub(super) formats: Vec<WeightSpec>,
    shapes: Vec<ShapeSet>,
}

/// Shapes that belong together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeSet {
    name: String,
    /// What they are the shapes of, for whoever reads the file.
    #[serde(rename = "source")]
    _source: String,
    /// `[N, K]`.
    nk: Vec<[usize; 2]>,
}

impl Definitions {
    /// Those of a file, or of the program.
    pub(super) fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Self::parse(BUILTIN).context("the program's own definitions") };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no file of definitions", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let definitions: Self = toml::from_str(text)?;
        let Self { tokens, activations, formats, shapes } = &definitions;
        let empty = tokens.is_empty() || activations.is_empty() || formats.is_empty() || shapes.is_empty();
        ensure!(!empty, "a list is empty, expected tokens, activations, formats and shapes");
        ensure!(!tokens.contains(&0), "tokens has 0, expected at least 1");
        let mut sizes = shapes.iter().flat_map(|set| &set.nk);
        if let Some([n, k]) = sizes.find(|size| size.contains(&0)) {
            bail!("a shape is {n}x{k}, expected at least 1x1");
        }
        Ok(definitions)
    }

    /// The shapes asked for, by the name of a set or as `NxK`, none twice; where nothing is, those of the first set.
    pub(super) fn shapes(&self, asked: &[String]) -> Result<Vec<NK>> {
        let mut found = Vec::new();
        if asked.is_empty() {
            found.extend(self.shapes[0].shapes());
        }
        for name in asked {
            match (self.shapes.iter().find(|set| set.name == *name), size(name)) {
                (Some(set), _) => found.extend(set.shapes()),
                (None, Some(shape)) => found.push(shape),
                (None, None) => {
                    let known: Vec<&str> = self.shapes.iter().map(|set| set.name.as_str()).collect();
                    bail!(
                        "no shapes are called {name:?}, expected {} or a size such as 4096x4096",
                        known.join(", ")
                    );
                }
            }
        }
        let mut shapes: Vec<NK> = Vec::new();
        for shape in found {
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        Ok(shapes)
    }
}

impl ShapeSet {
    fn shapes(&self) -> impl Iterator<Item = NK> {
        self.nk.iter().map(|&[n, k]| NK { n, k })
    }
}

/// `NxK`.
fn size(text: &str) -> Option<NK> {
    let (n, k) = text.split_once('x')?;
    let shape = NK { n: n.parse().ok()?, k: k.parse().ok()? };
    (shape.n > 0 && shape.k > 0).then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_found_by_the_name_of_their_set_or_their_size() {
        let definitions = Definitions::read(None).unwrap();
        let shapes = |names: &[&str]| {
            definitions.shapes(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(shapes(&[]).unwrap(), shapes(&["t-mac"]).unwrap());
        assert_eq!(shapes(&["64x32", "64x32"]).unwrap(), [NK { n: 64, k: 32 }]);
        assert!(shapes(&["t-mac", "llama-3-8b"]).unwrap().len() == 6, "one of them is in both");
        let error = shapes(&["lama"]).unwrap_err().to_string();
        assert!(error.contains("lama") && error.contains("qwen2.5-0.5b"), "{error}");
    }

    #[test]
    fn wrong_definitions_are_refused() {
        let text = |tokens: &str| {
            format!(
                "tokens = {tokens}\nactivations = [\"int8\"]\nformats = [\"q4_0\"]\n[[shapes]]\nname = \"a\"\nsource = \"\"\nnk = [[1, 32]]\n"
            )
        };
        assert!(Definitions::parse(&text("[1]")).is_ok());
        for wrong in
            [text("[]"), text("[0]"), text("[1]").replace("q4_0", "q4"), text("[1]").replace("32", "0")]
        {
            assert!(Definitions::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
