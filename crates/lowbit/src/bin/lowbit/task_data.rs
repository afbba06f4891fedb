//! Where the data of tasks is: in a folder that was named, else on the hub.

use crate::progress::Download;
use anyhow::{Context, Result, bail};
use lowbit::{
    eval::{
        harness::{Settings, TaskData, find_split},
        tasks::{Split, Task},
    },
    hub::{DataFile, Store},
};
use std::path::{Path, PathBuf};

/// The branch on which the hub keeps every data set as Parquet files.
const REVISION: &str = "refs/convert/parquet";

/// The rows of a task, and of its examples where some are wanted.
pub(crate) fn read(
    store: &Store,
    folder: Option<&Path>,
    task: &Task,
    settings: &Settings,
) -> Result<TaskData> {
    TaskData::read(task, settings, |split| locate(store, folder, split))
        .with_context(|| format!("no data for task {}", task.name))
}

fn locate(store: &Store, folder: Option<&Path>, split: &Split) -> Result<PathBuf> {
    if let Some(folder) = folder
        && let Some(path) = find_split(folder, split)?
    {
        return Ok(path);
    }
    let Split { repo, config, split: part, files, .. } = split;
    let missing = || {
        let names: Vec<String> = files.iter().map(|name| format!("{name}.jsonl")).collect();
        let folder = match folder {
            Some(folder) => format!("{} has none of", folder.display()),
            None => "--data was not given; a folder of it would have one of".to_owned(),
        };
        format!("{folder} {}", names.join(", "))
    };
    if repo.is_empty() {
        bail!("{}; the hub has it in other forms only", missing());
    }
    let file = format!("{config}/{part}/0000.parquet");
    store
        .pull_data_file(DataFile { repo, revision: REVISION, file: &file }, &mut Download::new())
        .with_context(|| format!("{}; and it could not be fetched from the hub ({repo})", missing()))
}
