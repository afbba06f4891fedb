//! What a caller is told while a model is fetched. The library prints nothing; a command draws its bar from these.

use std::path::Path;

use crate::error::Error;

/// Receives events in the order in which they happen, on the calling thread. Implemented for closures, and for
/// `()`, which ignores them.
pub trait Progress {
    /// Called for each event; long work here delays the download.
    fn event(&mut self, event: Event<'_>);
}

/// A step of a download.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A source is about to be tried.
    SourceStarted {
        /// The source in words.
        source: &'a str,
    },
    /// A source failed; the next one, if any, is tried.
    SourceFailed {
        /// The source in words.
        source: &'a str,
        /// Why.
        error: &'a Error,
    },
    /// Another process holds the file; nothing happens until it is done.
    WaitingForLock {
        /// The lock file.
        lock: &'a Path,
    },
    /// A file begins.
    FileStarted {
        /// The file's name.
        file: &'a str,
        /// Its length.
        bytes: u64,
        /// Bytes that are here from an earlier attempt.
        resumed: u64,
    },
    /// A file has grown. For a wheel, whose compressed bytes are counted, the position is scaled to the file's
    /// length. A position can go back, when what was there had to be discarded.
    Position {
        /// The file's name.
        file: &'a str,
        /// Bytes that are here now.
        done: u64,
        /// Its length.
        bytes: u64,
    },
    /// The connection was lost and is made again.
    Reconnecting {
        /// The file's name.
        file: &'a str,
        /// Why it was lost.
        reason: &'a str,
    },
    /// The file is complete, its hash has been checked, and it has its final name.
    FileFinished {
        /// The file's name.
        file: &'a str,
        /// Where it is.
        path: &'a Path,
    },
}

impl Progress for () {
    fn event(&mut self, _: Event<'_>) {}
}

impl<F: FnMut(Event<'_>)> Progress for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}
