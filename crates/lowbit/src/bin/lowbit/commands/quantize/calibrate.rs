//! What a model is calibrated with: options, and samples of tokens made of them.

use crate::report;
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    Access, Affixes, Model, SpecialTokens,
    quant::Calibration,
    texts::{Texts, samples},
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Samples and their length where nothing is said: what the papers on GPTQ and AWQ take.
const SAMPLES: usize = 128;
const LENGTH: usize = 2048;

/// How a method that needs it sees what the layers read.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Calibration")]
pub(super) struct Calibrate {
    /// Text that the model reads for methods that need it: .txt, .raw or .jsonl, plain or gzipped; never the one you will
    /// evaluate on
    #[arg(long, value_name = "FILE")]
    calib: Option<PathBuf>,
    /// Field of a line of a .jsonl file that holds its text [default: text]
    #[arg(long, value_name = "NAME")]
    calib_field: Option<String>,
    /// Samples cut from the text at random places [default: 128]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Tokens of each sample [default: 2048, or what the model takes where that is less]
    #[arg(long, value_name = "TOKENS")]
    length: Option<usize>,
    /// Seed of the places [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Calibrate {
    pub(super) fn is_given(&self) -> bool {
        self.calib.is_some()
    }

    /// Fills in what was not given.
    pub(super) fn complete(
        &mut self,
        text: PathBuf,
        field: Option<String>,
        (samples, length): (Option<usize>, Option<usize>),
        seed: Option<u64>,
    ) {
        if self.calib.is_none() {
            self.calib = Some(text);
            self.calib_field = field;
        }
        self.samples = self.samples.or(samples);
        self.length = self.length.or(length);
        self.seed = self.seed.or(seed);
    }

    /// The samples, as tokens of the model at `source`.
    pub(super) fn read(&self, source: &Path) -> Result<Option<Calibration>> {
        let Some(path) = &self.calib else {
            let given = [("--samples", self.samples.is_some()), ("--length", self.length.is_some())];
            let given = given
                .into_iter()
                .chain([("--seed", self.seed.is_some()), ("--calib-field", self.calib_field.is_some())]);
            return match given.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => bail!("{option} says how a text is read, give the text with --calib"),
                None => Ok(None),
            };
        };
        let texts = Texts::read(path, self.calib_field.as_deref())?;
        let tokenizer = Model::read_tokenizer(source, Access::Map)?;
        let (spec, _) = Model::inspect(source, Access::Map)?;
        let length = self.length.unwrap_or(LENGTH.min(spec.context));
        if length > spec.context {
            bail!("--length {length}: the model takes {} tokens", spec.context);
        }
        let encode = |text: &String| Ok(tokenizer.encode(text, SpecialTokens::AsText, Affixes::Model)?);
        let documents = texts.documents.iter().map(encode).collect::<Result<Vec<Vec<u32>>>>()?;
        let count = self.samples.unwrap_or(SAMPLES);
        let seed = self.seed.unwrap_or(0);
        let windows = samples(&documents, count, length, seed).with_context(|| {
            format!("{}: cannot take --samples {count} of --length {length}", path.display())
        })?;
        eprintln!(
            "calibration: {count} samples of {length} tokens from {}, {}",
            path.display(),
            report::count(texts.documents.len(), "document"),
        );
        let origin = json!({"sha256": texts.sha256, "length": length, "seed": seed});
        Ok(Some(Calibration::new(windows, origin)?))
    }
}
