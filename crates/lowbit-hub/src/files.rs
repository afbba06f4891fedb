//! Small file operations that downloads have in common: a lock against a second process, and giving a finished file
//! its name so that a crash leaves either nothing or all of it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, at};
use crate::progress::{Event, Progress};

/// An exclusive lock on a file, held until dropped. The lock file itself stays: removing it would let two processes
/// hold locks on different files of the same name.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process holds the lock.
    pub(crate) fn acquire(path: &Path, progress: &mut dyn Progress) -> Result<Lock, Error> {
        create_parent(path)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(at("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.event(Event::WaitingForLock { lock: path });
                file.lock().map_err(at("lock", path))?;
            }
            // Some network file systems have no locks. The content is checked by hash either way; what is lost is
            // only that two processes do not download at once.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(path = %path.display(), "the file system has no locks; continuing without");
            }
            Err(TryLockError::Error(error)) => return Err(at("lock", path)(error)),
        }
        Ok(Lock { _file: file })
    }
}

/// Writes `file` to the disk and moves it from `from` to `to`, replacing what is there.
pub(crate) fn publish(file: File, from: &Path, to: &Path) -> Result<(), Error> {
    file.sync_all().map_err(at("write", from))?;
    drop(file);
    fs::rename(from, to).map_err(at("rename a finished download to", to))?;
    // The new name is itself data of the directory. Windows cannot open directories as files.
    if cfg!(unix)
        && let Some(parent) = to.parent()
    {
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(at("write", parent))?;
    }
    Ok(())
}

pub(crate) fn create_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(at("create", parent)),
        None => Ok(()),
    }
}

/// Removes a file; that it is not there is no error.
pub(crate) fn remove_if_present(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Length of a regular file, links followed; `None` if there is none.
pub(crate) fn length(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// Appends to a file name, as in `x.gguf` → `x.gguf.incomplete`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
