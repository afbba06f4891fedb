//! Writing checkpoints: the bytes of tensors, which may be made only when they are written, and files that appear
//! whole or not at all.

use crate::IoError;
use lowbit_format::Storage;
use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where the bytes of a tensor that is to be written come from.
pub struct Payload(Source);

enum Source {
    Stored(Storage),
    Made(Make),
}

type Make = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync>;

impl Payload {
    /// Bytes that `make` writes when their turn comes, so that a model larger than memory can be written. It is called
    /// once for each time the file is written and must write the same bytes each time.
    pub fn made(make: impl Fn(&mut dyn Write) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Source::Made(Box::new(make)))
    }

    /// Writes the bytes of tensor `name`, which must be `len`.
    pub(crate) fn put(&self, name: &str, len: usize, out: &mut dyn Write) -> Result<(), IoError> {
        let mut out = Counted { out, bytes: 0 };
        match &self.0 {
            Source::Stored(storage) => out.write_all(storage.bytes()),
            Source::Made(make) => make(&mut out),
        }
        .map_err(|e| IoError::os("write", e))?;
        if out.bytes == len {
            return Ok(());
        }
        let found = format!("a payload of {} bytes", out.bytes);
        Err(IoError::invalid(format!("tensor {name:?}"), found, format!("{len} bytes")))
    }
}

/// Bytes that wait on the disk until a file is written, so that a model larger than memory can be made tensor by tensor.
/// They go with the program, however it ends.
#[derive(Debug)]
pub struct Spool(Arc<Mutex<File>>);

impl Spool {
    /// An empty one in the folder in which `path` will be.
    ///
    /// # Errors
    /// Where no file can be made there.
    pub fn beside(path: &Path) -> Result<Self, IoError> {
        let made = tempfile::tempfile_in(folder(path));
        let file = made.map_err(|e| IoError::os("create a temporary file beside", e).in_file(path))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Puts bytes away; the payload gives them back.
    ///
    /// # Errors
    /// Where the disk is full.
    pub fn keep(&self, bytes: &[u8]) -> Result<Payload, IoError> {
        let write = || {
            let mut file = lock(&self.0);
            let start = file.seek(SeekFrom::End(0))?;
            file.write_all(bytes)?;
            Ok(start)
        };
        let start = write().map_err(|e| IoError::os("write", e))?;
        let (file, len) = (Arc::clone(&self.0), bytes.len() as u64);
        Ok(Payload::made(move |out| {
            let mut file = lock(&file);
            file.seek(SeekFrom::Start(start))?;
            io::copy(&mut (&mut *file).take(len), out).map(drop)
        }))
    }
}

/// A file's position is set before every use, so that a panic elsewhere leaves nothing half done.
fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Source::Stored(bytes.into()))
    }
}

impl From<Storage> for Payload {
    fn from(bytes: Storage) -> Self {
        Self(Source::Stored(bytes))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Stored(storage) => write!(f, "Payload({} bytes)", storage.len()),
            Source::Made(_) => f.write_str("Payload(made when written)"),
        }
    }
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a file: to a temporary one beside it, synced, then renamed.
pub(crate) fn write_new(
    path: &Path,
    put: impl FnOnce(&mut dyn Write) -> Result<(), IoError>,
) -> Result<(), IoError> {
    let inner = || {
        let mut file = temporary(folder(path)).map_err(|e| IoError::os("create", e))?;
        let mut out = BufWriter::with_capacity(1 << 20, &mut file);
        put(&mut out)?;
        out.flush().map_err(|e| IoError::os("write", e))?;
        drop(out);
        file.as_file().sync_all().map_err(|e| IoError::os("write", e))?;
        file.persist(path).map_err(|e| IoError::os("rename", e.error))?;
        Ok(())
    };
    inner().map_err(|e: IoError| e.in_file(path))
}

/// Writes a file of given bytes: to a temporary one beside it, synced, then renamed, so that it appears whole or not at
/// all.
///
/// # Errors
/// Where the operating system refuses.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    write_new(path, |out| out.write_all(bytes).map_err(|e| IoError::os("write", e)))
}

/// A folder in the making, beside the place it will have. It goes away unless it is finished.
pub(crate) struct NewFolder(tempfile::TempDir);

impl NewFolder {
    /// An empty one beside `out`.
    ///
    /// # Errors
    /// Where there is something at `out` already, or the operating system refuses.
    pub(crate) fn beside(out: &Path) -> Result<Self, IoError> {
        if out.symlink_metadata().is_ok() {
            let found = "something of that name already";
            let expected = "a new folder; remove it, or write to another";
            return Err(IoError::invalid("the folder to write", found, expected).in_file(out));
        }
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let made = builder.tempdir_in(folder(out)).map_err(|e| IoError::os("create", e).in_file(out))?;
        Ok(Self(made))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// Where something else has it by now, or the operating system refuses.
    pub(crate) fn finish(self, out: &Path) -> Result<(), IoError> {
        std::fs::rename(self.0.path(), out).map_err(|e| IoError::os("rename", e).in_file(out))?;
        // It is not there any more under its first name, and nothing is to be removed.
        let _ = self.0.keep();
        Ok(())
    }
}

/// A temporary file that will be as readable as any other the user makes.
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_another_length_is_refused_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        let short = Payload::made(|out| out.write_all(&[1, 2, 3]));
        let error = write_new(&path, |out| short.put("w", 4, out)).unwrap_err().to_string();
        assert!(
            error.contains("model: tensor \"w\": found a payload of 3 bytes, expected 4 bytes"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        write_new(&path, |out| short.put("w", 3, out)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3]);
    }
}
