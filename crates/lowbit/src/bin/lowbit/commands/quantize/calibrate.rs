//! What a model is calibrated with: options, and samples of tokens made of them.

use crate::{progress::Download, report};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    Access, Affixes, Model, SpecialTokens,
    hub::{DataSet, Store},
    quant::{Calibration, Cost, Estimate},
    texts::{Texts, samples},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Samples and their length where nothing is said: what the papers on GPTQ and AWQ take.
const SAMPLES: usize = 128;
const LENGTH: usize = 2048;
/// Time within which a run with samples of that number is to stay: half of them are taken, and half again, until it does.
const BOUND: Duration = Duration::from_secs(30 * 60);
/// Bytes of documents that samples are cut from: some fifty times what the default takes, and quickly made tokens of.
const MAX_BYTES: usize = 64 << 20;
/// Samples that are taken however long it takes.
const FEWEST: usize = 8;

/// How a method that needs it sees what the layers read.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Calibration")]
pub(super) struct Calibrate {
    /// Text that the model reads for methods that need it: a name of `lowbit list calib`, which is fetched, or a file, .txt,
    /// .raw or .jsonl, plain or gzipped, or .parquet; never the one you will evaluate on
    #[arg(long, value_name = "NAME|FILE")]
    calib: Option<PathBuf>,
    /// Field of a line of a .jsonl file, or column of a .parquet file, that holds its text [default: text]
    #[arg(long, value_name = "NAME")]
    calib_field: Option<String>,
    /// Samples cut from the text at random places [default: 128, or fewer where that would take more than half an hour]
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

    /// The text, as tokens of the model at `source`. `unfinished` are the samples of a run that this one goes on with.
    pub(super) fn read(
        &self,
        store: &Store,
        source: &Path,
        unfinished: Option<usize>,
    ) -> Result<Option<Text>> {
        let Some(given) = &self.calib else {
            let given = [("--samples", self.samples.is_some()), ("--length", self.length.is_some())];
            let given = given
                .into_iter()
                .chain([("--seed", self.seed.is_some()), ("--calib-field", self.calib_field.is_some())]);
            return match given.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => bail!("{option} says how a text is read, give the text with --calib"),
                None => Ok(None),
            };
        };
        let (path, set) = find(store, given)?;
        let field = self.calib_field.as_deref().or(set.as_ref().map(|set| set.field.as_str()));
        let mut texts = Texts::read(&path, field)?;
        let (all, documents) = (texts.documents.len(), first(&texts.documents));
        if documents < all {
            eprintln!("{}: of {all} documents the first {documents} are read", given.display());
            texts.documents.truncate(documents);
        }
        let tokenizer = Model::read_tokenizer(source, Access::Map)?;
        let (spec, _) = Model::inspect(source, Access::Map)?;
        let length = self.length.unwrap_or(LENGTH.min(spec.context));
        if length > spec.context {
            bail!("--length {length}: the model takes {} tokens", spec.context);
        }
        let encode = |text: &String| Ok(tokenizer.encode(text, SpecialTokens::AsText, Affixes::Model)?);
        let documents = texts.documents.iter().map(encode).collect::<Result<Vec<Vec<u32>>>>()?;
        Ok(Some(Text {
            documents,
            sha256: texts.sha256,
            path: given.clone(),
            set,
            samples: self.samples.or(unfinished),
            length,
            seed: self.seed.unwrap_or(0),
        }))
    }
}

/// A text to cut samples from.
pub(super) struct Text {
    documents: Vec<Vec<u32>>,
    sha256: String,
    /// As it was given.
    path: PathBuf,
    set: Option<DataSet>,
    /// Samples that were asked for.
    samples: Option<usize>,
    /// Tokens of each.
    pub(super) length: usize,
    seed: u64,
}

impl Text {
    /// The samples, as many as were asked for or fewer than the default where `cost` says that they would take too long; and
    /// what they are expected to take.
    pub(super) fn calibration(&self, cost: impl FnOnce() -> Result<Cost>) -> Result<(Calibration, Estimate)> {
        // What is wrong with the text is said before anything is measured.
        let wanted = self.samples.unwrap_or(SAMPLES);
        let whole = self.cut(wanted)?;
        let cost = cost()?;
        let count = match self.samples {
            Some(count) => count,
            None => cost.within(BOUND.as_secs_f64(), SAMPLES, FEWEST),
        };
        let calibration = if count == wanted { whole } else { self.cut(count)? };
        let (length, documents) = (self.length, report::count(self.documents.len(), "document"));
        eprintln!(
            "calibration: {} of {length} tokens from {}, {documents}",
            report::count(count, "sample"),
            self.path.display(),
        );
        if count < wanted {
            let (bound, all) = (duration(BOUND.as_secs_f64()), duration(cost.of(wanted).seconds));
            eprintln!(
                "warning: the usual {wanted} samples would take some {all}, more than {bound}; --samples {wanted} takes them all \
                 the same, and --samples {count} gives this file anywhere"
            );
        }
        let estimate = cost.of(count);
        eprintln!(
            "this will take some {} ({} to run the model, {} to sum up inputs, {} to round) and {} beside the model",
            duration(estimate.seconds),
            duration(estimate.passes_seconds),
            duration(estimate.statistics_seconds),
            duration(estimate.rounding_seconds),
            report::bytes(estimate.memory_bytes),
        );
        Ok((calibration, estimate))
    }

    fn cut(&self, count: usize) -> Result<Calibration> {
        let windows = samples(&self.documents, count, self.length, self.seed).with_context(|| {
            format!("{}: cannot take --samples {count} of --length {}", self.path.display(), self.length)
        })?;
        let mut origin = json!({"sha256": self.sha256, "length": self.length, "seed": self.seed});
        if let Some(DataSet { repo, revision, file, field, .. }) = &self.set {
            origin["data_set"] = json!({"repo": repo, "revision": revision, "file": file, "field": field});
        }
        Ok(Calibration::new(windows, origin)?)
    }
}

/// The file of a name or a path, and what it is where it has a name.
fn find(store: &Store, given: &Path) -> Result<(PathBuf, Option<DataSet>)> {
    let unknown = match DataSet::named(&given.to_string_lossy()) {
        Ok(set) => {
            if store.local_data_set(&set).is_none() {
                eprintln!(
                    "{} is not on this machine, asking the hub; its licence is {}",
                    set.name, set.licence
                );
            }
            return Ok((store.pull_data_set(&set, &mut Download::new())?, Some(set)));
        }
        Err(error) => error,
    };
    // Anything else that is written like a path, or is one, is one.
    if given.extension().is_some() || given.components().count() > 1 || given.exists() {
        return Ok((given.to_owned(), None));
    }
    Err(unknown.into())
}

/// How many documents, from the first on, are enough to cut samples from.
fn first(documents: &[String]) -> usize {
    let mut bytes = 0;
    let enough = documents.iter().position(|document| {
        bytes += document.len();
        bytes > MAX_BYTES
    });
    enough.map_or(documents.len(), |last| last + 1)
}

/// A time in words, as exactly as an estimate is.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
