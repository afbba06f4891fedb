//! `--recipe FILE`: the options of a quantization in a file that can be kept beside the model.

use super::QuantizeCommand;
use anyhow::{Context, Result};
use lowbit::hub::DataSet;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A recipe file. What the command line says comes before it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RecipeFile {
    method: Option<String>,
    format: Option<String>,
    embedding: Option<String>,
    head: Option<String>,
    target_bpw: Option<f64>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    roles: BTreeMap<String, String>,
    /// In the order of the file: the last pattern that fits counts.
    #[serde(default)]
    tensors: Vec<Tensor>,
    calibration: Option<Calibration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    name: String,
    format: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Calibration {
    /// A name, or a file: beside the recipe file, where it is no whole path.
    text: PathBuf,
    field: Option<String>,
    samples: Option<usize>,
    length: Option<usize>,
    seed: Option<u64>,
}

impl RecipeFile {
    /// # Errors
    /// Where the file cannot be read, is no TOML, or has a field that there is not.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut recipe: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        if let (Some(calibration), Some(folder)) = (&mut recipe.calibration, path.parent())
            && DataSet::named(&calibration.text.to_string_lossy()).is_err()
        {
            calibration.text = folder.join(&calibration.text);
        }
        Ok(recipe)
    }

    /// Puts what it says before what the command line says, and where that says nothing.
    pub(super) fn complete(self, command: &mut QuantizeCommand) {
        let fill = |given: &mut Option<String>, from: Option<String>| *given = given.take().or(from);
        fill(&mut command.method, self.method);
        fill(&mut command.format, self.format);
        fill(&mut command.embedding, self.embedding);
        fill(&mut command.head, self.head);
        command.target_bpw = command.target_bpw.or(self.target_bpw);
        let before = |given: &mut Vec<String>, from: Vec<String>| {
            given.splice(0..0, from);
        };
        // Text goes without quotes, as on the command line.
        let settings = self.settings.into_iter().map(|(key, value)| match value {
            toml::Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        });
        before(&mut command.settings, settings.collect());
        before(&mut command.roles, self.roles.into_iter().map(|(role, f)| format!("{role}={f}")).collect());
        let tensors = self.tensors.into_iter().map(|tensor| format!("{}={}", tensor.name, tensor.format));
        before(&mut command.tensors, tensors.collect());
        if let Some(from) = self.calibration {
            command.calibrate.complete(from.text, from.field, (from.samples, from.length), from.seed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        command: QuantizeCommand,
    }

    #[test]
    fn the_command_line_comes_before_the_file_and_the_file_before_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        let text = "method = 'gptq'\nformat = 'int3-asym-g64'\ntarget-bpw = 3.5\n[settings]\ndamp = 0.1\nact_order = 'none'\n\
            [roles]\ndown = 'int4-asym-g64'\n[[tensors]]\nname = 'blk.0.*'\nformat = 'int8-sym-g64'\n\
            [calibration]\ntext = 'c.txt'\nsamples = 8\n";
        std::fs::write(&path, text).unwrap();
        let mut cli =
            Cli::parse_from(["q", "m", "-o", "x.lowbit", "--format", "int4-sym-g32", "--set", "damp=0.2"]);
        RecipeFile::read(&path).unwrap().complete(&mut cli.command);
        let command = cli.command;
        assert_eq!(command.method.as_deref(), Some("gptq"));
        assert_eq!(command.format.as_deref(), Some("int4-sym-g32"));
        assert_eq!(command.target_bpw, Some(3.5));
        assert_eq!(command.settings, ["act_order=none", "damp=0.1", "damp=0.2"]);
        assert_eq!(
            crate::commands::quantize::settings(&command.settings).unwrap(),
            serde_json::json!({"act_order": "none", "damp": 0.2})
        );
        assert_eq!(command.roles, ["down=int4-asym-g64"]);
        assert_eq!(command.tensors, ["blk.0.*=int8-sym-g64"]);
        assert!(command.calibrate.is_given());
        std::fs::write(&path, "methd = 'gptq'").unwrap();
        let error = crate::report::chain(&RecipeFile::read(&path).unwrap_err());
        assert!(error.contains("r.toml") && error.contains("methd"), "{error}");
    }
}
