//! Files as mapped bytes. The one module of this crate with unsafe code.

use crate::IoError;
use lowbit_format::{Owner, Storage};
use std::{fs::File, ops::Range, sync::Arc};

/// A mapped file.
struct Mapped(memmap2::Mmap);

impl Owner for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(unix)]
    fn release(&self, range: Range<usize>) {
        let page = PAGE.min(self.0.len());
        // Whole pages only: their neighbours may be in use.
        let (start, end) = (range.start.next_multiple_of(page), range.end / page * page);
        if start < end {
            // SAFETY: the mapping is of a file, shared and read-only: what is read from these pages next comes from the
            // file again. A hint, so that its failure needs no answer.
            let _ = unsafe {
                self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
            };
        }
    }
}

/// A multiple of the page size of every system we know.
#[cfg(unix)]
const PAGE: usize = 64 << 10;

/// Maps the first `len` bytes of a file.
pub(crate) fn map(file: &File, len: usize) -> Result<Storage, IoError> {
    // SAFETY: the mapping is read-only and private to this `Mmap`, which unmaps it when the last `Storage` is gone.
    // What the language cannot promise is that no other process writes to the file: all code above this module
    // treats the bytes as data of unknown content, checks every length it takes from them at each use, and keeps
    // no reference typed as anything but `[u8]`; a truncation from outside ends the process by signal rather than
    // reading elsewhere. Callers that cannot accept that use `Access::Read` (see the crate's documentation).
    let map = unsafe { memmap2::MmapOptions::new().len(len).map(file) }.map_err(|e| IoError::os("map", e))?;
    // The length was taken before mapping: a file that shrank between the two would fault at the first read.
    let now = file.metadata().map_err(|e| IoError::os("look at", e))?.len();
    if now < len as u64 {
        return Err(IoError::Changed { before: len as u64, now });
    }
    Ok(Storage::new(Arc::new(Mapped(map)), 0..len).expect("the mapping has len bytes"))
}
