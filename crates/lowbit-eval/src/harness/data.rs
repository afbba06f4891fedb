//! The rows of a task: found in a folder by the names that their files go by.

use super::Settings;
use crate::{
    EvalError,
    results::sha256,
    tasks::{Data, Only, Split, Task},
};
use lowbit_io::texts::{Row, Rows};
use std::path::{Path, PathBuf};

/// Folders in folders that are looked through.
const DEPTH: usize = 3;
/// Endings of files with rows, without `.gz`.
const ENDINGS: [&str; 6] = ["jsonl", "ndjson", "json", "tsv", "raw", "parquet"];

/// What a task is measured on.
pub struct TaskData {
    /// What is asked about.
    pub rows: Rows,
    /// Its file; `generated` where the rows are made.
    pub path: PathBuf,
    /// Rows that examples come from; none where no examples are wanted.
    pub examples: Vec<Row>,
    /// SHA-256 of their file.
    pub examples_sha256: Option<String>,
}

/// The file in `folder`, or in folders in it, whose name up to a point is one of those of a split; `None` where there is none.
///
/// # Errors
/// Where there are several, or the folder cannot be read.
pub fn find_split(folder: &Path, split: &Split) -> Result<Option<PathBuf>, EvalError> {
    let mut all = Vec::new();
    files(folder, DEPTH, &mut all)?;
    for name in split.files {
        let mut found = all.iter().filter(|path| is_called(path, name));
        if let Some(first) = found.next() {
            if let Some(second) = found.next() {
                return Err(EvalError::SeveralFiles { first: first.clone(), second: second.clone() });
            }
            return Ok(Some(first.clone()));
        }
    }
    Ok(None)
}

fn is_called(path: &Path, name: &str) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let file = file.strip_suffix(".gz").unwrap_or(&file);
    let after = file.strip_prefix(&name.to_lowercase());
    after.is_some_and(|after| after.starts_with('.'))
        && file.rsplit('.').next().is_some_and(|ending| ENDINGS.contains(&ending))
}

fn files(folder: &Path, depth: usize, all: &mut Vec<PathBuf>) -> Result<(), EvalError> {
    let unreadable = |source| EvalError::Folder { path: folder.to_owned(), source };
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if depth > 0 {
                files(&path, depth - 1, all)?;
            }
        } else {
            all.push(path);
        }
    }
    Ok(())
}

impl TaskData {
    /// Reads or makes the rows of a task, and reads those of its examples where some are wanted. `locate` finds the file of a
    /// split.
    ///
    /// # Errors
    /// Those of `locate`, where a file cannot be read, or the task has no examples and some are wanted.
    pub fn read<E: From<EvalError>>(
        task: &Task,
        settings: &Settings,
        mut locate: impl FnMut(&Split) -> Result<PathBuf, E>,
    ) -> Result<Self, E> {
        let (path, rows) = match task.data {
            Data::Split(split) => {
                let path = locate(&split)?;
                let rows = read_split(&path, &split)?;
                (path, rows)
            }
            Data::Generated(make) => {
                let rows = make(settings.seed);
                let sha256 = rows_sha256(&rows);
                (PathBuf::from("generated"), Rows { rows, sha256 })
            }
        };
        let (mut examples, mut examples_sha256) = (Vec::new(), None);
        if settings.shots > 0 {
            let found = task.examples.ok_or(EvalError::NoExamples { task: task.name })?;
            let read = read_split(&locate(&found.split)?, &found.split)?;
            (examples, examples_sha256) = (read.rows, Some(read.sha256));
        }
        Ok(Self { rows, path, examples, examples_sha256 })
    }
}

/// Of the rows as lines of JSON.
fn rows_sha256(rows: &[Row]) -> String {
    let lines: String = rows.iter().map(|row| format!("{}\n", serde_json::json!(row.fields))).collect();
    sha256(lines.as_bytes())
}

/// The rows of a file that belong to a split.
fn read_split(path: &Path, split: &Split) -> Result<Rows, EvalError> {
    let mut rows = Rows::read(path)?;
    if let Some(Only { field, from, to }) = split.only {
        let mut belongs = Vec::with_capacity(rows.rows.len());
        for row in rows.rows {
            if (from..=to).contains(&row.number(field)?) {
                belongs.push(row);
            }
        }
        rows.rows = belongs;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_of_several_splits_the_rows_of_one_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mbpp.jsonl");
        let row = |id| {
            format!(r#"{{"task_id": {id}, "text": "", "code": "{id}", "test_list": ["", "", ""]}}"#) + "\n"
        };
        std::fs::write(&path, [1, 2, 3, 4, 5, 10, 11, 12, 510, 511].map(row).concat()).unwrap();
        let task = Task::named("mbpp").unwrap();
        let data = TaskData::read(task, &Settings::of(task), |_| Ok::<_, EvalError>(path.clone())).unwrap();
        let ids = |rows: &[Row]| rows.iter().map(|row| row.number("task_id").unwrap()).collect::<Vec<_>>();
        assert_eq!(ids(&data.rows.rows), [11, 12, 510]);
        assert_eq!(ids(&data.examples), [2, 3, 4]);
    }

    #[test]
    fn files_are_found_by_their_names_up_to_a_point() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tasks")).unwrap();
        let put = |name: &str| std::fs::write(folder.path().join("tasks").join(name), "{}").unwrap();
        for name in [
            "hellaswag_val.even.jsonl.gz",
            "hellaswag.md",
            "piqa.jsonl",
            "piqa.json",
            "w.test.raw",
            "w.valid.raw",
        ] {
            put(name);
        }
        let split = |files| Split { repo: "", config: "", split: "", files, only: None };
        let found = find_split(folder.path(), &split(&["hellaswag", "hellaswag_val"])).unwrap().unwrap();
        assert!(found.ends_with("tasks/hellaswag_val.even.jsonl.gz"));
        let found = find_split(folder.path(), &split(&["w.test"])).unwrap().unwrap();
        assert!(found.ends_with("tasks/w.test.raw"));
        assert_eq!(find_split(folder.path(), &split(&["arc", "hella"])).unwrap(), None);
        let error = find_split(folder.path(), &split(&["piqa"])).unwrap_err().to_string();
        assert!(error.contains("piqa.json and") && error.contains("piqa.jsonl"), "{error}");
        assert!(find_split(&folder.path().join("none"), &split(&["arc"])).is_err());
    }
}
