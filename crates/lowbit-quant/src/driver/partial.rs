//! Blocks that are done, kept beside the file that is being made so that a run that was ended can go on: `OUT.partial/` holds
//! what the run is, and a container and a report for each finished block.

use super::Resume;
use crate::{QuantError, TensorReport, solve::Rows};
use lowbit_format::WeightSpec;
use lowbit_io::{
    Access, IoError,
    container::{Container, ContainerWriter},
    write_file,
};
use std::path::{Path, PathBuf};

/// Name of the file that says what the run is.
const RUN: &str = "run.json";
/// Names of the files with what was chosen for the whole model: formats, which scales, and rows with more bits.
const FORMATS: &str = "formats.json";
const SCALES: &str = "scales.json";
const ROWS: &str = "rows.json";

/// The folder of a run.
pub(crate) struct Partial {
    folder: PathBuf,
}

/// A finished block.
pub(crate) struct Done {
    pub(crate) tensors: Container,
    pub(crate) reports: Vec<TensorReport>,
}

impl Partial {
    /// Makes the folder, or takes up the one that is there. `run` says what the run is: one that says something else
    /// cannot go on.
    pub(crate) fn open(out: &Path, run: &str, resume: Resume) -> Result<Self, QuantError> {
        let folder = folder(out);
        let about = folder.join(RUN);
        let found = match std::fs::read_to_string(&about) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(IoError::os("read", error).in_file(&about).into()),
        };
        match (found, resume) {
            (Some(found), Resume::Continue) if found == run => return Ok(Self { folder }),
            (Some(found), Resume::Continue) => {
                return Err(QuantError::OtherRun { folder, differs: difference(&found, run) });
            }
            (Some(_), Resume::Refuse) => return Err(QuantError::Unfinished { folder }),
            (Some(_), Resume::Discard) => {
                std::fs::remove_dir_all(&folder).map_err(|e| IoError::os("remove", e).in_file(&folder))?;
            }
            (None, _) => {}
        }
        std::fs::create_dir_all(&folder).map_err(|e| IoError::os("create", e).in_file(&folder))?;
        write_file(&about, run.as_bytes())?;
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The formats that were chosen for the run, where they are.
    pub(crate) fn formats(&self) -> Result<Option<Vec<(String, WeightSpec)>>, QuantError> {
        read_json(&self.folder.join(FORMATS))
    }

    pub(crate) fn keep_formats(&self, chosen: &[(String, WeightSpec)]) -> Result<(), QuantError> {
        let text = serde_json::to_vec(chosen).expect("names and labels are plain data");
        Ok(write_file(&self.folder.join(FORMATS), &text)?)
    }

    /// Which scales were chosen for the run, where they are.
    pub(crate) fn scales(&self) -> Result<Option<usize>, QuantError> {
        read_json(&self.folder.join(SCALES))
    }

    pub(crate) fn keep_scales(&self, number: usize) -> Result<(), QuantError> {
        Ok(write_file(&self.folder.join(SCALES), number.to_string().as_bytes())?)
    }

    /// The rows that were chosen for the run, where they are.
    pub(crate) fn rows(&self) -> Result<Option<Rows>, QuantError> {
        read_json(&self.folder.join(ROWS))
    }

    pub(crate) fn keep_rows(&self, rows: &Rows) -> Result<(), QuantError> {
        let text = serde_json::to_vec(rows).expect("names and numbers are plain data");
        Ok(write_file(&self.folder.join(ROWS), &text)?)
    }

    fn path(&self, block: usize, ending: &str) -> PathBuf {
        self.folder.join(format!("block-{block:05}.{ending}"))
    }

    /// The block, where it is finished: its report is written after its tensors.
    pub(crate) fn done(&self, block: usize) -> Result<Option<Done>, QuantError> {
        let Some(reports) = read_json(&self.path(block, "json"))? else { return Ok(None) };
        let tensors = Container::open(&self.path(block, "lowbit"), Access::Map)?;
        Ok(Some(Done { tensors, reports }))
    }

    /// Keeps a finished block.
    pub(crate) fn keep(
        &self,
        block: usize,
        tensors: &ContainerWriter,
        reports: &[TensorReport],
    ) -> Result<Done, QuantError> {
        tensors.write(&self.path(block, "lowbit"))?;
        let text = serde_json::to_vec(reports).expect("reports are plain data");
        write_file(&self.path(block, "json"), &text)?;
        self.done(block).map(|done| done.expect("the block was just written"))
    }

    /// Removes the folder where nothing was finished: there would be nothing to go on with.
    pub(crate) fn forget_if_empty(&self) {
        let chosen = [FORMATS, SCALES, ROWS].map(|name| self.folder.join(name));
        if !self.path(0, "json").exists() && !chosen.iter().any(|path| path.exists()) {
            // What cannot be removed is said when the folder is met the next time.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    /// Removes the folder once the file is there.
    pub(crate) fn remove(self) -> Result<(), QuantError> {
        Ok(std::fs::remove_dir_all(&self.folder)
            .map_err(|e| IoError::os("remove", e).in_file(&self.folder))?)
    }
}

/// How many samples an unfinished run that was to write `out` is calibrated with: `None` where there is no such run, or it
/// has no calibration.
///
/// # Errors
/// Where what it says of itself cannot be read.
pub fn unfinished_samples(out: &Path) -> Result<Option<usize>, QuantError> {
    let run: Option<serde_json::Value> = read_json(&folder(out).join(RUN))?;
    Ok(run.and_then(|run| run["calibration"]["samples"].as_u64()).map(|samples| samples as usize))
}

/// The folder of a run that is to write `out`.
fn folder(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// What a file of the folder says, `None` where it is not there.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, QuantError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IoError::os("read", error).in_file(path).into()),
    };
    let wrong =
        |error: serde_json::Error| QuantError::Partial { path: path.to_owned(), why: error.to_string() };
    serde_json::from_slice(&text).map(Some).map_err(wrong)
}

/// Which fields of two runs differ.
fn difference(found: &str, run: &str) -> String {
    let parse = |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).unwrap_or_default();
    let (found, run) = (parse(found), parse(run));
    let keys = run.iter().filter(|(key, value)| found.get(*key) != Some(value)).map(|(key, _)| key.as_str());
    keys.collect::<Vec<_>>().join(", ")
}
