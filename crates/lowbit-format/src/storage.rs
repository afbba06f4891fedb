//! Bytes that a tensor reads and somebody else may own: a `Vec`, or a range of a mapped file.

use std::{ops::Range, sync::Arc};

/// What keeps the bytes of a [`Storage`].
pub trait Owner: Send + Sync {
    /// All of them.
    fn bytes(&self) -> &[u8];

    /// Says that `range` will not be read for a while. An owner that can get the bytes back gives the memory away.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }
}

impl Owner for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// A shared, immutable run of bytes. Cloning copies a pointer.
#[derive(Clone)]
pub struct Storage {
    owner: Arc<dyn Owner>,
    range: Range<usize>,
}

impl Storage {
    /// The bytes `range` of `owner`.
    ///
    /// Returns `None` where the range does not lie inside the owner's bytes.
    pub fn new(owner: Arc<dyn Owner>, range: Range<usize>) -> Option<Self> {
        owner.bytes().get(range.clone())?;
        Some(Self { owner, range })
    }

    /// A run inside this one, `None` where it does not fit.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let start = self.range.start.checked_add(range.start)?;
        let end = self.range.start.checked_add(range.end)?;
        if start > end || end > self.range.end {
            return None;
        }
        Some(Self { owner: self.owner.clone(), range: start..end })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // An owner whose bytes have shrunk is a bug of the owner: answer with nothing rather than out of bounds.
        self.owner.bytes().get(self.range.clone()).unwrap_or(&[])
    }

    /// Says that the bytes will not be read for a while: pages of a mapped file leave memory until they are.
    pub fn release(&self) {
        self.owner.release(self.range.clone());
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

impl From<Vec<u8>> for Storage {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { owner: Arc::new(bytes), range }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({} bytes)", self.len())
    }
}
