//! Files as bytes: mapped or read.

use crate::{IoError, mapped::map};
use lowbit_format::Storage;
use std::{
    fs::{File, Metadata},
    io::Read,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Longest JSON or template file that is read whole: real `tokenizer.json` files reach 35 MB.
pub const MAX_TEXT_FILE: u64 = 128 << 20;

/// How the bytes of a checkpoint come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Map the file: pages come in as they are read and cost nothing beyond the page cache. A file that another
    /// process truncates meanwhile ends this process (SIGBUS).
    #[default]
    Map,
    /// Read the whole file into memory first.
    Read,
}

/// What a file was when it was opened, to tell later whether it still is.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    modified: Option<SystemTime>,
}

impl Opened {
    /// # Errors
    /// Where the file is gone, or its length or time of change differs.
    pub(crate) fn check_unchanged(&self) -> Result<(), IoError> {
        let now = std::fs::metadata(&self.path).map_err(|e| IoError::os("look at", e).in_file(&self.path))?;
        if now.len() == self.len && now.modified().ok() == self.modified {
            return Ok(());
        }
        Err(IoError::Changed { before: self.len, now: now.len() }.in_file(&self.path))
    }
}

/// Opens a regular file; what the open handle says of it is what counts.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), IoError> {
    // Asked before opening too: to open a pipe waits for its other end.
    if !std::fs::metadata(path).map_err(|e| IoError::os("open", e))?.is_file() {
        return Err(IoError::NotAFile);
    }
    let file = File::open(path).map_err(|e| IoError::os("open", e))?;
    let meta = file.metadata().map_err(|e| IoError::os("look at", e))?;
    if meta.is_file() { Ok((file, meta)) } else { Err(IoError::NotAFile) }
}

/// Opens a file's bytes.
pub(crate) fn open(path: &Path, access: Access) -> Result<(Storage, Opened), IoError> {
    open_inner(path, access).map_err(|e| e.in_file(path))
}

fn open_inner(path: &Path, access: Access) -> Result<(Storage, Opened), IoError> {
    let (mut file, meta) = open_regular(path)?;
    let opened = Opened { path: path.to_owned(), len: meta.len(), modified: meta.modified().ok() };
    if meta.len() == 0 {
        return Ok((Storage::from(Vec::new()), opened));
    }
    let len = usize::try_from(meta.len()).map_err(|_| IoError::TooLarge {
        what: "file".into(),
        found: meta.len(),
        most: isize::MAX as u64,
    })?;
    let bytes = match access {
        Access::Map => map(&file, len)?,
        Access::Read => read(&mut file, len)?,
    };
    Ok((bytes, opened))
}

/// The first bytes of a file, at most eight.
pub(crate) fn read_head(path: &Path) -> Result<Vec<u8>, IoError> {
    let file = open_regular(path).map_err(|e| e.in_file(path))?.0;
    let mut head = Vec::new();
    file.take(8).read_to_end(&mut head).map_err(|e| IoError::os("read", e).in_file(path))?;
    Ok(head)
}

fn read(file: &mut File, len: usize) -> Result<Storage, IoError> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| IoError::OutOfMemory { what: "the file".into(), bytes: len as u64 })?;
    // One byte more than the length would show a file that grows; it is cut there, as a mapping would.
    file.take(len as u64).read_to_end(&mut bytes).map_err(|e| IoError::os("read", e))?;
    if bytes.len() != len {
        return Err(IoError::Changed { before: len as u64, now: bytes.len() as u64 });
    }
    Ok(Storage::from(bytes))
}

/// Reads a small file whole, at most `most` bytes.
pub(crate) fn read_small(path: &Path, most: u64) -> Result<Vec<u8>, IoError> {
    let inner = || {
        let (file, meta) = open_regular(path)?;
        if meta.len() > most {
            return Err(IoError::TooLarge { what: "file".into(), found: meta.len(), most });
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.take(most + 1).read_to_end(&mut bytes).map_err(|e| IoError::os("read", e))?;
        if bytes.len() as u64 > most {
            return Err(IoError::TooLarge { what: "file".into(), found: bytes.len() as u64, most });
        }
        Ok(bytes)
    };
    inner().map_err(|e: IoError| e.in_file(path))
}
