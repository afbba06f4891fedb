//! What runs in a sandbox, and how it ended.

use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// A command with what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The program, by its full path, and its arguments. Empty: the sandbox is set up and nothing run in it.
    pub command: Vec<String>,
    /// Variables beside `PATH`, `LANG`, `HOME` and `TMPDIR`.
    pub environment: Vec<(String, String)>,
    /// Folders and files that it may read beside those of the system, by their full paths.
    pub readable: Vec<PathBuf>,
    /// What is in its work folder.
    #[serde(skip)]
    pub files: Vec<File>,
    /// A file of the work folder that is handed back when the command has ended with status 0.
    pub fetch: Option<String>,
    /// What it may use.
    pub limits: Limits,
}

/// A file of the work folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name; no path.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What a command may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time of each process, rounded up to seconds.
    pub processor: Duration,
    /// Time by the clock.
    pub clock: Duration,
    /// Address space of each process.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// The work folder, and every file in it.
    pub disk_bytes: u64,
    /// Files and folders in the work folder.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processor: Duration::from_secs(3),
            clock: Duration::from_secs(9),
            memory_bytes: 2 << 30,
            processes: 16,
            disk_bytes: 64 << 20,
            files: 1000,
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With a status.
    Status(i32),
    /// By a signal; 9 where processor time was used up.
    Signal(i32),
    /// It did not, in its time by the clock, and was killed.
    Deadline,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
    /// The file that was asked for.
    pub fetched: Option<Vec<u8>>,
}
